"""Gaussian splatting on NVIDIA GPUs through gsplat 1.5.3; the only module that imports it."""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.errors import MissingExtraError
from gsocc.geometry.se3 import invert_rigid
from gsocc.renderers.base import (
    RendererError,
    Scene,
    SplatOptions,
    assemble,
    check_gaussians,
    check_rig,
    check_voxel_gaussians,
    full_precision,
    option_names,
    refuse,
)
from gsocc.renderers.constants import ALPHA_MAX
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGaussians

CHANNEL_CHUNK = 32
"""Channels that gsplat composites in one pass; more take further passes."""


class SplatGsplat:
    """Splats on CUDA: all cameras and batch items in one call, features and depth in one pass, float32 inside.

    Takes the options of `SplatOptions`; `alpha_max` is compiled into gsplat and must keep its default. Gradients
    reach means, rotations, scales, opacities, features and camera poses, not intrinsics.
    """

    scene_kinds: tuple[type, ...] = (Gaussians, VoxelGaussians)

    def __init__(self, **options: Any) -> None:
        self.options = SplatOptions(**options)
        if self.options.alpha_max != ALPHA_MAX:
            raise RendererError(
                f"splat_gsplat: alpha_max is {ALPHA_MAX} in gsplat 1.5.3's kernels, got {self.options.alpha_max}; "
                f"splat_cpu and splat_torch take any"
            )
        self._gsplat = _import_gsplat()

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(SplatOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the scene into every camera; see `Renderer.render`. Values are not checked, which would make it wait.

        Raises:
            ValueError: Also where the scene is not on a CUDA device.
        """
        if isinstance(scene, VoxelGaussians):
            check_voxel_gaussians(scene, "splat_gsplat")
            scene = scene.to_gaussians()
        if not isinstance(scene, Gaussians):
            refuse(scene, "splat_gsplat", self.scene_kinds)
        if not scene.means.is_cuda:
            raise RendererError(
                f"splat_gsplat: the scene must be on a CUDA device, got {scene.means.device}; renderer 'splat_cpu' "
                f"runs on a CPU"
            )
        check_gaussians(scene, rig.num_views, "splat_gsplat")
        check_rig(rig, scene.means.shape[0], "splat_gsplat")
        with full_precision(scene.means):
            return self._rasterize(scene, rig)

    def _rasterize(self, scene: Gaussians, rig: CameraRig) -> RenderOutput:
        batch, count, channels = scene.features.shape
        height, width = rig.image_size
        if count == 0:
            empty = scene.features.new_zeros(batch, rig.num_views, channels + 2, height, width, dtype=torch.float32)
            return assemble(empty[:, :, 2:], empty[:, :, 0], empty[:, :, 1])
        rendered, alphas, _ = self._gsplat.rasterization(
            means=scene.means.float().contiguous(),
            quats=scene.quats.float().contiguous(),
            scales=scene.scales.float().contiguous(),
            opacities=scene.opacities.float().contiguous(),
            colors=_pad(scene.features.float()).contiguous(),
            viewmats=invert_rigid(rig.cam_to_ego.float()).contiguous(),
            Ks=rig.intrinsics.float().contiguous(),
            width=width,
            height=height,
            near_plane=self.options.near_m,
            eps2d=self.options.eps2d_px,
            packed=True,
            render_mode="RGB+D",
            rasterize_mode="classic",
            channel_chunk=CHANNEL_CHUNK,
        )  # (B, V, H, W, padded + 1), (B, V, H, W, 1)
        features = rendered[..., :channels].movedim(-1, 2)  # (B, V, C, H, W)
        return assemble(features, rendered[..., -1], alphas[..., 0])


def _pad(features: Float[Tensor, "B N C"]) -> Float[Tensor, "B N P"]:
    """Pad channels so that with depth they are 2, 4, 8, 16 or a multiple of 32: counts that every gsplat compiles."""
    channels = features.shape[-1]
    with_depth = channels + 1
    if with_depth > CHANNEL_CHUNK:
        target = -(-with_depth // CHANNEL_CHUNK) * CHANNEL_CHUNK
    else:
        target = max(2, 1 << (with_depth - 1).bit_length())
    return torch.nn.functional.pad(features, (0, target - 1 - channels))


def _import_gsplat() -> ModuleType:
    # Without CUDA gsplat 1.5.3 imports and then fails with a misleading message at the first call.
    if not torch.cuda.is_available():
        raise MissingExtraError(
            "renderer 'splat_gsplat' needs an NVIDIA GPU that torch can use; renderer 'splat_cpu' runs on a CPU"
        )
    try:
        import gsplat
    except ImportError as error:
        raise MissingExtraError(
            "renderer 'splat_gsplat' needs gsplat: pip install -c constraints.txt -e .[cuda]; renderer 'splat_cpu' "
            "runs on a CPU"
        ) from error
    return gsplat
