"""Options of the volume renderers, and the checks of what they draw."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gsocc.fields.base import Field
from gsocc.fields.ray_rules import RayRule
from gsocc.renderers.base import RendererError, refuse, require_range
from gsocc.renderers.constants import NEAR_M
from gsocc.structures import VoxelGrid

SAMPLINGS = ("uniform", "cells", "contracted", "importance")
INTERPOLATIONS = ("trilinear", "nearest")


@dataclass(frozen=True, kw_only=True)
class VolumeOptions:
    """Options of both volume renderers.

    Attributes:
        near_m: Depth along the optical axis at which rays start.
        far_m: Depth at which they end; "contracted" samples go on towards infinity.
        step_m: Spacing of samples in depth.
        sampling: "uniform": sample k sits at near_m + (k + 0.5) step_m. "cells": one sample per voxel that the ray
            crosses, over the length of its stretch there, which integrates a piecewise constant field exactly; it
            needs interpolation "nearest". "contracted": OccNeRF's, step_m apart within the grid's diagonal, then at
            equal steps of contracted depth. "importance": LangOcc's, a coarse uniform pass and then samples where
            that found weight; `volume` alone has it.
        interpolation: "trilinear", or "nearest".
        alpha_min: Samples of smaller alpha are skipped; 0 skips none, 1 / 255 is the rule of the splats.
        min_move_voxels: With "contracted", samples that moved less than this many voxels from the one before, along
            every axis, are skipped; OccNeRF has 0.2. It suits rules that add up probabilities: a medium would lose
            the length of what is skipped.
    """

    near_m: float = NEAR_M
    far_m: float = 100.0
    step_m: float = 0.4
    sampling: str = "uniform"
    interpolation: str = "trilinear"
    alpha_min: float = 0.0
    min_move_voxels: float = 0.0

    def __post_init__(self) -> None:
        require_range("near_m", self.near_m, 0.0, math.inf)
        require_range("far_m", self.far_m, self.near_m, math.inf)
        require_range("step_m", self.step_m, 0.0, math.inf)
        if not 0.0 <= self.alpha_min < 1.0:
            raise RendererError(f"renderer.alpha_min must lie in [0, 1), got {self.alpha_min!r}")
        if not 0.0 <= self.min_move_voxels < math.inf:
            raise RendererError(f"renderer.min_move_voxels must be 0 or more, got {self.min_move_voxels!r}")
        if self.min_move_voxels > 0.0 and self.sampling != "contracted":
            raise RendererError(
                f'renderer.min_move_voxels belongs to sampling "contracted", got sampling {self.sampling!r}'
            )
        if self.sampling not in SAMPLINGS:
            raise RendererError(f"renderer.sampling: expected one of {', '.join(SAMPLINGS)}, got {self.sampling!r}")
        if self.interpolation not in INTERPOLATIONS:
            expected = ", ".join(INTERPOLATIONS)
            raise RendererError(f"renderer.interpolation: expected one of {expected}, got {self.interpolation!r}")
        if self.sampling == "cells" and self.interpolation != "nearest":
            raise RendererError('renderer.sampling "cells" integrates voxel by voxel and needs interpolation "nearest"')


def require_field(scene: object, renderer: str, options: VolumeOptions) -> Field:
    """Return the scene if it is a field of consistent shapes.

    Raises:
        TypeError: Where it is anything else.
        ValueError: Where the tensors do not fit the grid, or the grid does not fit the sampling.
    """
    if not isinstance(scene, Field):
        refuse(scene, renderer, (Field,))
    if not isinstance(scene.ray_rule, RayRule):
        raise RendererError(
            f"{renderer}: {type(scene).__name__}.ray_rule must be one of gsocc.fields.ray_rules, got {scene.ray_rule!r}"
        )
    if options.sampling == "cells" and not isinstance(scene.grid, VoxelGrid):
        raise RendererError(
            f'{renderer}: sampling "cells" walks through a VoxelGrid, got a {type(scene.grid).__name__}; '
            f'sampling "contracted" suits it'
        )
    values, features = scene.ray_values(), scene.features()
    grid, channels = scene.grid.shape, scene.ray_rule.channels
    fits = tuple(values.shape[1:]) == (channels, *grid) and tuple(features.shape[2:]) == grid
    if not fits or len(values) != len(features):
        raise RendererError(
            f"{renderer}: expected ray_values (B, {channels}, *{grid}) and features (B, C, *{grid}), "
            f"got {tuple(values.shape)} and {tuple(features.shape)}"
        )
    return scene


def check_ray_values(values: Float[Tensor, "B L *grid"], rule: RayRule, renderer: str) -> None:
    """Check on the CPU that the first channel lies within the rule's bounds and is finite.

    NaN passes, so that it shows in the picture and in the loss.

    Raises:
        ValueError: Where one lies outside.
    """
    if values.is_cuda or values.numel() == 0:
        return
    first = values[:, 0]
    low, high = rule.bounds
    bad = (first < low) | (first > high) | first.isinf()
    if bool(bad.any()):
        raise RendererError(
            f"{renderer}: {type(rule).__name__} takes finite ray values between {low:g} and {high:g}, "
            f"got {first[bad][0].item():g}"
        )
