"""The density field: one density per voxel and whatever is composited (RenderOcc, LangOcc)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.fields.ray_rules import EXPONENTIAL, RayRule
from gsocc.structures import ContractedGrid, Tiers, VoxelGaussians, VoxelGrid


@dataclass(frozen=True)
class DensityField:
    """Voxels with one number each, in the units of the rule: 1/m, raw density, or probability.

    Attributes:
        grid: Where the voxels are.
        density: What `ray_rule` reads.
        channels: What is composited: class logits, language features, colours.
        ray_rule: `Exponential` (LangOcc), `ShiftedSoftplus` (RenderOcc), or another rule of one channel.
    """

    grid: VoxelGrid | ContractedGrid
    density: Float[Tensor, "B X Y Z"]
    channels: Float[Tensor, "B C X Y Z"]
    ray_rule: RayRule = EXPONENTIAL

    def ray_values(self) -> Float[Tensor, "B 1 X Y Z"]:
        """Return the density."""
        return self.density[:, None]

    def features(self) -> Float[Tensor, "B C X Y Z"]:
        """Return the composited channels."""
        return self.channels

    def occupancy(self) -> Float[Tensor, "B X Y Z"]:
        """Return the alpha of a ray that crosses a voxel over its shortest edge."""
        flat = self.density.flatten()
        way_m = torch.full_like(flat, min(self.grid.voxel_m))
        return self.ray_rule.alpha(flat[None], way_m, flat.new_tensor([1.0, 0.0, 0.0])).view_as(self.density)

    def to_gaussians(self, scale_fraction: tuple[float, float, float], tiers: Tiers = ()) -> VoxelGaussians:
        """Return one Gaussian per voxel, its opacity the occupancy; see `VoxelGaussians` for their sizes."""
        return VoxelGaussians(self.grid, scale_fraction, self.occupancy(), self.channels, tiers)
