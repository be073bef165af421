"""Gaussian splatting in plain torch: the oracle that every other splat is tested against.

Every Gaussian meets every pixel, so it is meant for small scenes. Differentiable to everything, float32 or float64.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.geometry.projection import pixel_centers
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
)
from gsocc.renderers.compositing import ray_weights
from gsocc.renderers.constants import ALPHA_MIN, TRANSMITTANCE_MIN
from gsocc.renderers.projection import project_gaussians, splat_covariances
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGaussians


class SplatTorch:
    """Splats on any device by brute force. Takes the options of `SplatOptions`; there is nothing to cache."""

    scene_kinds: tuple[type, ...] = (Gaussians, VoxelGaussians)

    def __init__(self, **options: Any) -> None:
        self.options = SplatOptions(**options)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(SplatOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the scene into every camera; see `Renderer.render`."""
        if isinstance(scene, VoxelGaussians):
            check_voxel_gaussians(scene, "splat_torch")
            scene = scene.to_gaussians()
        if not isinstance(scene, Gaussians):
            refuse(scene, "splat_torch", self.scene_kinds)
        check_gaussians(scene, rig.num_views, "splat_torch")
        check_rig(rig, scene.means.shape[0], "splat_torch")
        with full_precision(scene.means):
            items = [
                [self._render_view(scene, rig, item, view) for view in range(rig.num_views)]
                for item in range(rig.batch_size)
            ]
        features, depth, opacity = (
            torch.stack([torch.stack([view[part] for view in views]) for views in items]) for part in range(3)
        )
        return assemble(features, depth, opacity)

    def _render_view(
        self, scene: Gaussians, rig: CameraRig, item: int, view: int
    ) -> tuple[Float[Tensor, "C H W"], Float[Tensor, "H W"], Float[Tensor, "H W"]]:
        means = scene.means[item]
        projected = project_gaussians(
            means,
            splat_covariances(scene, rig, (item, view), self.options.footprint),
            rig.intrinsics[item, view].to(means.dtype),
            rig.cam_to_ego[item, view].to(means.dtype),
            rig.image_size,
            near_m=self.options.near_m,
            eps2d_px=self.options.eps2d_px,
        )
        seen = projected.visible.nonzero()[:, 0]
        seen = seen[torch.argsort(projected.depths_m[seen].detach(), stable=True)]  # (M,)
        pixels = pixel_centers(*rig.image_size, means.device, means.dtype).reshape(-1, 1, 2)  # (HW, 1, 2)
        dx, dy = (pixels - projected.means2d[seen]).unbind(-1)  # (HW, M)
        a, b, c = projected.conics[seen].unbind(-1)  # (M,)
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy  # (HW, M)
        alpha = (scene.opacities[item, seen] * torch.exp(-sigma)).clamp(max=self.options.alpha_max)
        alpha = torch.where(alpha < ALPHA_MIN, 0.0, alpha)
        weights, _ = ray_weights(alpha, TRANSMITTANCE_MIN, stop_before=True)  # (HW, M)
        features = weights @ scene.features[item, seen].to(weights.dtype)  # (HW, C)
        size = rig.image_size
        return (
            features.T.unflatten(-1, size),
            (weights @ projected.depths_m[seen]).unflatten(-1, size),
            weights.sum(-1).unflatten(-1, size),
        )
