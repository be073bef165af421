"""The data that travels between rooms: frozen dataclasses over tensors, with `to` and `validate`."""

from gsocc.structures.camera_rig import CameraRig
from gsocc.structures.contracted_grid import ContractedGrid
from gsocc.structures.gaussians import Gaussians, Tiers, VoxelGaussians, scale_fraction_of
from gsocc.structures.render_output import RenderOutput
from gsocc.structures.surround import OccupancyLabels, SurroundBatch, SurroundSample, collate
from gsocc.structures.voxel_grid import OCC3D_GRID, VoxelGrid

__all__ = [
    "OCC3D_GRID",
    "CameraRig",
    "ContractedGrid",
    "Gaussians",
    "OccupancyLabels",
    "RenderOutput",
    "SurroundBatch",
    "SurroundSample",
    "Tiers",
    "VoxelGaussians",
    "VoxelGrid",
    "collate",
    "scale_fraction_of",
]
