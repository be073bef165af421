"""Volume rendering in plain torch, on any device and for any field: one grid_sample per ray sample."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gsocc.fields.base import Field
from gsocc.fields.ray_rules import SaturatingSum
from gsocc.geometry.projection import camera_directions
from gsocc.geometry.sampling import inside_grid, sample_volume
from gsocc.renderers.base import RendererError, Scene, check_rig, full_precision, option_names, require_range
from gsocc.renderers.compositing import ray_weights, saturating_weights
from gsocc.renderers.constants import OPACITY_MIN, TRANSMITTANCE_MIN
from gsocc.renderers.ray_samples import cell_samples, contracted_table, resample, uniform_table
from gsocc.renderers.volume_options import VolumeOptions, check_ray_values, require_field
from gsocc.structures import CameraRig, RenderOutput, VoxelGrid


@dataclass(frozen=True, kw_only=True)
class TorchVolumeOptions(VolumeOptions):
    """Options of `Volume`.

    Attributes:
        weights: Also return the weight and the depth of every sample, (B, V, H, W, S).
        coarse_samples: Samples of the first pass of "importance", uniform between near_m and far_m.
        fine_samples: Samples of its second pass, which makes the picture.
        chunk_gb: Rays are rendered in chunks whose samples take about this many 1e9 bytes; with gradients, chunks
            after which more follow are computed again in the backward pass instead of being kept.
    """

    weights: bool = False
    coarse_samples: int = 50
    fine_samples: int = 100
    chunk_gb: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("chunk_gb", self.chunk_gb, 0.0, math.inf)
        for name in ("coarse_samples", "fine_samples"):
            if getattr(self, name) < 1:
                raise RendererError(f"renderer.{name} must be at least 1, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class _Rays:
    """Rays of unit depth: t along `directions` is depth along the optical axis, in metres."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]

    def chunk(self, first: int, count: int) -> "_Rays":
        return _Rays(self.origins[first : first + count], self.directions[first : first + count])


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
        field = require_field(scene, "volume", self.options)
        values, features = field.ray_values(), field.features()
        check_rig(rig, values.shape[0], "volume")
        check_ray_values(values, field.ray_rule, "volume")
        dtype = torch.promote_types(values.dtype, torch.float32)
        volume = torch.cat([values.to(dtype), features.to(dtype)], 1)  # (B, L + C, X, Y, Z)
        with full_precision(volume):
            items = [self._render_item(field, volume[b : b + 1], rig.item(b)) for b in range(rig.batch_size)]
        image = (rig.num_views, *rig.image_size)
        rendered, weights, depths = (torch.stack(parts).unflatten(1, image) for parts in zip(*items, strict=True))
        rendered = rendered.movedim(-1, 2)  # (B, V, C + 2, H, W)
        opacity, depth = rendered[:, :, 0], rendered[:, :, 1]
        return RenderOutput(
            depth_m=depth / opacity.clamp(min=OPACITY_MIN),
            depth_sum_m=depth,
            opacity=opacity,
            features=rendered[:, :, 2:],
            weights=weights if self.options.weights else None,
            sample_depths_m=depths.detach() if self.options.weights else None,
        )

    def _render_item(
        self, field: Field, volume: Float[Tensor, "1 LC X Y Z"], rig: CameraRig
    ) -> tuple[Float[Tensor, "R D"], Float[Tensor, "R S"], Float[Tensor, "R S"]]:
        pose, intrinsics = rig.cam_to_ego[0].to(volume.dtype), rig.intrinsics[0].to(volume.dtype)  # (V, ...)
        directions = camera_directions(intrinsics, rig.image_size) @ pose[:, None, :3, :3].transpose(-1, -2)
        origins = pose[:, None, :3, 3].expand(-1, rig.image_size[0] * rig.image_size[1], 3)
        rays = _Rays(origins.reshape(-1, 3), directions.reshape(-1, 3))
        # Points, sampled channels, alphas and weights, each once forward and about once more for the gradient.
        bytes_per_ray = self._most_samples(field) * volume.element_size() * 2 * (volume.shape[1] + 8)
        total, chunk = len(rays.origins), max(1, int(self.options.chunk_gb * 1e9 / max(1, bytes_per_ray)))
        parts = []
        for first in range(0, total, chunk):
            arguments = (field, volume, rays.chunk(first, chunk))
            if torch.is_grad_enabled() and chunk < total:
                parts.append(checkpoint(self._render_rays, *arguments, use_reentrant=False))
            else:
                parts.append(self._render_rays(*arguments))
        rendered, weights, depths = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return rendered, weights, depths

    def _most_samples(self, field: Field) -> int:
        """Return how many samples a ray has, at most, of all passes together."""
        options = self.options
        if options.sampling == "cells":
            return sum(field.grid.shape) + 3
        if options.sampling == "contracted":
            return len(contracted_table(field.grid, options)[0])
        if options.sampling == "importance":
            return options.coarse_samples + options.fine_samples
        return len(uniform_table(options)[0])

    def _render_rays(
        self, field: Field, volume: Float[Tensor, "1 LC X Y Z"], rays: _Rays
    ) -> tuple[Float[Tensor, "R D"], Float[Tensor, "R S"], Float[Tensor, "R S"]]:
        depths, lengths = self._samples(field, volume, rays)  # (R, S)
        weights, features = self._weigh(field, volume, rays, depths, lengths)
        summed = torch.einsum("rs,crs->rc", weights, features)
        rendered = torch.cat([weights.sum(-1, keepdim=True), (weights * depths).sum(-1, keepdim=True), summed], -1)
        kept = depths.shape[1] if self.options.weights else 0
        return rendered, weights[:, :kept], depths[:, :kept]

    def _samples(
        self, field: Field, volume: Float[Tensor, "1 LC X Y Z"], rays: _Rays
    ) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S"]]:
        """Return depths and lengths of the samples by the sampler of the options."""
        options = self.options
        count = len(rays.origins)
        if options.sampling == "cells":
            assert isinstance(field.grid, VoxelGrid)
            return cell_samples(field.grid, rays.origins, rays.directions, options)
        if options.sampling == "importance":
            with torch.no_grad():
                edges = torch.linspace(options.near_m, options.far_m, options.coarse_samples + 1).to(volume)
                depths = (0.5 * (edges[1:] + edges[:-1])).expand(count, -1)
                lengths = edges.diff().expand(count, -1)
                channels = field.ray_rule.channels
                weights, _ = self._weigh(field, volume[:, :channels], rays, depths, lengths)
                return resample(edges.expand(count, -1), weights, options.fine_samples)
        table = contracted_table(field.grid, options) if options.sampling == "contracted" else uniform_table(options)
        depths, lengths = (column.to(volume).expand(count, -1) for column in table)
        return depths, lengths

    def _weigh(
        self,
        field: Field,
        volume: Float[Tensor, "1 LC X Y Z"],
        rays: _Rays,
        depths: Float[Tensor, "R S"],
        lengths: Float[Tensor, "R S"],
    ) -> tuple[Float[Tensor, "R S"], Float[Tensor, "C R S"]]:
        """Return the weights of samples, and what the channels behind the rule's are there."""
        options, rule, grid = self.options, field.ray_rule, field.grid
        points = rays.origins[:, None] + rays.directions[:, None] * depths[..., None]  # (R, S, 3)
        mode = "nearest" if options.interpolation == "nearest" else "bilinear"
        sampled = sample_volume(volume, grid, points.reshape(1, -1, 3), mode, rule.padding)[0]  # (L + C, R * S)
        sampled = sampled.unflatten(-1, depths.shape)
        speed = rays.directions.norm(dim=-1, keepdim=True)  # metres of way per metre of depth
        alpha = rule.alpha(sampled[: rule.channels], lengths * speed, rays.directions / speed)
        if rule.padding == "border":
            alpha = torch.where(inside_grid(grid, points), alpha, 0.0)
        if options.sampling == "cells":
            alpha = torch.where(lengths > 0.0, alpha, 0.0)
        if options.min_move_voxels > 0.0:
            still = (grid.to_index(points).diff(dim=1).abs() <= options.min_move_voxels).all(-1)  # (R, S - 1)
            alpha = torch.where(F.pad(still, (1, 0)), 0.0, alpha)
        if options.alpha_min > 0.0:
            alpha = torch.where(alpha < options.alpha_min, 0.0, alpha)
        if rule.compositing == "product":
            return ray_weights(alpha, TRANSMITTANCE_MIN)[0], sampled[rule.channels :]
        if isinstance(rule, SaturatingSum) and rule.rest_at_last:
            met = inside_grid(grid, points[:, -1]) & (lengths[:, -1] > 0.0)
            if options.min_move_voxels > 0.0:
                met = met & ~still[:, -1]
            alpha = torch.cat([alpha[:, :-1], torch.where(met, alpha[:, -1], 1.0)[:, None]], 1)
        return saturating_weights(alpha), sampled[rule.channels :]
