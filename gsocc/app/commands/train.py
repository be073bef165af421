"""`gsocc train`: the trainings of the stages."""

from occ_stage.cli import train as occ
from pose_stage.cli import train as pose

__all__ = ["occ", "pose"]
