"""Volume rendering in plain torch, on any device and for any field: one grid_sample per ray sample."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gsocc.fields.base import Field
from gsocc.fields.ray_rules import SaturatingLogits, SaturatingSum
from gsocc.geometry.projection import camera_directions
from gsocc.geometry.sampling import inside_shape, sample_voxels
from gsocc.renderers.base import RendererError, Scene, check_rig, full_precision, option_names, require_range
from gsocc.renderers.compositing import ray_weights, saturating_weights
from gsocc.renderers.constants import OPACITY_MIN, TRANSMITTANCE_MIN
from gsocc.renderers.ray_samples import cell_samples, contracted_table, group_means, group_sums, resample, uniform_table
from gsocc.renderers.volume_options import VolumeOptions, check_ray_values, require_field
from gsocc.structures import CameraRig, ContractedGrid, RenderOutput, VoxelGrid


@dataclass(frozen=True, kw_only=True)
class TorchVolumeOptions(VolumeOptions):
    """Options of `Volume`.

    Attributes:
        weights: Also return the weight and the depth of every sample, (B, V, H, W, S).
        coarse_samples: Samples of the first pass of "importance", uniform between near_m and far_m.
        fine_samples: Samples of its second pass, which makes the picture.
        feature_group: Features are sampled once for so many consecutive samples of a ray, at their mean voxel
            coordinates, and get the sum of their weights; OccNeRF has 4. Groups of none but skipped samples have none.
        jitter_m: With a generator given to `render`, "contracted" samples of each ray are shifted together by a random
            depth of at most this much, though none below near_m; OccNeRF trains with 0.02.
        half: Compute rays, samples and weights in float16, as the releases do where `use_fp16` is set; for contracted
            grids and "contracted" sampling, to see what it does to depth: 80 m are known to 6 cm, 2000 m to 1 m.
        chunk_gb: Rays are rendered in chunks whose samples take about this many 1e9 bytes; with gradients, chunks
            after which more follow are computed again in the backward pass instead of being kept.
    """

    weights: bool = False
    coarse_samples: int = 50
    fine_samples: int = 100
    feature_group: int = 1
    jitter_m: float = 0.0
    half: bool = False
    chunk_gb: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("chunk_gb", self.chunk_gb, 0.0, math.inf)
        for name in ("coarse_samples", "fine_samples", "feature_group"):
            if getattr(self, name) < 1:
                raise RendererError(f"renderer.{name} must be at least 1, got {getattr(self, name)!r}")
        if not 0.0 <= self.jitter_m < math.inf:
            raise RendererError(f"renderer.jitter_m must be 0 or more, got {self.jitter_m!r}")
        for name in ("jitter_m", "half"):
            if getattr(self, name) and self.sampling != "contracted":
                raise RendererError(f'renderer.{name} belongs to sampling "contracted", got {self.sampling!r}')


@dataclass(frozen=True)
class _Rays:
    """Rays of unit depth: t along `directions` is depth along the optical axis, in metres, shifted by `offsets_m`."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    offsets_m: Float[Tensor, " R"]

    def chunk(self, first: int, count: int) -> "_Rays":
        last = first + count
        return _Rays(self.origins[first:last], self.directions[first:last], self.offsets_m[first:last])


