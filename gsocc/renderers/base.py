"""What every renderer is: the protocol, the options that splats share, and the checks before a kernel runs."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any, NoReturn, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.errors import UserError
from gsocc.fields.base import Field
from gsocc.renderers.constants import ALPHA_MAX, EPS2D_PX, NEAR_M, OPACITY_MIN
from gsocc.renderers.projection import FOOTPRINTS
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGaussians

Scene = Gaussians | VoxelGaussians | Field
"""What can be drawn; which of them a renderer draws stands in its `scene_kinds`."""


class RendererError(UserError, ValueError):
    """A renderer, option, scene or rig that cannot be drawn as it is."""


@runtime_checkable
class Renderer(Protocol):
    """Draws a scene into the cameras of a rig."""

    scene_kinds: tuple[type, ...]

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the keyword arguments that build this renderer."""

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the scene into every camera.

        Args:
            scene: One of `scene_kinds`, with as many batch items as the rig.
            rig: The cameras, on the scene's device.

        Raises:
            TypeError: Where the scene is of a kind that this renderer cannot draw.
            ValueError: Where shapes or values cannot be drawn.
        """


@dataclass(frozen=True, kw_only=True)
class SplatOptions:
    """Options of every splatting renderer.

    Attributes:
        near_m: Centres at this depth or nearer are not drawn.
        alpha_max: Upper bound of alpha: 0.999 as in gsplat 1.5.3, 0.99 in the Inria lineage.
        eps2d_px: Variance in px^2 added to both axes of a projected Gaussian.
        footprint: "exact", or "released" for the squeezed footprints that GaussianOcc was trained with; see
            `released_footprints`.
        cache: Keep what depends on the rig alone, for `VoxelGaussians`, where the renderer has a way to.
        cache_max_gb: Upper bound of what the cache holds, in 1e9 bytes.
    """

    near_m: float = NEAR_M
    alpha_max: float = ALPHA_MAX
    eps2d_px: float = EPS2D_PX
    footprint: str = "exact"
    cache: bool = True
    cache_max_gb: float = 2.0

    def __post_init__(self) -> None:
        require_range("near_m", self.near_m, 0.0, math.inf)
        require_range("alpha_max", self.alpha_max, 0.0, 1.0)
        require_range("eps2d_px", self.eps2d_px, 0.0, math.inf)
        require_range("cache_max_gb", self.cache_max_gb, 0.0, math.inf)
        if self.footprint not in FOOTPRINTS:
            expected = ", ".join(FOOTPRINTS)
            raise RendererError(f"renderer.footprint: expected one of {expected}, got {self.footprint!r}")


def require_range(name: str, value: float, low: float, high: float) -> None:
    """Raise RendererError unless low < value < high."""
    if not low < value < high:
        raise RendererError(f"renderer.{name} must lie between {low:g} and {high:g} (exclusive), got {value!r}")


def option_names(options: type) -> tuple[str, ...]:
    """Return the field names of an options dataclass."""
    return tuple(field.name for field in fields(options))


def refuse(scene: Any, renderer: str, kinds: tuple[type, ...]) -> NoReturn:
    """Raise the TypeError that names what a renderer can draw."""
    names = " or ".join(kind.__name__ for kind in kinds)
    hint = ""
    if isinstance(scene, Field):
        hint = "; field.to_gaussians(scale_fraction) turns a field into VoxelGaussians"
    elif isinstance(scene, Gaussians | VoxelGaussians):
        hint = "; Gaussians are drawn by splat_cpu, splat_torch and splat_gsplat"
    raise TypeError(f"renderer {renderer!r} draws {names}, got {type(scene).__name__}{hint}")


def full_precision(tensor: Tensor) -> AbstractContextManager[Any]:
    """Return a context without autocast: rays and projections in half precision would be off by pixels."""
    return torch.autocast(tensor.device.type, enabled=False)


def require_cpu(tensor: Tensor, renderer: str) -> None:
    """Raise RendererError unless the tensor is in main memory."""
    if tensor.device.type != "cpu":
        raise RendererError(f"{renderer}: the scene must be on the CPU, got {tensor.device}; move scene and rig there")


def check_rig(rig: CameraRig, batch: int, renderer: str) -> None:
    """Check a rig against a scene; values only on the CPU, where looking at them makes nobody wait.

    Raises:
        ValueError: Where the batch sizes differ or a camera is not a pinhole camera with a rigid pose.
    """
    if rig.batch_size != batch:
        raise RendererError(f"{renderer}: the scene has {batch} batch items, the rig has {rig.batch_size}")
    if min(rig.image_size) < 1:
        raise RendererError(f"{renderer}: image_size must be at least 1x1, got {rig.image_size}")
    if rig.intrinsics.is_cuda:
        return
    try:
        rig.validate()
    except ValueError as error:
        raise RendererError(f"{renderer}: {error}") from error
    k = rig.intrinsics
    off = torch.stack([k[..., 0, 1], k[..., 1, 0], k[..., 2, 0], k[..., 2, 1], k[..., 2, 2] - 1.0], -1)
    if bool((off.abs() > 1e-6).any()):
        raise RendererError(f"{renderer}: intrinsics must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {k.tolist()}")


def check_opacities(opacities: Float[Tensor, "*any"], renderer: str) -> None:
    """Check that opacities lie in [0, 1]; NaN passes, so that it shows in the picture and in the loss.

    Raises:
        ValueError: Where one lies outside.
    """
    if opacities.is_cuda or opacities.numel() == 0:
        return
    outside = (opacities < 0.0) | (opacities > 1.0)
    if bool(outside.any()):
        bad = opacities[outside][0].item()
        raise RendererError(f"{renderer}: opacities must lie in [0, 1], got {bad:g}; logits need a sigmoid first")


def check_gaussians(scene: Gaussians, num_views: int, renderer: str) -> None:
    """Check shapes and values of free Gaussians before they reach a kernel; values only on the CPU.

    Raises:
        ValueError: Naming the field, the first Gaussian at fault and its value.
    """
    batch, count = scene.means.shape[:2]
    for name in ("quats", "scales", "opacities", "features"):
        shape = tuple(getattr(scene, name).shape)
        if shape[:2] != (batch, count):
            raise RendererError(f"{renderer}: {name} must start with ({batch}, {count}) like means, got {shape}")
    given = scene.covariances
    if given is not None:
        views = sorted({1, num_views})
        if given.shape[0] != batch or given.shape[1] not in views or given.shape[2:] != (count, 3, 3):
            raise RendererError(
                f"{renderer}: covariances must be ({batch}, {' or '.join(map(str, views))}, {count}, 3, 3): batch, one "
                f"or all views, Gaussians; got {tuple(given.shape)}"
            )
    if scene.means.is_cuda or count == 0:
        return
    check_opacities(scene.opacities, renderer)
    rules = {"means": (~torch.isfinite(scene.means).all(-1), "finite")}
    if given is None:
        rules["scales"] = (~(torch.isfinite(scene.scales) & (scene.scales > 0)).all(-1), "finite and positive")
        usable = (scene.quats.square().sum(-1) > 1e-16) & torch.isfinite(scene.quats).all(-1)
        rules["quats"] = (~usable, "finite and not zero")
    else:
        rules["covariances"] = (_not_covariance(given), "finite, symmetric and positive definite")
    for name, (bad, expected) in rules.items():
        if bool(bad.any()):
            b, *view, n = at = bad.nonzero()[0].tolist()
            where = f"Gaussian {n} of " + (f"view {view[0]} of " if view else "") + f"item {b}"
            value = getattr(scene, name)[tuple(at)].tolist()
            raise RendererError(f"{renderer}: {name} must be {expected}, got {value} in {where}")


def _not_covariance(given: Float[Tensor, "B V N 3 3"]) -> Bool[Tensor, "B V N"]:
    """Return where matrices are not finite, not symmetric or have a negative principal minor.

    Minors may be negative by rounding: a disk a thousandth as thick as wide is a covariance.
    """
    slack = 1e-5
    a, b, c = given.diagonal(dim1=-2, dim2=-1).unbind(-1)
    skew = (given - given.transpose(-1, -2)).abs().amax((-1, -2))
    good = (a > 0) & (b > 0) & (c > 0) & (skew <= slack * torch.maximum(torch.maximum(a, b), c))
    for i, j, product in ((0, 1, a * b), (0, 2, a * c), (1, 2, b * c)):
        good &= product - given[..., i, j] * given[..., j, i] >= -slack * product
    good &= torch.linalg.det(given.double()) >= -slack * (a * b * c).double()
    return ~good


def check_voxel_gaussians(scene: VoxelGaussians, renderer: str) -> None:
    """Check shapes and values of Gaussians on a grid before they reach a kernel.

    Raises:
        ValueError: Naming the field and what it should have been.
    """
    batch = scene.opacities.shape[0]
    if tuple(scene.opacities.shape[1:]) != scene.grid.shape:
        raise RendererError(
            f"{renderer}: opacities must be (B, *{scene.grid.shape}) like the grid, got {tuple(scene.opacities.shape)}"
        )
    if scene.features.shape[0] != batch or tuple(scene.features.shape[2:]) != scene.grid.shape:
        raise RendererError(
            f"{renderer}: features must be ({batch}, C, *{scene.grid.shape}), got {tuple(scene.features.shape)}"
        )
    if not all(math.isfinite(f) and f > 0 for f in scene.scale_fraction):
        raise RendererError(
            f"{renderer}: scale_fraction must be three finite positive numbers, got {scene.scale_fraction}"
        )
    check_opacities(scene.opacities, renderer)


def stack_items(items: Sequence[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    """Stack the first images of all batch items, the second ones, and so on; those of a single item are not copied."""
    return (torch.stack(parts) if len(parts) > 1 else parts[0][None] for parts in zip(*items, strict=True))


def assemble(
    features: Float[Tensor, "B V C H W"], depth_sum_m: Float[Tensor, "B V H W"], opacity: Float[Tensor, "B V H W"]
) -> RenderOutput:
    """Return the output with its normalised depth."""
    return RenderOutput(
        depth_m=depth_sum_m / opacity.clamp(min=OPACITY_MIN),
        depth_sum_m=depth_sum_m,
        opacity=opacity,
        features=features,
    )
