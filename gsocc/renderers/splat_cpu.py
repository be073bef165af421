"""Gaussian splatting on the CPU: numba kernels, parallel, with exact gradients."""

from typing import Any

import torch

from gsocc.renderers.base import Scene, SplatOptions, assemble, check_rig, check_voxel_gaussians, option_names, refuse
from gsocc.renderers.list_blend import blend_voxel_lists
from gsocc.renderers.voxel_lists import VoxelListCache
from gsocc.structures import CameraRig, RenderOutput, VoxelGaussians


class SplatCpu:
    """Splats on the CPU.

    `VoxelGaussians` are drawn from lists that are built once per rig and kept (`cache=True`). Gradients reach
    opacities and features. Options are those of `SplatOptions`.
    """

    scene_kinds: tuple[type, ...] = (VoxelGaussians,)

    def __init__(self, **options: Any) -> None:
        self.options = SplatOptions(**options)
        self.cache = VoxelListCache(self.options)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(SplatOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the scene into every camera; see `Renderer.render`."""
        if not isinstance(scene, VoxelGaussians):
            refuse(scene, "splat_cpu", self.scene_kinds)
        return self._render_cached(scene, rig)

    def _render_cached(self, scene: VoxelGaussians, rig: CameraRig) -> RenderOutput:
        check_voxel_gaussians(scene, "splat_cpu")
        check_rig(rig, scene.opacities.shape[0], "splat_cpu")
        items = [
            blend_voxel_lists(
                self.cache.get(scene.grid, scene.scales_m, rig.item(index)),
                scene.opacities[index].float().flatten(),
                scene.features[index].float().flatten(1),
                self.options.alpha_max,
            )
            for index in range(rig.batch_size)
        ]
        features, depth, opacity = (torch.stack(parts) for parts in zip(*items, strict=True))
        return assemble(features, depth, opacity)
