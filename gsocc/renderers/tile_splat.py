"""Splatting of free Gaussians on the CPU: projection in torch, tiles in numba, autograd around both."""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.kernels.tile_splat import TILE, bin_tiles, measure, splat_backward, splat_forward
from gsocc.renderers.base import SplatOptions
from gsocc.renderers.buffers import GradientBuffers, pack_rows
from gsocc.renderers.constants import ALPHA_MIN, EXTENT_SIGMAS, FRUSTUM_MARGIN, TRANSMITTANCE_MIN
from gsocc.renderers.projection import project_gaussians, splat_covariances, view_covariances
from gsocc.structures import CameraRig, Gaussians


def splat_tiles(
    scene: Gaussians, rig: CameraRig, options: SplatOptions
) -> tuple[Float[Tensor, "V C H W"], Float[Tensor, "V H W"], Float[Tensor, "V H W"]]:
    """Splat the Gaussians of one batch item into every view, differentiably in all of them.

    Args:
        scene: One batch item, float32 on the CPU.
        rig: Its cameras.
        options: Near plane, blur and alpha limit.

    Returns:
        features: sum(w f) per pixel.
        depth_sum_m: sum(w z) in metres.
        opacity: sum(w).
    """
    # What the projection's gradient needs is computed again in the backward pass: kept for every view, it would be most
    # of the memory.
    views = [checkpoint(_project_view, scene, rig, view, options, use_reentrant=False) for view in range(rig.num_views)]
    view_start = np.cumsum([0, *(len(ids) for ids, *_ in views)], dtype=np.int64)
    ids, means2d, conics, depths = (torch.cat(parts) for parts in zip(*views, strict=True))
    features, depth, opacity = _SplatTiles.apply(
        means2d, conics, depths, scene.opacities[0], scene.features[0], ids.to(torch.int32), view_start,
        rig.image_size, options.alpha_max,
    )  # fmt: skip
    return features, depth, opacity


def _project_view(
    scene: Gaussians, rig: CameraRig, view: int, options: SplatOptions
) -> tuple[Int[Tensor, " M"], Float[Tensor, "M 2"], Float[Tensor, "M 3"], Float[Tensor, " M"]]:
    """Return which Gaussians one view sees, their centres in pixels, conics and depths, by depth."""
    seen = _candidates(scene, rig, view, options)
    projected = project_gaussians(
        scene.means[0, seen],
        splat_covariances(scene, rig, (0, view), options.footprint, seen),
        rig.intrinsics[0, view].float(),
        rig.cam_to_ego[0, view].float(),
        rig.image_size,
        near_m=options.near_m,
        eps2d_px=options.eps2d_px,
    )
    kept = projected.visible.nonzero()[:, 0]
    kept = kept[torch.argsort(projected.depths_m.detach()[kept], stable=True)]
    return seen[kept], projected.means2d[kept], projected.conics[kept], projected.depths_m[kept]


@torch.no_grad()
def _candidates(scene: Gaussians, rig: CameraRig, view: int, options: SplatOptions) -> Int[Tensor, " M"]:
    """Return the Gaussians that may be seen, by an upper bound of their extent that needs no rotation."""
    means, opacities = scene.means[0], scene.opacities[0]
    height, width = rig.image_size
    k = rig.intrinsics[0, view].float()
    x, y, z = transform_points(invert_rigid(rig.cam_to_ego[0, view].float()), means).unbind(-1)
    visible = (z > options.near_m) & ~(opacities < ALPHA_MIN)
    z = torch.where(visible, z, torch.ones_like(z))
    if scene.covariances is None:
        variance = scene.scales[0].amax(-1).square()
    else:  # no eigenvalue is larger than their sum
        variance = view_covariances(scene, 0, view).diagonal(dim1=-2, dim2=-1).sum(-1)
    for along, focal, centre, size in ((x, k[0, 0], k[0, 2], width), (y, k[1, 1], k[1, 2], height)):
        slope = along / z
        # |row of J|^2 times the largest variance bounds the variance in the image; x / z is clamped as in EWA.
        stretch, steepest = focal, (torch.maximum(centre, size - centre).abs() + FRUSTUM_MARGIN * 0.5 * size) / focal
        if options.footprint == "released":
            stretch, steepest = size / width * k[0, 0], (1.0 + FRUSTUM_MARGIN) * 0.5 * width / k[0, 0]
        bound = variance * (stretch / z).square() * (1.0 + torch.minimum(slope.abs(), steepest).square())
        reach = EXTENT_SIGMAS * (bound + options.eps2d_px).sqrt() + 1.0
        pixel = focal * slope + centre
        visible &= (pixel + reach > 0.0) & (pixel - reach < size)
    return visible.nonzero()[:, 0]