class Volume:
    """Marches rays through a field by its own `ray_rule`. Takes the options of `TorchVolumeOptions`."""

    scene_kinds: tuple[type, ...] = (Field,)

    def __init__(self, **options: Any) -> None:
        self.options = TorchVolumeOptions(**options)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(TorchVolumeOptions)

    def render(self, scene: Scene, rig: CameraRig, generator: torch.Generator | None = None) -> RenderOutput:
        """Draw the field into every camera; see `Renderer.render`.

        Args:
            scene: A field.
            rig: The cameras.
            generator: What `jitter_m` draws from, on the CPU; without it samples are where they are in evaluation.
        """
        field = require_field(scene, "volume", self.options)
        values, features = field.ray_values(), field.features()
        check_rig(rig, values.shape[0], "volume")
        check_ray_values(values, field.ray_rule, "volume")
        dtype = torch.promote_types(values.dtype, torch.float32)
        volume = torch.cat([values.to(dtype), features.to(dtype)], 1)  # (B, L + C, X, Y, Z)
        with full_precision(volume):
            items = [self._render_item(field, volume[b : b + 1], rig.item(b), generator) for b in range(rig.batch_size)]
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
        self, field: Field, volume: Float[Tensor, "1 LC X Y Z"], rig: CameraRig, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "R D"], Float[Tensor, "R S"], Float[Tensor, "R S"]]:
        pose, intrinsics = rig.cam_to_ego[0].to(volume.dtype), rig.intrinsics[0].to(volume.dtype)  # (V, ...)
        directions = camera_directions(intrinsics, rig.image_size) @ pose[:, None, :3, :3].transpose(-1, -2)
        origins = pose[:, None, :3, 3].expand(-1, rig.image_size[0] * rig.image_size[1], 3)
        offsets = volume.new_zeros(origins.shape[:2]).flatten()
        if generator is not None and self.options.jitter_m > 0.0:
            offsets += self.options.jitter_m * (2.0 * torch.rand(offsets.shape, generator=generator).to(offsets) - 1.0)
        rays = _Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), offsets)
        if self.options.half:
            volume = volume.half()
            rays = _Rays(rays.origins.half(), rays.directions.half(), rays.offsets_m.half())
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
        weights, depths = weights.to(features.dtype), depths.to(features.dtype)
        summed = torch.einsum("rg,crg->rc", group_sums(weights, self.options.feature_group), features)
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
        if options.jitter_m > 0.0:
            depths = (depths - options.near_m + rays.offsets_m[:, None]).clamp(min=0.0) + options.near_m
        return depths, lengths

    def _weigh(
        self,
        field: Field,
        volume: Float[Tensor, "1 LC X Y Z"],
        rays: _Rays,
        depths: Float[Tensor, "R S"],
        lengths: Float[Tensor, "R S"],
    ) -> tuple[Float[Tensor, "R S"], Float[Tensor, "C R G"]]:
        """Return the weights of samples, and what the channels behind the rule's are in each group of samples."""
        options, rule = self.options, field.ray_rule
        points = rays.origins[:, None] + rays.directions[:, None] * depths[..., None]  # (R, S, 3)
        index, kept = self._place(field.grid, points)
        values, features = self._sample(field, volume, index)
        speed = rays.directions.norm(dim=-1, keepdim=True)  # metres of way per metre of depth
        alpha = rule.alpha(values, lengths * speed, rays.directions / speed)
        inside = inside_shape(index, field.grid.shape)
        if rule.padding == "border":
            alpha = torch.where(inside, alpha, 0.0)
        if options.sampling == "cells":
            alpha = torch.where(lengths > 0.0, alpha, 0.0)
        if options.min_move_voxels > 0.0:
            alpha = torch.where(kept, alpha, 0.0)
        if options.alpha_min > 0.0:
            alpha = torch.where(alpha < options.alpha_min, 0.0, alpha)
        if rule.compositing == "product":
            return ray_weights(alpha, TRANSMITTANCE_MIN)[0], features
        if isinstance(rule, SaturatingSum | SaturatingLogits) and rule.rest_at_last:
            met = (inside & (lengths > 0.0) & kept)[:, -1:]
            alpha = torch.cat([alpha[:, :-1], torch.where(met, alpha[:, -1:], 1.0)], 1)
            kept = torch.cat([kept[:, :-1], met], 1)
            shown = group_sums(kept.to(features.dtype), options.feature_group) > 0.0  # (R, G)
            features = torch.where(shown, features, 0.0)
        return saturating_weights(alpha), features

    def _place(
        self, grid: VoxelGrid | ContractedGrid, points: Float[Tensor, "R S 3"]
    ) -> tuple[Float[Tensor, "R S 3"], Bool[Tensor, "R S"]]:
        """Return the voxel coordinates of samples, and which of them moved far enough from the one before."""
        if isinstance(grid, ContractedGrid):
            contracted = grid.to_contracted(points)
            moves = 0.5 * contracted.diff(dim=1).abs() * points.new_tensor(grid.shape)
            # In half precision the voxel coordinate of the last voxels would be off by a quarter.
            index = grid.index_of(contracted.float() if self.options.half else contracted)
        else:
            index = grid.to_index(points)
            moves = index.diff(dim=1).abs()
        if self.options.min_move_voxels == 0.0:
            return index, torch.ones_like(index[..., 0], dtype=torch.bool)
        return index, F.pad((moves > self.options.min_move_voxels).any(-1), (1, 0), value=True)

    def _sample(
        self, field: Field, volume: Float[Tensor, "1 LC X Y Z"], index: Float[Tensor, "R S 3"]
    ) -> tuple[Float[Tensor, "L R S"], Float[Tensor, "C R G"]]:
        """Return the rule's channels at the samples, and the others once per group of samples."""
        rule, group = field.ray_rule, self.options.feature_group
        mode = "nearest" if self.options.interpolation == "nearest" else "bilinear"

        def read(part: Float[Tensor, "1 D X Y Z"], at: Float[Tensor, "R N 3"]) -> Float[Tensor, "D R N"]:
            sampled = sample_voxels(part.to(at.dtype), at.reshape(1, -1, 3), mode, rule.padding)[0]
            return sampled.unflatten(-1, at.shape[:2])

        if group == 1:
            sampled = read(volume, index)
            values, features = sampled[: rule.channels], sampled[rule.channels :]
        else:
            values = read(volume[:, : rule.channels], index)
            features = read(volume[:, rule.channels :], group_means(index, group))
        return (values.half(), features.half().float()) if self.options.half else (values, features)
