"""Volume rendering in plain torch, on any device and for any field: one grid_sample per ray sample."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gsocc.fields.base import Field
from gsocc.geometry.projection import camera_directions
from gsocc.geometry.sampling import sample_volume
from gsocc.renderers.base import Scene, check_rig, full_precision, option_names, require_range
from gsocc.renderers.compositing import ray_weights
from gsocc.renderers.constants import OPACITY_MIN, TRANSMITTANCE_MIN
from gsocc.renderers.volume_options import VolumeOptions, require_field
from gsocc.structures import CameraRig, RenderOutput, VoxelGrid


@dataclass(frozen=True, kw_only=True)
class TorchVolumeOptions(VolumeOptions):
    """Options of `Volume`.

    Attributes:
        weights: Also return the weight of every sample, (B, V, H, W, S).
        chunk_gb: Rays are rendered in chunks whose samples take about this many 1e9 bytes; with gradients, chunks
            after which more follow are computed again in the backward pass instead of being kept.
    """

    weights: bool = False
    chunk_gb: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("chunk_gb", self.chunk_gb, 0.0, math.inf)


class Volume:
    """Marches rays through a field by its own `ray_rule`. Takes the options of `TorchVolumeOptions`."""

    scene_kinds: tuple[type, ...] = (Field,)

    def __init__(self, **options: Any) -> None:
        self.options = TorchVolumeOptions(**options)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(TorchVolumeOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the field into every camera; see `Renderer.render`."""
        field = require_field(scene, "volume")
        values, features = field.ray_values(), field.features()
        check_rig(rig, values.shape[0], "volume")
        dtype = torch.promote_types(values.dtype, torch.float32)
        volume = torch.cat([values.to(dtype), features.to(dtype)], 1)  # (B, L + C, X, Y, Z)
        with full_precision(volume):
            items = [self._render_item(field, volume[b : b + 1], rig.item(b)) for b in range(rig.batch_size)]
        rendered, weights = (torch.stack(parts) for parts in zip(*items, strict=True))
        rendered = rendered.unflatten(1, (rig.num_views, *rig.image_size)).movedim(-1, 2)  # (B, V, C + 2, H, W)
        opacity, depth = rendered[:, :, 0], rendered[:, :, 1]
        return RenderOutput(
            depth_m=depth / opacity.clamp(min=OPACITY_MIN),
            depth_sum_m=depth,
            opacity=opacity,
            features=rendered[:, :, 2:],
            weights=weights.unflatten(1, (rig.num_views, *rig.image_size)) if self.options.weights else None,
        )

    def _render_item(
        self, field: Field, volume: Float[Tensor, "1 LC X Y Z"], rig: CameraRig
    ) -> tuple[Float[Tensor, "R D"], Float[Tensor, "R S"]]:
        pose, intrinsics = rig.cam_to_ego[0].to(volume.dtype), rig.intrinsics[0].to(volume.dtype)  # (V, ...)
        directions = camera_directions(intrinsics, rig.image_size) @ pose[:, None, :3, :3].transpose(-1, -2)
        rays = directions.reshape(-1, 3)  # (R, 3), metres per metre of depth
        origins = pose[:, None, :3, 3].expand(-1, rig.image_size[0] * rig.image_size[1], 3).reshape(-1, 3)  # (R, 3)
        samples = _num_samples(field.grid, self.options)
        # Points, sampled channels, alphas and weights, each once forward and about once more for the gradient.
        bytes_per_ray = samples * volume.element_size() * 2 * (volume.shape[1] + 8)
        chunk = max(1, int(self.options.chunk_gb * 1e9 / bytes_per_ray))
        parts = []
        for first in range(0, len(rays), chunk):
            arguments = (field, volume, origins[first : first + chunk], rays[first : first + chunk])
            if torch.is_grad_enabled() and chunk < len(rays):
                parts.append(checkpoint(self._render_rays, *arguments, use_reentrant=False))
            else:
                parts.append(self._render_rays(*arguments))
        rendered, weights = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return rendered, weights

    def _render_rays(
        self,
        field: Field,
        volume: Float[Tensor, "1 LC X Y Z"],
        origins: Float[Tensor, "R 3"],
        rays: Float[Tensor, "R 3"],
    ) -> tuple[Float[Tensor, "R D"], Float[Tensor, "R S"]]:
        options = self.options
        if options.sampling == "cells":
            depths, lengths = _cell_samples(field.grid, origins, rays, options)
        else:
            depths, lengths = _uniform_samples(rays, options)
        points = origins[:, None] + rays[:, None] * depths[..., None]  # (R, S, 3)
        mode = "nearest" if options.interpolation == "nearest" else "bilinear"
        sampled = sample_volume(volume, field.grid, points.reshape(1, -1, 3), mode)[0]  # (L, R * S)
        sampled = sampled.unflatten(-1, depths.shape)  # (L, R, S)
        values, features = sampled.split([field.ray_rule.channels, len(sampled) - field.ray_rule.channels])
        speed = rays.norm(dim=-1, keepdim=True)  # metres of way per metre of depth
        alpha = field.ray_rule.alpha(values, lengths * speed, rays / speed)
        if options.alpha_min > 0.0:
            alpha = torch.where(alpha < options.alpha_min, 0.0, alpha)
        weights, _ = ray_weights(alpha, TRANSMITTANCE_MIN)  # (R, S)
        summed = torch.einsum("rs,crs->rc", weights, features)
        rendered = torch.cat(
            [weights.sum(-1, keepdim=True), (weights * depths).sum(-1, keepdim=True), summed], -1
        )  # (R, 2 + C)
        return rendered, weights if options.weights else weights[:, :0]


def _num_samples(grid: VoxelGrid, options: VolumeOptions) -> int:
    if options.sampling == "cells":
        return sum(grid.shape) + 2
    return _uniform_count(options)


def _uniform_count(options: VolumeOptions) -> int:
    return max(0, math.floor((options.far_m - options.near_m) / options.step_m - 0.5) + 1)


def _uniform_samples(
    rays: Float[Tensor, "R 3"], options: VolumeOptions
) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S"]]:
    k = torch.arange(_uniform_count(options), device=rays.device, dtype=rays.dtype)
    depths = (options.near_m + (k + 0.5) * options.step_m).expand(len(rays), -1)  # (R, S)
    return depths, torch.full_like(depths, options.step_m)


def _cell_samples(
    grid: VoxelGrid, origins: Float[Tensor, "R 3"], rays: Float[Tensor, "R 3"], options: VolumeOptions
) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S"]]:
    """Return the middle and the length, in depth, of every stretch between two voxel faces."""
    crossings = []
    for axis in range(3):
        faces = torch.arange(grid.shape[axis] + 1, device=rays.device, dtype=rays.dtype)
        faces = grid.min_m[axis] + faces * grid.voxel_m[axis]
        depth = (faces - origins[:, axis, None]) / rays[:, axis, None]  # (R, faces)
        # A ray within a face of its own axis never crosses it: 0 / 0.
        crossings.append(depth.nan_to_num(nan=options.far_m))
    ordered = torch.cat(crossings, -1).clamp(options.near_m, options.far_m).sort(-1).values  # (R, S + 1)
    return 0.5 * (ordered[:, 1:] + ordered[:, :-1]), ordered.diff(dim=-1)
