"""Options of the volume renderers, and the checks of what they draw."""

import math
from dataclasses import dataclass

import torch

from gsocc.fields.base import Field
from gsocc.renderers.base import RendererError, refuse, require_range
from gsocc.renderers.constants import NEAR_M

SAMPLINGS = ("uniform", "cells")
INTERPOLATIONS = ("trilinear", "nearest")


@dataclass(frozen=True, kw_only=True)
class VolumeOptions:
    """Options of both volume renderers.

    Attributes:
        near_m: Depth along the optical axis at which rays start.
        far_m: Depth at which they end.
        step_m: Spacing of uniform samples in depth; sample k sits at near_m + (k + 0.5) step_m.
        sampling: "uniform", or "cells": one sample per voxel that the ray crosses, over the length of its stretch
            there, which integrates a piecewise constant field exactly; it needs interpolation "nearest".
        interpolation: "trilinear" with zeros outside the grid, or "nearest".
        alpha_min: Samples of smaller alpha are skipped; 0 skips none, 1 / 255 is the rule of the splats.
    """

    near_m: float = NEAR_M
    far_m: float = 100.0
    step_m: float = 0.4
    sampling: str = "uniform"
    interpolation: str = "trilinear"
    alpha_min: float = 0.0

    def __post_init__(self) -> None:
        require_range("near_m", self.near_m, 0.0, math.inf)
        require_range("far_m", self.far_m, self.near_m, math.inf)
        require_range("step_m", self.step_m, 0.0, math.inf)
        if not 0.0 <= self.alpha_min < 1.0:
            raise RendererError(f"renderer.alpha_min must lie in [0, 1), got {self.alpha_min!r}")
        if self.sampling not in SAMPLINGS:
            raise RendererError(f"renderer.sampling: expected one of {', '.join(SAMPLINGS)}, got {self.sampling!r}")
        if self.interpolation not in INTERPOLATIONS:
            expected = ", ".join(INTERPOLATIONS)
            raise RendererError(f"renderer.interpolation: expected one of {expected}, got {self.interpolation!r}")
        if self.sampling == "cells" and self.interpolation != "nearest":
            raise RendererError('renderer.sampling "cells" integrates voxel by voxel and needs interpolation "nearest"')


def require_field(scene: object, renderer: str) -> Field:
    """Return the scene if it is a field of consistent shapes.

    Raises:
        TypeError: Where it is anything else.
        ValueError: Where the tensors do not fit the grid or a ray value is negative or infinite.
    """
    if not isinstance(scene, Field):
        refuse(scene, renderer, (Field,))
    values, features = scene.ray_values(), scene.features()
    grid, channels = scene.grid.shape, scene.ray_rule.channels
    fits = tuple(values.shape[1:]) == (channels, *grid) and tuple(features.shape[2:]) == grid
    if not fits or len(values) != len(features):
        raise RendererError(
            f"{renderer}: expected ray_values (B, {channels}, *{grid}) and features (B, C, *{grid}), "
            f"got {tuple(values.shape)} and {tuple(features.shape)}"
        )
    return scene


def check_densities(values: torch.Tensor, renderer: str) -> None:
    """Check densities on the CPU; NaN passes, so that it shows in the picture and in the loss.

    Raises:
        ValueError: Where one is negative or infinite.
    """
    if values.is_cuda or values.numel() == 0:
        return
    bad = (values < 0.0) | values.isinf()
    if bool(bad.any()):
        raise RendererError(
            f"{renderer}: densities must be finite and at least 0 per metre, got {values[bad][0].item():g}"
        )
