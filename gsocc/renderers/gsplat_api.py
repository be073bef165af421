"""The part of gsplat 1.5.3 that renderers use; none of their other modules imports it.

gsplat's own `rasterization` is not used, because its packed projection mixes batch items in 1.5.3: the forward pass
reads the opacities of item 0 for all of them, the backward pass sums over Gaussians (and cameras) of equal number
within a warp, whichever item they belong to. The functions below it are sound where each projection gets one item.
"""

from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from gsocc.errors import MissingExtraError
from gsocc.renderers.base import RendererError

VERSION = "1.5.3"
"""Signatures, thresholds and limits of alpha differ in other releases."""

TILE_PX = 16
"""Edge of gsplat's tiles; its authors test no other."""

CHANNEL_CHUNK = 32
"""Channels that are composited in one pass; more take further passes."""

WIDTHS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32)
"""Numbers of channels up to `CHANNEL_CHUNK` that gsplat compiles kernels for."""


@runtime_checkable
class GsplatApi(Protocol):
    """The four functions of gsplat, with its own names and argument order; tensors as its documentation has them."""

    def fully_fused_projection(self, means: Tensor, *args: Any, **options: Any) -> tuple[Any, ...]:
        """Project Gaussians of one batch item into its cameras; with packed=True one row per visible pair."""

    def isect_tiles(
        self, means2d: Tensor, radii: Tensor, depths: Tensor, *args: Any, **options: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return tiles per row, sorted keys (image, tile, depth), and the rows in that order."""

    def isect_offset_encode(self, isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int) -> Tensor:
        """Return where the list of each tile starts."""

    def rasterize_to_pixels(
        self, means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, *args: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Composite rows along the lists of the tiles."""


def import_gsplat() -> GsplatApi:
    """Return gsplat; its kernels are compiled at their first use, which takes minutes once.

    Raises:
        MissingExtraError: Without a GPU, without gsplat, or with another version of it.
    """
    # Without CUDA gsplat 1.5.3 imports and then fails with a misleading message at the first call.
    if not torch.cuda.is_available():
        raise MissingExtraError(
            "renderer 'splat_gsplat' needs an NVIDIA GPU that torch can use; renderer 'splat_cpu' runs on a CPU"
        )
    install = "pip install -c constraints.txt -e .[cuda]"
    try:
        import gsplat
    except ImportError as error:
        raise MissingExtraError(
            f"renderer 'splat_gsplat' needs gsplat: {install}; renderer 'splat_cpu' runs on a CPU"
        ) from error
    if gsplat.__version__.split("+")[0] != VERSION:
        raise MissingExtraError(
            f"renderer 'splat_gsplat' needs gsplat {VERSION}, found {gsplat.__version__}: {install}"
        )
    return cast(GsplatApi, gsplat)


def require_cuda(tensor: Tensor, name: str) -> None:
    """Raise RendererError unless the tensor is in the memory of a GPU."""
    if not tensor.is_cuda:
        raise RendererError(
            f"splat_gsplat: {name} must be on a CUDA device, got {tensor.device}; move scene and rig there, or use "
            f"renderer 'splat_cpu', which runs on a CPU"
        )
