"""`gsocc predict`: files that the viewer and exporters read."""

from occ_stage.cli import predict as occ

__all__ = ["occ"]
