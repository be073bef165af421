"""The box that is voxelised."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class VoxelGrid:
    """An axis-aligned box of voxels in the ego frame; voxel (i, j, k) is centred at min + (ijk + 0.5) * voxel.

    Attributes:
        min_m: Lower corner (x, y, z) in metres.
        shape: Number of voxels along x, y, z.
        voxel_m: Edge lengths along x, y, z in metres; they may differ.
    """

    min_m: tuple[float, float, float]
    shape: tuple[int, int, int]
    voxel_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        if min(self.voxel_m) <= 0:
            raise ValueError(f"VoxelGrid: voxel_m must be positive, got {self.voxel_m}")
        if min(self.shape) < 1:
            raise ValueError(f"VoxelGrid: shape must be at least 1 along every axis, got {self.shape}")

    @property
    def max_m(self) -> tuple[float, float, float]:
        """Upper corner in metres, derived."""
        x, y, z = (lo + n * s for lo, n, s in zip(self.min_m, self.shape, self.voxel_m, strict=True))
        return (x, y, z)

    @property
    def diagonal_m(self) -> float:
        """Diagonal of the box in metres."""
        return math.dist(self.min_m, self.max_m)

    def centers_m(self, device: torch.device | str = "cpu") -> Float[Tensor, "X Y Z 3"]:
        """Return the voxel centres in the ego frame, in metres."""
        axes = [
            lo + (torch.arange(n, device=device, dtype=torch.float32) + 0.5) * s
            for lo, n, s in zip(self.min_m, self.shape, self.voxel_m, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)

    def to_index(self, points_ego: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """Return continuous voxel coordinates: voxel i spans [i, i + 1), its centre is i + 0.5."""
        return (points_ego - points_ego.new_tensor(self.min_m)) / points_ego.new_tensor(self.voxel_m)


OCC3D_GRID = VoxelGrid(min_m=(-40.0, -40.0, -1.0), shape=(200, 200, 16), voxel_m=(0.4, 0.4, 0.4))
"""The lattice of Occ3D-nuScenes: 80 m x 80 m x 6.4 m in voxels of 0.4 m, ego frame of the key frame."""
