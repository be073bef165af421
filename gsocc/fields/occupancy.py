"""The occupancy field: one free-space logit and K class logits per voxel."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsocc.fields.ray_rules import EXPONENTIAL, Exponential, SaturatingLogits, SaturatingSum
from gsocc.structures import ContractedGrid, Tiers, VoxelGaussians, VoxelGrid


@dataclass(frozen=True)
class OccupancyField:
    """Voxels that are solid with probability ``o = 1 - sigmoid(free_logits)``.

    As Gaussians (GSV, arXiv:2408.11447) the opacity of a voxel is ``o``. Along a ray the voxel is a medium of density
    ``sigma = -ln(1 - o) / l`` with l the shortest voxel edge: a ray that crosses it over that length is stopped with
    probability ``o``, so that one set of logits means the same to both renderers. OccNeRF's rules sample ``o`` or its
    logit.

    Attributes:
        grid: Where the voxels are.
        free_logits: Logit that a voxel is free.
        class_logits: What is composited into semantics; K channels.
        ray_rule: How rays are stopped.
    """

    grid: VoxelGrid | ContractedGrid
    free_logits: Float[Tensor, "B X Y Z"]
    class_logits: Float[Tensor, "B K X Y Z"]
    ray_rule: Exponential | SaturatingSum | SaturatingLogits = EXPONENTIAL

    @classmethod
    def from_logits(
        cls,
        grid: VoxelGrid | ContractedGrid,
        logits: Float[Tensor, "B L X Y Z"],
        ray_rule: Exponential | SaturatingSum | SaturatingLogits = EXPONENTIAL,
    ) -> "OccupancyField":
        """Wrap a network's output, whose last channel is the free-space logit."""
        return cls(grid, logits[:, -1], logits[:, :-1], ray_rule)

    def occupancy(self) -> Float[Tensor, "B X Y Z"]:
        """Return the probability in [0, 1] that a voxel is solid."""
        return torch.sigmoid(-self.free_logits)

    def features(self) -> Float[Tensor, "B K X Y Z"]:
        """Return the class logits."""
        return self.class_logits

    def ray_values(self) -> Float[Tensor, "B 1 X Y Z"]:
        """Return the density in 1/m, or the occupancy or its logit where the rule adds up probabilities."""
        if isinstance(self.ray_rule, SaturatingSum):
            return self.occupancy()[:, None]
        if isinstance(self.ray_rule, SaturatingLogits):
            return -self.free_logits[:, None]
        # -ln(1 - o) as softplus cannot overflow where o rounds to 1.
        return F.softplus(-self.free_logits)[:, None] / min(self.grid.voxel_m)

    def to_gaussians(self, scale_fraction: tuple[float, float, float], tiers: Tiers = ()) -> VoxelGaussians:
        """Return one Gaussian per voxel with opacity ``o``; see `VoxelGaussians` for their sizes."""
        return VoxelGaussians(self.grid, scale_fraction, self.occupancy(), self.class_logits, tiers)
