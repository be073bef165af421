"""Published networks read on the lattice of Occ3D, as the releases evaluate them."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.geometry.sampling import sample_volume
from gsocc.structures import OCC3D_GRID, ContractedGrid


def released_voxel_m(grid: ContractedGrid) -> float:
    """Return the edge in metres that the releases take for their voxels: 0.399998 of the published grid.

    It is that of a cube, as many of which fill the box as ``int(X Y Z inner^3)``; the spacing of samples along rays and
    the lattice of evaluation are made with it, though the inner voxels are 0.4013 x 0.4013 x 0.4174 m large.
    """
    x, y, z = (high - low for low, high in zip(grid.min_m, grid.max_m, strict=True))
    count = int(grid.shape[0] * grid.shape[1] * grid.shape[2] * grid.inner**3)
    return float((x * y * z / max(count, 1)) ** (1.0 / 3.0))


def released_lattice_m(grid: ContractedGrid, device: torch.device | str = "cpu") -> Float[Tensor, "X Y Z 3"]:
    """Return the points at which the releases read a network to compare it with Occ3D, in the ego frame.

    ``x_i = x_min + 0.4 i + 0.5 v`` with v of `released_voxel_m`, and so along y and z: the centres of Occ3D's voxels to
    a micrometre for the published grid, and half of another voxel's edge from its corners for others.
    """
    half = 0.5 * released_voxel_m(grid)
    axes = [
        low + torch.arange(count, device=device, dtype=torch.float32) * step + half
        for low, count, step in zip(grid.min_m, OCC3D_GRID.shape, OCC3D_GRID.voxel_m, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def occ3d_logits(voxel_logits: Float[Tensor, "B L X Y Z"], grid: ContractedGrid) -> Float[Tensor, "B L 200 200 16"]:
    """Interpolate all logits at the lattice of Occ3D; argmax over 18 of them is the release's prediction, 17 free.

    Args:
        voxel_logits: Of a published network.
        grid: Its voxels; trilinear interpolation aligns corners where its lattice is "ends".
    """
    points = released_lattice_m(grid, voxel_logits.device).to(voxel_logits.dtype)
    flat = points.reshape(1, -1, 3).expand(len(voxel_logits), -1, -1)
    return sample_volume(voxel_logits, grid, flat, padding="border").unflatten(-1, points.shape[:3])
