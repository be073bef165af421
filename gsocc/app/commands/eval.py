"""`gsocc eval`: scores by the name of their protocol."""

from gsocc.app.commands.eval_predictions import predictions
from occ_stage.cli import evaluate as nuscenes
from occ_stage.cli import evaluate_ddad as ddad
from occ_stage.cli import evaluate_rig as rig
from pose_stage.cli import evaluate as pose

__all__ = ["ddad", "nuscenes", "pose", "predictions", "rig"]
