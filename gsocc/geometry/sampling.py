"""Bilinear and trilinear sampling: the only calls of grid_sample."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.structures.contracted_grid import ContractedGrid
from gsocc.structures.voxel_grid import VoxelGrid


def sample_image(
    image: Float[Tensor, "B C H W"], pixels: Float[Tensor, "B h w 2"], padding: str = "zeros"
) -> Float[Tensor, "B C h w"]:
    """Sample an image bilinearly at pixel coordinates, whose centres lie at half-integers.

    Args:
        image: What is sampled.
        pixels: (u, v); (0.5, 0.5) is the centre of the first pixel.
        padding: "zeros" or "border", what lies outside the image.
    """
    size = pixels.new_tensor([image.shape[-1], image.shape[-2]])
    # Far outside is far outside: the clamp keeps points next to the camera plane from overflowing.
    grid = (2.0 * pixels / size - 1.0).clamp(-4.0, 4.0)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def sample_volume(
    volume: Float[Tensor, "B C X Y Z"],
    grid: VoxelGrid | ContractedGrid,
    points_ego: Float[Tensor, "B P 3"],
    mode: str = "bilinear",
    padding: str = "zeros",
) -> Float[Tensor, "B C P"]:
    """Sample a voxel volume at points of the ego frame.

    Args:
        volume: What is sampled.
        grid: Where its voxels are.
        points_ego: Points in metres.
        mode: "bilinear" (trilinear, that is) or "nearest".
        padding: "zeros" or "border", what lies beyond the centres of the outermost voxels.
    """
    return sample_voxels(volume, grid.to_index(points_ego), mode, padding)


def sample_voxels(
    volume: Float[Tensor, "B C X Y Z"], index: Float[Tensor, "B P 3"], mode: str = "bilinear", padding: str = "zeros"
) -> Float[Tensor, "B C P"]:
    """Sample a voxel volume at continuous voxel coordinates: voxel i spans [i, i + 1). See `sample_volume`."""
    normalised = (2.0 * index / index.new_tensor(volume.shape[2:]) - 1.0).flip(-1)  # grid_sample wants (z, y, x)
    sampled = F.grid_sample(
        volume, normalised[:, :, None, None], mode=mode, padding_mode=padding, align_corners=False
    )  # (B, C, P, 1, 1)
    return sampled[..., 0, 0]


def inside_grid(grid: VoxelGrid | ContractedGrid, points_ego: Float[Tensor, "*N 3"]) -> Bool[Tensor, "*N"]:
    """Return which points lie within the outer faces of the grid; of a `ContractedGrid` all do."""
    return inside_shape(grid.to_index(points_ego), grid.shape)


def inside_shape(index: Float[Tensor, "*N 3"], shape: tuple[int, int, int]) -> Bool[Tensor, "*N"]:
    """Return which continuous voxel coordinates lie within the outer faces of a grid."""
    return ((index >= 0.0) & (index <= index.new_tensor(shape))).all(-1)
