"""Weight rules: how the values that a ray samples become alphas, and how alphas become weights.

Five rules cover the five systems that this library includes. Each is a frozen dataclass that a field carries as its
`ray_rule`; `volume` draws any object with the members of `RayRule`, `volume_cpu` those of this module.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Compositing = Literal["product", "sum"]
Padding = Literal["zeros", "border"]


@runtime_checkable
class RayRule(Protocol):
    """Turns what a ray samples into alpha per sample, and says how alphas are composited.

    Attributes:
        channels: Channels L of `Field.ray_values` that the rule reads.
        compositing: "product": ``w_k = alpha_k prod_{j<k} (1 - alpha_j)``; "sum": ``w_k = S_k - S_{k-1}`` with
            ``S_k = min(1, sum_{j<=k} alpha_j)``.
        padding: What trilinear interpolation meets beyond the outermost voxels: "zeros", a ramp to nothing that ends
            half a voxel outside of the grid, or "border", the outermost values, up to the faces of the grid.
        bounds: Least and greatest value that the first channel may have.
    """

    channels: ClassVar[int]
    compositing: ClassVar[Compositing]
    padding: ClassVar[Padding]
    bounds: ClassVar[tuple[float, float]]

    def alpha(
        self, values: Float[Tensor, "L *R S"], delta_m: Float[Tensor, "*R S"], directions: Float[Tensor, "*R 3"]
    ) -> Float[Tensor, "*R S"]:
        """Return the share of the arriving light, in [0, 1], that each sample stops.

        Args:
            values: The channels of `Field.ray_values` at the samples.
            delta_m: Length of the ray, in metres along it, that each sample stands for.
            directions: Unit vectors along the rays, ego frame.
        """


@dataclass(frozen=True)
class Exponential:
    """A medium: ``alpha = 1 - exp(-sigma delta)``, Eq. 3 of NeRF (arXiv:2003.08934); values are densities in 1/m."""

    channels: ClassVar[int] = 1
    compositing: ClassVar[Compositing] = "product"
    padding: ClassVar[Padding] = "zeros"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def alpha(
        self, values: Float[Tensor, "L *R S"], delta_m: Float[Tensor, "*R S"], directions: Float[Tensor, "*R 3"]
    ) -> Float[Tensor, "*R S"]:
        """Return alpha; see `RayRule.alpha`."""
        return -torch.expm1(-values[0] * delta_m)


EXPONENTIAL = Exponential()
"""The default of fields; it holds nothing, so one will do for all."""


@dataclass(frozen=True)
class SaturatingSum:
    """Probabilities that add up until the ray is full (OccNeRF, arXiv:2312.09243): values are p in [0, 1].

    ``S_k = min(1, sum_{j<=k} p_j)``, ``w_k = S_k - S_{k-1}``. The spacing of the samples does not enter: the same
    field is drawn denser by more samples, so it belongs to the sampling that it was trained with.

    Here p itself is interpolated; `SaturatingLogits` is the rule as published.

    Attributes:
        rest_at_last: Give all that is left of the ray to the last sample where that lies outside of the grid or was
            dropped by the sampler, as the published code does; it has no features then. Otherwise the rest is
            background.
    """

    channels: ClassVar[int] = 1
    compositing: ClassVar[Compositing] = "sum"
    padding: ClassVar[Padding] = "zeros"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    rest_at_last: bool = False

    def alpha(
        self, values: Float[Tensor, "L *R S"], delta_m: Float[Tensor, "*R S"], directions: Float[Tensor, "*R 3"]
    ) -> Float[Tensor, "*R S"]:
        """Return the probabilities; see `RayRule.alpha`."""
        return values[0]


@dataclass(frozen=True)
class SaturatingLogits:
    """`SaturatingSum` as OccNeRF and GaussianOcc have it: values are logits of p, the sigmoid follows interpolation.

    Attributes:
        rest_at_last: As there.
    """

    channels: ClassVar[int] = 1
    compositing: ClassVar[Compositing] = "sum"
    padding: ClassVar[Padding] = "border"
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    rest_at_last: bool = False

    def alpha(
        self, values: Float[Tensor, "L *R S"], delta_m: Float[Tensor, "*R S"], directions: Float[Tensor, "*R 3"]
    ) -> Float[Tensor, "*R S"]:
        """Return the probabilities; see `RayRule.alpha`."""
        return torch.sigmoid(values[0])


@dataclass(frozen=True)
class ShiftedSoftplus:
    """The density of DVGO (arXiv:2111.11215, Eq. 5) and RenderOcc: values are unbounded.

    ``alpha = 1 - exp(-interval softplus(d + shift)) = 1 - (1 + exp(d + shift))^(-interval)``. With the shift an
    untrained density of 0 is almost empty space, though not quite: rays end at the faces of the grid.

    Attributes:
        shift: The shift; the default makes alpha = 1e-6 of d = 0 over an interval of 1.
        interval: Length of every sample in units of the density, whatever the spacing; RenderOcc has 0.5 (half a
            voxel) built in. None takes the spacing in metres: the density is then a medium, in 1/m.
    """

    channels: ClassVar[int] = 1
    compositing: ClassVar[Compositing] = "product"
    padding: ClassVar[Padding] = "border"
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    shift: float = math.log(1e-6 / (1.0 - 1e-6))
    interval: float | None = 0.5

    def alpha(
        self, values: Float[Tensor, "L *R S"], delta_m: Float[Tensor, "*R S"], directions: Float[Tensor, "*R 3"]
    ) -> Float[Tensor, "*R S"]:
        """Return alpha; see `RayRule.alpha`."""
        return -torch.expm1(-F.softplus(values[0] + self.shift) * (delta_m if self.interval is None else self.interval))


NEUS_EPS = 1e-5
"""Added to both sides of the NeuS ratio, as SelfOcc has it: inside of matter, 0 / 0 becomes alpha = 1."""


@dataclass(frozen=True, eq=False)
class NeusLogistic:
    """The ratio of logistic distributions of NeuS (arXiv:2106.10689, Eq. 13) as SelfOcc uses it.

    Values are the signed distance d in metres (positive outside) and its gradient (3 channels). With
    ``cos = <direction, gradient>``, annealed by r to ``-(r relu(-cos) + (1 - r) relu(1/2 - cos/2))``, and the
    logistic function of slope ``inv_s``, the distances before and after the sample are ``d -+ cos delta / 2`` and
    ``alpha = clip((P - N + eps) / (P + eps), 0, 1)`` with P, N their logistic values.

    SelfOcc adds 1e-4 to every factor of the transmittance, which lets weights sum to more than 1; here they do not.

    Attributes:
        inv_s: Slope in 1/m; a tensor without axes receives a gradient.
        anneal: r in [0, 1]; SelfOcc goes from 0 to 1 within the first 5000 steps.
    """

    channels: ClassVar[int] = 4
    compositing: ClassVar[Compositing] = "product"
    padding: ClassVar[Padding] = "border"
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    inv_s: float | Float[Tensor, ""] = math.e
    anneal: float = 1.0

    def alpha(
        self, values: Float[Tensor, "L *R S"], delta_m: Float[Tensor, "*R S"], directions: Float[Tensor, "*R 3"]
    ) -> Float[Tensor, "*R S"]:
        """Return alpha; see `RayRule.alpha`."""
        distance, gradient = values[0], values[1:]
        cos = (gradient * directions.movedim(-1, 0)[..., None]).sum(0)  # (*R, S)
        slope = -(F.relu(0.5 - 0.5 * cos) * (1.0 - self.anneal) + F.relu(-cos) * self.anneal)
        half_step = 0.5 * slope * delta_m
        before = torch.sigmoid((distance - half_step) * self.inv_s)
        after = torch.sigmoid((distance + half_step) * self.inv_s)
        return ((before - after + NEUS_EPS) / (before + NEUS_EPS)).clamp(0.0, 1.0)
