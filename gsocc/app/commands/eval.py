"""`gsocc eval`: scores by the name of their protocol."""

from gsocc.app.commands.eval_predictions import predictions
from occ_stage.cli import evaluate as nuscenes
from pose_stage.cli import evaluate as pose

__all__ = ["nuscenes", "pose", "predictions"]
