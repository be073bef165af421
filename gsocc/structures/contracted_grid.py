"""A voxel grid over all of space: regular inside of a box, ever coarser outside."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

INNER = 2.0 / 3.0
"""Share of the contracted axis that the box takes, in OccNeRF and GaussianOcc."""

RELEASED_INNER = 0.66667
"""`INNER` as their configurations have it, to five digits."""

Lattice = Literal["cells", "ends"]

_ENDS_KEPT = (0.5, 0.5, 0.05)
"""How far from the ends of the index range, along x, y, z, the published code keeps centres: the ends are infinity."""


def contract(ratio: Float[Tensor, "*N"], inner: float = INNER) -> Float[Tensor, "*N"]:
    """Map the real axis to (-1, 1), the part within [-1, 1] linearly.

    ``c = inner r`` for ``|r| <= 1``, else ``sign(r) (1 - a / (|r| + b))`` with ``a = (1 - inner)^2 / inner`` and
    ``b = (1 - 2 inner) / inner``; continuous with its first derivative (OccNeRF, arXiv:2312.09243).
    """
    a, b = _constants(inner)
    size = ratio.abs()
    # The clamp keeps the branch that is not taken finite, and with it the gradient.
    outside = ratio.sign() * (1.0 - a / (size.clamp(min=1.0) + b))
    return torch.where(size <= 1.0, inner * ratio, outside)


def expand(contracted: Float[Tensor, "*N"], inner: float = INNER) -> Float[Tensor, "*N"]:
    """Map (-1, 1) back to the real axis: the inverse of `contract`."""
    a, b = _constants(inner)
    size = contracted.abs()
    outside = contracted.sign() * (a / (1.0 - size.clamp(min=inner)) - b)
    return torch.where(size <= inner, contracted / inner, outside)


def _constants(inner: float) -> tuple[float, float]:
    return (1.0 - inner) ** 2 / inner, (1.0 - 2.0 * inner) / inner


@dataclass(frozen=True)
class ContractedGrid:
    """Voxels that are equal in contracted coordinates (`contract`, each axis by itself) and so cover all of space.

    Two lattices exist. Of "cells", cell i of n along an axis spans ``c`` in [2 i / n - 1, 2 (i + 1) / n - 1]. Of
    "ends", the published one (align_corners=True), the first and last *centre* lie at ``c = -1`` and ``c = 1``. That
    is at infinity, so the published code keeps the index of the outermost centres to [0.5, n - 1.5] in x and y and to
    [0.05, n - 1.05] in z where it asks for their place; sampling is not concerned. Its inner cells are 0.4013 x 0.4013
    x 0.4174 m large where those of Occ3D have 0.4 m, so that they do not lie on its lattice.

    Attributes:
        min_m: Lower corner (x, y, z) of the box that is kept regular, in metres, ego frame.
        max_m: Its upper corner.
        shape: Number of voxels along x, y, z, those outside of the box included.
        inner: Share of each contracted axis that the box takes.
        lattice: "cells" or "ends".
    """

    min_m: tuple[float, float, float]
    max_m: tuple[float, float, float]
    shape: tuple[int, int, int]
    inner: float = INNER
    lattice: Lattice = "cells"

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.min_m, self.max_m, strict=True)):
            raise ValueError(f"ContractedGrid: min_m must be below max_m, got {self.min_m} and {self.max_m}")
        if min(self.shape) < 1:
            raise ValueError(f"ContractedGrid: shape must be at least 1 along every axis, got {self.shape}")
        if not 0.0 < self.inner < 1.0:
            raise ValueError(f"ContractedGrid: inner must lie between 0 and 1 (exclusive), got {self.inner}")
        if self.lattice not in get_args(Lattice):
            raise ValueError(f"ContractedGrid: lattice must be one of {get_args(Lattice)}, got {self.lattice!r}")
        if self.lattice == "ends" and min(self.shape) < 2:
            raise ValueError(f'ContractedGrid: lattice "ends" needs two voxels along every axis, got {self.shape}')

    @property
    def steps(self) -> tuple[int, int, int]:
        """Distances between voxels that make up the contracted axes (length 2): n of "cells", n - 1 of "ends"."""
        x, y, z = self.shape
        return self.shape if self.lattice == "cells" else (x - 1, y - 1, z - 1)

    @property
    def voxel_m(self) -> tuple[float, float, float]:
        """Edge lengths in metres of the voxels inside of the box, the smallest there are."""
        lows, highs = self.min_m, self.max_m
        x, y, z = ((hi - lo) / (n * self.inner) for lo, hi, n in zip(lows, highs, self.steps, strict=True))
        return (x, y, z)

    @property
    def diagonal_m(self) -> float:
        """Diagonal of the box in metres."""
        return math.dist(self.min_m, self.max_m)

    def centers_m(self, device: torch.device | str = "cpu") -> Float[Tensor, "X Y Z 3"]:
        """Return the centres of the voxels (in contracted coordinates) in the ego frame, in metres."""
        axes = []
        for low, high, contracted in zip(self.min_m, self.max_m, self._contracted_axes(device), strict=True):
            axes.append(0.5 * (low + high) + 0.5 * (high - low) * expand(contracted, self.inner))
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)

    def edges_m(self, device: torch.device | str = "cpu") -> Float[Tensor, "X Y Z 3"]:
        """Return how long each voxel is along x, y, z in metres, by the slope of `expand` at its centre."""
        axes = []
        for edge, contracted in zip(self.voxel_m, self._contracted_axes(device), strict=True):
            a, _ = _constants(self.inner)
            size = contracted.abs().clamp(min=self.inner)
            slope = torch.where(contracted.abs() <= self.inner, 1.0 / self.inner, a / (1.0 - size).square())
            axes.append(edge * self.inner * slope)
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)

    def _contracted_axes(self, device: torch.device | str) -> list[Float[Tensor, " count"]]:
        """Return the contracted coordinates of voxel centres along x, y, z."""
        axes = []
        for count, kept in zip(self.shape, _ENDS_KEPT, strict=True):
            index = torch.arange(count, device=device, dtype=torch.float32)
            if self.lattice == "ends":
                axes.append(2.0 * index.clamp(kept, count - 1 - kept) / (count - 1) - 1.0)
            else:
                axes.append((2.0 * index + 1.0) / count - 1.0)
        return axes

    def to_index(self, points_ego: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """Return continuous voxel coordinates: voxel i spans [i, i + 1); all of space lies within the grid.

        Of lattice "ends", infinity lies at the centres of the outermost voxels, 0.5 and n - 0.5.
        """
        return self.index_of(self.to_contracted(points_ego))

    def to_contracted(self, points_ego: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """Return contracted coordinates, in [-1, 1]."""
        low, high = points_ego.new_tensor(self.min_m), points_ego.new_tensor(self.max_m)
        return contract((2.0 * points_ego - low - high) / (high - low), self.inner)

    def index_of(self, contracted: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """Return the continuous voxel coordinates (`to_index`) of contracted ones."""
        steps = contracted.new_tensor(self.steps)
        margin = 0.5 * (contracted.new_tensor(self.shape) - steps)
        return 0.5 * (contracted + 1.0) * steps + margin
