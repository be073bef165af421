"""Gaussian splatting on the CPU: numba kernels, parallel, with exact gradients."""

from typing import Any

from torch import Tensor

from gsocc.renderers.base import (
    Scene,
    SplatOptions,
    assemble,
    check_gaussians,
    check_rig,
    check_voxel_gaussians,
    full_precision,
    option_names,
    refuse,
    require_cpu,
    stack_items,
)
from gsocc.renderers.list_blend import blend_voxel_lists
from gsocc.renderers.tile_splat import splat_tiles
from gsocc.renderers.voxel_lists import VoxelListCache
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGaussians


class SplatCpu:
    """Splats on the CPU. Takes the options of `SplatOptions`.

    `Gaussians` are projected in torch and splatted tile by tile; gradients reach means, rotations, scales, opacities
    and features. `VoxelGaussians` have gradients to opacities and features; with `cache` they are drawn from lists
    that are built once per rig and kept, without it they take the way of the free ones.
    """

    scene_kinds: tuple[type, ...] = (Gaussians, VoxelGaussians)

    def __init__(self, **options: Any) -> None:
        self.options = SplatOptions(**options)
        self.cache = VoxelListCache(self.options)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(SplatOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the scene into every camera; see `Renderer.render`.

        Raises:
            ValueError: Also where the voxel lists of one rig do not fit into `cache_max_gb`.
        """
        if isinstance(scene, VoxelGaussians):
            require_cpu(scene.opacities, "splat_cpu")
            check_voxel_gaussians(scene, "splat_cpu")
            if self.options.cache:
                with full_precision(scene.opacities):
                    return self._render_cached(scene, rig)
            scene = scene.to_gaussians()
        if not isinstance(scene, Gaussians):
            refuse(scene, "splat_cpu", self.scene_kinds)
        require_cpu(scene.means, "splat_cpu")
        check_gaussians(scene, rig.num_views, "splat_cpu")
        check_rig(rig, scene.means.shape[0], "splat_cpu")
        with full_precision(scene.means):
            return self._render_tiles(scene, rig)

    def _render_tiles(self, scene: Gaussians, rig: CameraRig) -> RenderOutput:
        items = [
            splat_tiles(scene.item(index).map(Tensor.float), rig.item(index), self.options)
            for index in range(rig.batch_size)
        ]
        features, depth, opacity = stack_items(items)
        return assemble(features, depth, opacity)

    def _render_cached(self, scene: VoxelGaussians, rig: CameraRig) -> RenderOutput:
        check_rig(rig, scene.opacities.shape[0], "splat_cpu")
        items = [
            blend_voxel_lists(
                self.cache.get(scene, rig.item(index)),
                scene.opacities[index].float().flatten(),
                scene.features[index].float().flatten(1),
                self.options.alpha_max,
            )
            for index in range(rig.batch_size)
        ]
        features, depth, opacity = stack_items(items)
        return assemble(features, depth, opacity)
