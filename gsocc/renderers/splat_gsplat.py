"""Gaussian splatting on NVIDIA GPUs through gsplat 1.5.3."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.renderers import gsplat_api
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
from gsocc.renderers.gsplat_lists import TileListCache, live_lists
from gsocc.renderers.gsplat_splats import Splats, TileLists, composite, intersect, project
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGaussians


class SplatGsplat:
    """Splats on CUDA: all cameras and batch items in one pass, depth beside the features, float32 inside.

    Takes the options of `SplatOptions`; `alpha_max` is compiled into gsplat and must keep its default. Gradients
    reach means, rotations, scales, covariances, opacities, features and camera poses, not intrinsics.
    `VoxelGaussians` have gradients to opacities and features; with `cache` they are drawn from lists that are built
    once per rig and kept, and poses get no gradient.
    """

    scene_kinds: tuple[type, ...] = (Gaussians, VoxelGaussians)

    def __init__(self, **options: Any) -> None:
        self.options = SplatOptions(**options)
        if self.options.alpha_max != ALPHA_MAX:
            raise RendererError(
                f"splat_gsplat: alpha_max is {ALPHA_MAX} in gsplat 1.5.3's kernels, got {self.options.alpha_max}; "
                f"splat_cpu and splat_torch take any"
            )
        self._gsplat = gsplat_api.import_gsplat()
        self.cache = TileListCache(self.options)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(SplatOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the scene into every camera; see `Renderer.render`. Values are not checked, which would make it wait.

        Raises:
            ValueError: Also where scene or rig are not on a CUDA device, where the lists of a rig do not fit into
                `cache_max_gb`, and where poses want a gradient that cached lists do not have.
        """
        if isinstance(scene, VoxelGaussians):
            self._check(scene.opacities, rig)
            check_voxel_gaussians(scene, "splat_gsplat")
            if self.options.cache:
                with full_precision(scene.opacities):
                    return self._render_cached(scene, rig)
            scene = scene.to_gaussians()
        if not isinstance(scene, Gaussians):
            refuse(scene, "splat_gsplat", self.scene_kinds)
        self._check(scene.means, rig)
        check_gaussians(scene, rig.num_views, "splat_gsplat")
        with full_precision(scene.means):
            return self._render_plain(scene.map(Tensor.float), rig)

    @staticmethod
    def _check(tensor: Tensor, rig: CameraRig) -> None:
        gsplat_api.require_cuda(tensor, "the scene")
        if rig.intrinsics.device != tensor.device or rig.cam_to_ego.device != tensor.device:
            raise RendererError(
                f"splat_gsplat: the rig must be on the scene's device {tensor.device}, got "
                f"{rig.intrinsics.device}; keep it there, so that no step has to move it"
            )
        check_rig(rig, tensor.shape[0], "splat_gsplat")

    def _render_plain(self, scene: Gaussians, rig: CameraRig) -> RenderOutput:
        opacities, features = scene.opacities.flatten(), scene.features.flatten(0, 1)
        if len(opacities) == 0:  # gsplat divides by their number
            shape = (rig.batch_size, rig.num_views, scene.features.shape[-1] + 2, *rig.image_size)
            empty = (scene.opacities.sum() + scene.features.sum()).expand(shape)
            return assemble(empty[:, :, 2:], empty[:, :, 0], empty[:, :, 1])
        projected = project(self._gsplat, scene, rig, self.options, scene.opacities.detach())
        lists = intersect(self._gsplat, projected, rig.batch_size * rig.num_views, rig.image_size)
        return self._composite(projected.splats, lists, opacities, features, rig)

    def _render_cached(self, scene: VoxelGaussians, rig: CameraRig) -> RenderOutput:
        if torch.is_grad_enabled() and rig.cam_to_ego.requires_grad:
            raise RendererError(
                "splat_gsplat: cached lists have no gradient to cam_to_ego; set cache=False, or detach the poses"
            )
        opacities = scene.opacities.float().flatten(1)  # (B, N)
        splats, lists = live_lists(self.cache.get(self._gsplat, scene, rig), opacities)
        features = scene.features.float().flatten(2).movedim(1, 2).flatten(0, 1)  # (B * N, C)
        return self._composite(splats, lists, opacities.flatten(), features, rig)

    def _composite(
        self,
        splats: Splats,
        lists: TileLists,
        opacities: Float[Tensor, " T"],
        features: Float[Tensor, "T C"],
        rig: CameraRig,
    ) -> RenderOutput:
        images = composite(self._gsplat, splats, lists, opacities, features, rig.image_size)
        features, depth, opacity = (image.unflatten(0, (rig.batch_size, rig.num_views)) for image in images)
        # min(0.999, NaN) is 0.999 on a GPU: gsplat would draw a NaN opacity as a wall. Adding zero times their sum
        # shows it, in the item where it is.
        poison = 0.0 * opacities.detach().unflatten(0, (rig.batch_size, -1)).sum(-1)  # (B,)
        return assemble(features, depth, opacity + poison[:, None, None, None])