@dataclass(frozen=True)
class _Tiles:
    """Depth-sorted lists of Gaussians per tile, as `bin_tiles` makes them."""

    offsets: NDArray[np.int64]
    pairs: NDArray[np.int32]
    shape: NDArray[np.int64]
    two_sigma_max: NDArray[np.float32]


def _bin(
    ids: Tensor,
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    view_start: NDArray[np.int64],
    size: tuple[int, int],
) -> _Tiles:
    two_sigma_max = np.empty(len(ids), np.float32)
    reach = np.empty((len(ids), 2), np.float32)
    measure(ids.numpy(), conics.numpy(), opacities.numpy(), np.float32(ALPHA_MIN), two_sigma_max, reach)
    shape = np.array([len(view_start) - 1, -(-size[0] // TILE), -(-size[1] // TILE)], np.int64)
    counts = np.empty(tuple(shape), np.int32)
    offsets = np.zeros(counts.size + 1, np.int64)
    inputs = (view_start, means2d.numpy(), two_sigma_max, reach, *size)
    bin_tiles(*inputs, False, counts, offsets, np.empty(0, np.int32))
    np.cumsum(counts.reshape(-1), out=offsets[1:])
    pairs = np.empty(int(offsets[-1]), np.int32)
    bin_tiles(*inputs, True, counts, offsets, pairs)
    return _Tiles(offsets, pairs, shape, two_sigma_max)


class _SplatTiles(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        depths: Tensor,
        opacities: Tensor,
        features: Tensor,
        ids: Tensor,
        view_start: NDArray[np.int64],
        image_size: tuple[int, int],
        alpha_max: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        means2d, conics, depths, opacities = (t.contiguous() for t in (means2d, conics, depths, opacities))
        rows = pack_rows(features.T, ~(opacities < ALPHA_MIN))  # NaN is drawn, to be seen
        tiles = _bin(ids, means2d, conics, opacities, view_start, image_size)
        views, channels = len(view_start) - 1, features.shape[1]
        out_features = torch.empty(views, channels, *image_size)
        out_depth, out_opacity, light = (torch.empty(views, *image_size) for _ in range(3))
        last = torch.empty(views, *image_size, dtype=torch.int32)
        ctx.scene = (
            tiles.offsets, tiles.pairs, tiles.shape, ids.numpy(), means2d.numpy(), conics.numpy(), depths.numpy(),
            tiles.two_sigma_max, opacities.numpy(), rows.numpy(), np.float32(ALPHA_MIN), np.float32(alpha_max),
        )  # fmt: skip
        out: tuple[Any, ...] = (out_features.numpy(), out_depth.numpy(), out_opacity.numpy(), light.numpy())
        limits = (np.float32(TRANSMITTANCE_MIN), numba.get_num_threads())
        splat_forward(*(*ctx.scene, *limits, *out, last.numpy()))
        ctx.channels = channels
        ctx.save_for_backward(means2d, light, last)
        return out_features, out_depth, out_opacity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        means2d, light, last = ctx.saved_tensors
        wanted = any(ctx.needs_input_grad[:3])
        rows = ctx.scene[9]
        count, padded = rows.shape
        buffers = GradientBuffers.allocate(count, padded, extra=len(means2d) * 6 if wanted else 0)
        geometry = np.zeros((len(buffers.rows), len(means2d) if wanted else 0, 6), np.float32)
        grad: tuple[Any, ...] = tuple(g.float().contiguous().numpy() for g in grads)
        into = (buffers.rows, buffers.scalars, buffers.touched, geometry)
        splat_backward(*(*ctx.scene, light.numpy(), last.numpy(), *grad, wanted, *into))
        grad_features, grad_opacities = buffers.total(ctx.channels)
        by_mean: Tensor | None = None
        by_conic: Tensor | None = None
        by_depth: Tensor | None = None
        if wanted:
            by_mean, by_conic, by_depth = torch.from_numpy(geometry.sum(0)).split([2, 3, 1], -1)
            by_depth = by_depth[:, 0]
        return by_mean, by_conic, by_depth, grad_opacities, grad_features.T, None, None, None, None
