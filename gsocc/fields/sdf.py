"""The signed distance field of SelfOcc."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.fields.ray_rules import NeusLogistic
from gsocc.structures import Tiers, VoxelGaussians, VoxelGrid


@dataclass(frozen=True)
class SdfField:
    """Voxels with the distance of their centre to the nearest surface: positive outside, in metres.

    Attributes:
        grid: Where the voxels are; at least two along every axis.
        sdf: Signed distance in metres.
        channels: What is composited.
        ray_rule: Slope and annealing of the logistic function.
    """

    grid: VoxelGrid
    sdf: Float[Tensor, "B X Y Z"]
    channels: Float[Tensor, "B C X Y Z"]
    ray_rule: NeusLogistic

    def ray_values(self) -> Float[Tensor, "B 4 X Y Z"]:
        """Return the distance and its gradient.

        The gradient is that of central differences on the voxels, as in SelfOcc, and is interpolated like the
        distance. At the faces of the grid differences are one-sided; SelfOcc halves them there by repeating the edge.
        """
        gradient = torch.gradient(self.sdf, spacing=self.grid.voxel_m, dim=(1, 2, 3))
        return torch.stack([self.sdf, *gradient], 1)

    def features(self) -> Float[Tensor, "B C X Y Z"]:
        """Return the composited channels."""
        return self.channels

    def occupancy(self) -> Float[Tensor, "B X Y Z"]:
        """Return ``sigmoid(-inv_s sdf)``: one half at the surface, where SelfOcc draws the line."""
        return torch.sigmoid(-self.sdf * self.ray_rule.inv_s)

    def to_gaussians(self, scale_fraction: tuple[float, float, float], tiers: Tiers = ()) -> VoxelGaussians:
        """Return one Gaussian per voxel; see `VoxelGaussians` for their sizes.

        The opacity of a voxel is the rule's alpha over its shortest edge, centre in the middle, for a ray that meets
        the surface head-on (cos = -1), where annealing plays no part.
        """
        flat = self.sdf.flatten()
        values = torch.stack([flat, torch.full_like(flat, -1.0), torch.zeros_like(flat), torch.zeros_like(flat)])
        way_m = torch.full_like(flat, min(self.grid.voxel_m))
        alpha = self.ray_rule.alpha(values, way_m, flat.new_tensor([1.0, 0.0, 0.0])).view_as(self.sdf)
        return VoxelGaussians(self.grid, scale_fraction, alpha, self.channels, tiers)
