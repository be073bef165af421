"""`gsocc eval`: scores by the name of their protocol."""

from gsocc.app.commands.eval_predictions import predictions
from occ_stage.cli import evaluate as nuscenes

__all__ = ["nuscenes", "predictions"]
