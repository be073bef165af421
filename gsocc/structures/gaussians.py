"""Gaussians: free ones, and those that sit on a voxel grid."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.structures.voxel_grid import VoxelGrid


@dataclass(frozen=True)
class Gaussians:
    """Anisotropic 3-D Gaussians in the ego frame, batched.

    Attributes:
        means: Centres in metres.
        quats: Rotations as (w, x, y, z); need not be normalised, must not be zero.
        scales: Standard deviations along the rotated axes in metres, positive.
        opacities: Peak opacities in [0, 1].
        features: What is composited: colours, logits or any other channels.
        covariances: Sigma in m^2, symmetric and positive definite, one for every view or V = 1 for all: shapes that
            depend on the camera. Where they are given, quats and scales are not used.
    """

    means: Float[Tensor, "B N 3"]
    quats: Float[Tensor, "B N 4"]
    scales: Float[Tensor, "B N 3"]
    opacities: Float[Tensor, "B N"]
    features: Float[Tensor, "B N C"]
    covariances: Float[Tensor, "B V N 3 3"] | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Gaussians":
        """Return the scene with a function applied to each of its tensors: a move, a cast, a detachment."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return Gaussians(**{name: function(tensor) for name, tensor in tensors.items() if tensor is not None})

    def item(self, index: int) -> "Gaussians":
        """Return batch item `index` as a batch of one."""
        return self.map(lambda tensor: tensor[index : index + 1])


@dataclass(frozen=True)
class VoxelGaussians:
    """One axis-aligned Gaussian per voxel: only opacity and features vary, so a renderer can cache per rig.

    Attributes:
        grid: Where the voxels are.
        scale_fraction: Standard deviation over voxel edge, along x, y, z.
        opacities: Peak opacities in [0, 1].
        features: Channels per voxel.
    """

    grid: VoxelGrid
    scale_fraction: tuple[float, float, float]
    opacities: Float[Tensor, "B X Y Z"]
    features: Float[Tensor, "B C X Y Z"]

    @property
    def scales_m(self) -> tuple[float, float, float]:
        """Standard deviations along x, y, z in metres."""
        x, y, z = (f * s for f, s in zip(self.scale_fraction, self.grid.voxel_m, strict=True))
        return (x, y, z)

    def to_gaussians(self) -> Gaussians:
        """Return the same scene as free Gaussians, x slowest and z fastest; places are float32 at least."""
        batch, channels = self.features.shape[:2]
        dtype = torch.promote_types(self.opacities.dtype, torch.float32)  # bfloat16 would move voxels by decimetres
        means = self.grid.centers_m(self.opacities.device).reshape(1, -1, 3).to(dtype)
        n = means.shape[1]
        quats = means.new_zeros(batch, n, 4)
        quats[..., 0] = 1.0
        return Gaussians(
            means=means.expand(batch, -1, -1),
            quats=quats,
            scales=torch.broadcast_to(means.new_tensor(self.scales_m), (batch, n, 3)),
            opacities=self.opacities.reshape(batch, n),
            features=self.features.reshape(batch, channels, n).transpose(1, 2),
        )
