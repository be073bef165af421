"""From voxels to Gaussians: the step that every field shares."""

from jaxtyping import Float
from torch import Tensor

from gsocc.structures import ContractedGrid, VoxelGaussians, VoxelGrid


def as_voxel_gaussians(
    grid: VoxelGrid | ContractedGrid,
    scale_fraction: tuple[float, float, float],
    opacities: Float[Tensor, "B X Y Z"],
    features: Float[Tensor, "B C X Y Z"],
) -> VoxelGaussians:
    """Return one Gaussian per voxel.

    Raises:
        ValueError: Where the grid is contracted: its voxels have no common size.
    """
    if not isinstance(grid, VoxelGrid):
        raise ValueError(
            f"to_gaussians: expected a field on a VoxelGrid, got one on a {type(grid).__name__}; "
            f"draw it along rays, with renderer 'volume' or 'volume_cpu'"
        )
    return VoxelGaussians(grid, scale_fraction, opacities, features)
