"""The seam between voxel networks and renderers."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from gsocc.fields.ray_rules import RayRule
from gsocc.structures import ContractedGrid, Tiers, VoxelGaussians, VoxelGrid


@runtime_checkable
class Field(Protocol):
    """A volume that can be drawn, as Gaussians or along rays."""

    @property
    def grid(self) -> VoxelGrid | ContractedGrid:
        """Where the voxels are."""

    @property
    def ray_rule(self) -> RayRule:
        """How sampled `ray_values` become weights along a ray."""

    def ray_values(self) -> Float[Tensor, "B L X Y Z"]:
        """Return what a volume renderer interpolates and hands to `ray_rule`, as many channels as that reads."""

    def features(self) -> Float[Tensor, "B C X Y Z"]:
        """Return the channels per voxel that are composited."""

    def occupancy(self) -> Float[Tensor, "B X Y Z"]:
        """Return the probability in [0, 1] that a voxel is solid."""

    def to_gaussians(self, scale_fraction: tuple[float, float, float], tiers: Tiers = ()) -> VoxelGaussians:
        """Return one Gaussian per voxel; see `VoxelGaussians` for their sizes."""
