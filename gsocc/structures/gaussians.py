"""Gaussians: free ones, and those that sit on a voxel grid."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.structures.contracted_grid import ContractedGrid
from gsocc.structures.voxel_grid import VoxelGrid

Tiers = tuple[tuple[float, float], ...] | Literal["voxel"]
"""Pairs of a distance in metres and a factor, by ascending distance, or "voxel"; see `VoxelGaussians`."""

_LARGEST = 0.15
"""Of tiers "voxel": largest standard deviation over the distance from the ego. Beyond, kernels are not ellipses."""

RELEASED_TIERS: Tiers = ((60.0, 4.0), (80.0, 8.0))
"""Those of GaussianOcc, whose standard deviation is 0.2 m (`scale_fraction_of`)."""


def scale_fraction_of(grid: VoxelGrid | ContractedGrid, sigma_m: float) -> tuple[float, float, float]:
    """Return the `scale_fraction` that gives Gaussians on a grid one standard deviation in metres along all axes."""
    x, y, z = (sigma_m / edge for edge in grid.voxel_m)
    return (x, y, z)


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

    Voxels of a `ContractedGrid` grow without end, and so do the gaps between Gaussians of one size. GaussianOcc (GSV,
    arXiv:2408.11447, as released) makes Gaussians larger in tiers of their distance from the ego origin, and leaves
    gaps; with tiers "voxel" each is as large as its voxel asks for along every axis, up to 0.15 of its distance.

    Attributes:
        grid: Where the voxels are.
        scale_fraction: Standard deviation over voxel edge, along x, y, z; of a contracted grid over that of its box.
        opacities: Peak opacities in [0, 1].
        features: Channels per voxel.
        tiers: Pairs (distance_m, factor): a Gaussian farther from the ego origin than some of the distances is larger
            by the factor of the last of them. "voxel": `scale_fraction` is over the edges of each voxel itself.
    """

    grid: VoxelGrid | ContractedGrid
    scale_fraction: tuple[float, float, float]
    opacities: Float[Tensor, "B X Y Z"]
    features: Float[Tensor, "B C X Y Z"]
    tiers: Tiers = ()

    def __post_init__(self) -> None:
        if self.tiers == "voxel":
            return
        distances = [distance for distance, _ in self.tiers]
        numbers = [number for tier in self.tiers for number in tier]
        if sorted(set(distances)) != distances or not all(math.isfinite(n) and n > 0 for n in numbers):
            raise ValueError(
                f"VoxelGaussians: tiers must be pairs (distance_m, factor) of finite positive numbers, by ascending "
                f"distance, got {self.tiers}"
            )

    def scales_m(self, device: torch.device | str = "cpu") -> Float[Tensor, "#N 3"]:
        """Return standard deviations along x, y, z in metres, one row for all Gaussians where there are no tiers."""
        fraction = torch.tensor(self.scale_fraction, device=device)
        base = fraction * torch.tensor(self.grid.voxel_m, device=device)
        if not self.tiers or (self.tiers == "voxel" and isinstance(self.grid, VoxelGrid)):
            return base[None]
        if self.tiers == "voxel":
            assert isinstance(self.grid, ContractedGrid)
            most_m = _LARGEST * self.grid.centers_m(device).reshape(-1, 3).norm(dim=-1, keepdim=True)  # (N, 1)
            return torch.minimum(fraction * self.grid.edges_m(device).reshape(-1, 3), most_m.maximum(base))
        distances_m = self.grid.centers_m(device).reshape(-1, 3).norm(dim=-1)  # (N,)
        factors = torch.ones_like(distances_m)
        for beyond_m, factor in self.tiers:
            factors[distances_m > beyond_m] = factor
        return factors[:, None] * base

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
            scales=self.scales_m(means.device).to(dtype).expand(batch, n, 3),
            opacities=self.opacities.reshape(batch, n),
            features=self.features.reshape(batch, channels, n).transpose(1, 2),
        )
