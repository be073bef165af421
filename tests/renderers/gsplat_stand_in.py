"""gsplat's four functions on a CPU, so that all that surrounds them is tested without a GPU.

Projection, tiles and offsets are gsplat's own torch code (`gsplat.cuda._torch_impl`), packed and tightened as its CUDA
kernels do; the rasteriser is ours. What those kernels demand of types and layout is asserted.
"""

from typing import Any

import torch
from gsplat.cuda import _torch_impl
from torch import Tensor

from gsocc.renderers import gsplat_api
from gsocc.renderers.compositing import ray_weights
from gsocc.renderers.gsplat_api import TILE_PX, WIDTHS

ALPHA_MIN, ALPHA_MAX, TRANSMITTANCE_MIN = 1 / 255, 0.999, 1e-4


class GsplatStandIn:
    """Functions with the names, arguments and contracts of gsplat 1.5.3; counts its calls."""

    __version__ = gsplat_api.VERSION

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}

    def fully_fused_projection(
        self,
        means: Tensor,
        covars: Tensor | None,
        quats: Tensor | None,
        scales: Tensor | None,
        viewmats: Tensor,
        Ks: Tensor,
        width: int,
        height: int,
        eps2d: float = 0.3,
        near_plane: float = 0.01,
        far_plane: float = 1e10,
        packed: bool = False,
        opacities: Tensor | None = None,
    ) -> tuple[Any, ...]:
        self._count("fully_fused_projection")
        assert packed
        assert means.dim() == 2, "packed projection mixes batch items"
        for tensor in (means, covars, quats, scales, viewmats, Ks, opacities):
            assert tensor is None or tensor.dtype == torch.float32
        if covars is None:
            assert quats is not None and scales is not None
            matrices, _ = _torch_impl._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
        else:
            assert quats is None and scales is None and covars.shape == (len(means), 6)
            matrices = covars[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].unflatten(-1, (3, 3))
        radii, means2d, depths, conics, _ = _torch_impl._fully_fused_projection(
            means, matrices, viewmats, Ks, width, height, eps2d, near_plane, far_plane
        )  # (C, N, ...)
        visible = (radii > 0).all(-1)
        if opacities is not None:
            # The kernel's tighter box: ceil(min(3.33, sqrt(2 ln(255 o))) sqrt(cov)).
            a, b, c = conics.detach().unbind(-1)
            variances = torch.stack([c, a], -1) / (a * c - b * b)[..., None]
            extent = (2 * (opacities / ALPHA_MIN).clamp(min=1.0).log()).sqrt().clamp(max=3.33)
            tight = (extent[:, None] * variances.sqrt()).ceil()
            inside = ((means2d + tight > 0) & (means2d - tight < torch.tensor([width, height]))).all(-1)
            visible &= ~(opacities < ALPHA_MIN) & inside & (tight > 0).any(-1)
            radii = torch.minimum(tight.int(), radii)
        cameras, gaussians = visible.nonzero(as_tuple=True)
        rows = (radii[visible], means2d[visible], depths[visible], conics[visible])
        return torch.zeros_like(cameras), cameras, gaussians, *rows, None

    def isect_tiles(
        self,
        means2d: Tensor,
        radii: Tensor,
        depths: Tensor,
        tile_size: int,
        tile_width: int,
        tile_height: int,
        packed: bool = False,
        n_images: int | None = None,
        image_ids: Tensor | None = None,
        gaussian_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        self._count("isect_tiles")
        assert packed and n_images is not None and image_ids is not None and gaussian_ids is not None
        assert image_ids.dtype == gaussian_ids.dtype == torch.int64
        assert radii.dtype == torch.int32
        rows = len(means2d)
        # gsplat's torch code knows no packed form: one column per row, in the image where it belongs.
        present = torch.zeros(n_images, rows, dtype=torch.bool)
        present[image_ids, torch.arange(rows)] = True
        counts, keys, flat = _torch_impl._isect_tiles(
            means2d.detach().expand(n_images, -1, -1),
            torch.where(present[..., None], radii, 0),
            depths.detach().expand(n_images, -1),
            tile_size,
            tile_width,
            tile_height,
        )
        return counts.sum(0), keys, flat % max(rows, 1)

    def isect_offset_encode(self, isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int) -> Tensor:
        self._count("isect_offset_encode")
        return _torch_impl._isect_offset_encode(isect_ids, n_images, tile_width, tile_height)

    def rasterize_to_pixels(
        self,
        means2d: Tensor,
        conics: Tensor,
        colors: Tensor,
        opacities: Tensor,
        image_width: int,
        image_height: int,
        tile_size: int,
        isect_offsets: Tensor,
        flatten_ids: Tensor,
        packed: bool = False,
    ) -> tuple[Tensor, Tensor]:
        self._count("rasterize_to_pixels")
        assert packed and tile_size == TILE_PX and colors.shape[-1] in WIDTHS
        assert isect_offsets.dtype == flatten_ids.dtype == torch.int32
        assert all(t.dtype == torch.float32 for t in (means2d, conics, colors, opacities))
        assert len(means2d) == len(conics) == len(colors) == len(opacities)
        images, down, across = isect_offsets.shape
        ends = torch.cat([isect_offsets.flatten()[1:], torch.tensor([len(flatten_ids)])]).view_as(isect_offsets)
        tiles = []
        for image in range(images):
            for y in range(down):
                for x in range(across):
                    rows = flatten_ids[isect_offsets[image, y, x] : ends[image, y, x]]
                    tiles.append(_blend(x, y, means2d[rows], conics[rows], colors[rows], opacities[rows]))
        whole = torch.stack(tiles).view(images, down, across, TILE_PX, TILE_PX, -1).transpose(2, 3)
        whole = whole.reshape(images, down * TILE_PX, across * TILE_PX, -1)[:, :image_height, :image_width]
        return whole[..., :-1], whole[..., -1:]

    def _count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1


def _blend(x: int, y: int, means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor) -> Tensor:
    """Return colours and opacity of one tile (TILE_PX, TILE_PX, D + 1)."""
    steps = torch.arange(TILE_PX) + 0.5
    v, u = torch.meshgrid(y * TILE_PX + steps, x * TILE_PX + steps, indexing="ij")
    dx, dy = u[..., None] - means2d[:, 0], v[..., None] - means2d[:, 1]
    a, b, c = conics.unbind(-1)
    alpha = (opacities * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)).clamp(max=ALPHA_MAX)
    alpha = torch.where(alpha < ALPHA_MIN, 0.0, torch.nan_to_num(alpha, nan=ALPHA_MAX))
    weights, _ = ray_weights(alpha, TRANSMITTANCE_MIN, stop_before=True)
    return torch.cat([weights @ colors, weights.sum(-1, keepdim=True)], -1)
