"""`gsocc train`: the trainings of the stages."""

from occ_stage.cli import train as occ

__all__ = ["occ"]
