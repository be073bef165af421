"""The seam between voxel networks and renderers."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from gsocc.structures.gaussians import VoxelGaussians
from gsocc.structures.voxel_grid import VoxelGrid


@runtime_checkable
class Field(Protocol):
    """A volume that can be drawn, as Gaussians or along rays."""

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels are."""

    @property
    def ray_rule(self) -> str:
        """Name of the rule in `ray_alpha`, for kernels that build it in; "exponential" is 1 - exp(-value delta)."""

    def ray_values(self) -> Float[Tensor, "B X Y Z"]:
        """Return the scalar per voxel that a volume renderer interpolates before `ray_alpha`."""

    def features(self) -> Float[Tensor, "B C X Y Z"]:
        """Return the channels per voxel that are composited."""

    def ray_alpha(self, values: Float[Tensor, "*R S"], delta_m: Float[Tensor, "*R S"]) -> Float[Tensor, "*R S"]:
        """Turn interpolated values and sample spacing (along the ray, metres) into alpha in [0, 1]."""

    def occupancy(self) -> Float[Tensor, "B X Y Z"]:
        """Return the probability in [0, 1] that a voxel is solid."""

    def to_gaussians(self, scale_fraction: tuple[float, float, float]) -> VoxelGaussians:
        """Return one Gaussian per voxel."""
