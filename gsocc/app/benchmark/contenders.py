"""What is measured against each other, and the settings that are held equal between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

from gsocc.errors import UserError
from gsocc.fields.occupancy import OccupancyField
from gsocc.geometry.se3 import invert_rigid
from gsocc.renderers import build_renderer
from gsocc.renderers.base import Scene, assemble
from gsocc.renderers.constants import EPS2D_PX, NEAR_M
from gsocc.renderers.gsplat_api import import_gsplat
from gsocc.structures import CameraRig, RenderOutput, VoxelGaussians

FAR_M = 60.0
"""Rays end beyond the farthest corner that a camera of the rig can see."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is held equal between renderers.

    Attributes:
        device: "cpu" or "cuda".
        threads: Numbers of CPU threads; everything is measured with each.
        channels: Feature channels, beside depth and opacity.
        scales: Standard deviations of a splat over the voxel edge; splats are measured with each.
        step_m: Spacing of the volume renderers' uniform samples.
        cache_max_gb: What cached splats may hold; beyond it they refuse, which is reported as a row.
        backward: Measure the gradient too.
        repeats: Most rounds.
        enough_s: Whoever has taken this long in a case sits out the rounds that are left.
    """

    device: str = "cpu"
    threads: tuple[int, ...] = (1,)
    channels: int = 18
    scales: tuple[float, ...] = (0.3,)
    step_m: float = 0.4
    cache_max_gb: float = 2.0
    backward: bool = True
    repeats: int = 11
    enough_s: float = 5.0


class Draws(Protocol):
    """What a contender comes down to: a renderer, or something that draws like one."""

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the scene into every camera."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way of rendering.

    Attributes:
        name: In tables.
        build: Makes the renderer.
        splats: Whether it draws Gaussians rather than the field itself.
        cached: Whether its first call builds what later ones use.
        compiled: Whether a compiler is involved that may fail for reasons of its own.
        device: The only one that it runs on; None where it runs on both.
        usual_on: Devices on which it is measured without being asked for.
    """

    name: str
    build: Callable[[], Draws]
    splats: bool = False
    cached: bool = False
    compiled: bool = False
    device: str | None = None
    usual_on: tuple[str, ...]

    def scene(self, field: OccupancyField, scale_fraction: float | None) -> Scene:
        """Return the field as this contender draws it."""
        return field if scale_fraction is None else field.to_gaussians((scale_fraction,) * 3)


def contenders(settings: Settings) -> dict[str, Contender]:
    """Return everything that can be measured, the reference of the ratios of each device first."""
    uniform = {"step_m": settings.step_m, "far_m": FAR_M}
    cells = {"sampling": "cells", "interpolation": "nearest", "far_m": FAR_M}
    cache = {"cache": True, "cache_max_gb": settings.cache_max_gb}
    cpu: dict[str, Any] = {"device": "cpu", "usual_on": ("cpu",)}
    cuda: dict[str, Any] = {"device": "cuda", "usual_on": ("cuda",)}

    def made(name: str, **options: Any) -> Callable[[], Draws]:
        return partial(build_renderer, name, **options)

    known = (
        Contender(name="splat_cpu_cached", build=made("splat_cpu", **cache), splats=True, cached=True, **cpu),
        Contender(name="splat_cpu", build=made("splat_cpu", cache=False), splats=True, **cpu),
        Contender(name="volume_cpu", build=made("volume_cpu", **uniform), **cpu),
        Contender(name="volume_cpu_cells", build=made("volume_cpu", **cells), **cpu),
        Contender(name="splat_gsplat_cached", build=made("splat_gsplat", **cache), splats=True, cached=True, **cuda),
        Contender(name="splat_gsplat", build=made("splat_gsplat", cache=False), splats=True, **cuda),
        Contender(name="gsplat_rasterization", build=PlainRasterization, splats=True, **cuda),
        Contender(name="volume", build=made("volume", **uniform), usual_on=("cpu", "cuda")),
        Contender(name="volume_compiled", build=partial(CompiledVolume, uniform), compiled=True, usual_on=("cuda",)),
    )
    return {contender.name: contender for contender in known}


def choose_contenders(names: Sequence[str] | None, settings: Settings) -> list[Contender]:
    """Return those that were asked for, or the usual ones of the device.

    Raises:
        UserError: Where a name is not known, or runs on another device.
    """
    known = contenders(settings)
    if not names:
        return [one for one in known.values() if settings.device in one.usual_on]
    for name in names:
        if name not in known:
            raise UserError(f"--renderer: expected one of {', '.join(known)}, got {name!r}")
        needed = known[name].device
        if needed not in (None, settings.device):
            raise UserError(f"--renderer: {name} runs on {needed} alone, --device is {settings.device}")
    return [known[name] for name in names]


class CompiledVolume:
    """The torch volume renderer under torch.compile, as far as that goes: what it cannot follow runs as it is."""

    def __init__(self, options: dict[str, Any]) -> None:
        torch.compiler.reset()  # after eight recompilations of one function torch gives up and says nothing
        self.render = torch.compile(build_renderer("volume", **options).render)


class PlainRasterization:
    """One plain call of gsplat.rasterization with its own defaults: what the cached path has to beat.

    Means, rotations, scales and cameras are prepared at the first call and kept, so that the call is measured rather
    than what leads to it.
    """

    def __init__(self) -> None:
        self._gsplat: Any = import_gsplat()
        self._fixed: dict[str, Any] | None = None

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the voxels of one item, always those of the first call, into the cameras of the first call."""
        assert isinstance(scene, VoxelGaussians) and len(scene.opacities) == 1
        if self._fixed is None:
            self._fixed = _fixed_arguments(scene, rig)
        colors = scene.features[0].flatten(1).T.contiguous()  # (N, C)
        rendered, alphas, _ = self._gsplat.rasterization(
            **self._fixed, opacities=scene.opacities[0].flatten(), colors=colors
        )  # (V, H, W, C + 1), (V, H, W, 1)
        rendered, opacity = rendered[None], alphas[None, ..., 0]
        return assemble(rendered[..., :-1].movedim(-1, 2), rendered[..., -1], opacity)


def _fixed_arguments(scene: VoxelGaussians, rig: CameraRig) -> dict[str, Any]:
    free = scene.to_gaussians()
    height, width = rig.image_size
    return {
        "means": free.means[0].contiguous(),
        "quats": free.quats[0].contiguous(),
        "scales": free.scales[0].contiguous(),
        "viewmats": invert_rigid(rig.cam_to_ego[0]).contiguous(),
        "Ks": rig.intrinsics[0].contiguous(),
        "width": width,
        "height": height,
        "near_plane": NEAR_M,
        "eps2d": EPS2D_PX,
        "render_mode": "RGB+D",
    }
