"""`gsocc predict`: files that the viewer, exporters and the other stage read."""

from occ_stage.cli import predict as occ
from pose_stage.cli import predict as pose

__all__ = ["occ", "pose"]
