"""What stage 2 minimises: the rendered field must explain the neighbouring images and the 2-D labels."""

from collections.abc import Collection
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsocc.engine import LossReport
from gsocc.fields.occupancy import OccupancyField
from gsocc.geometry.projection import camera_directions
from gsocc.labels import FREE, IGNORE, NUM_OCC3D_LABELS
from gsocc.losses.distortion import distortion_loss, sample_lengths
from gsocc.losses.regularizers import binary_entropy, emptiness, half_entropy, total_variation
from gsocc.losses.reprojection import pick_nearest, reprojection_loss, shrink_depth, shrink_images
from gsocc.losses.semantic import semantic_cross_entropy
from gsocc.losses.smoothness import disparity_smoothness
from gsocc.structures import CameraRig, ContractedGrid, RenderOutput, SurroundBatch, VoxelGrid
from occ_stage.auxiliary import joint_rig, views_of, with_auxiliary_views
from occ_stage.config import ObjectiveConfig, OccConfig
from occ_stage.model import (
    FieldRenderer,
    build_field_renderer,
    build_grid,
    class_ids,
    rendered_depth,
    semantic_logits,
    stale_background,
)
from occ_stage.motion import MotionSource, with_motion

_TIE_NOISE = 1e-5  # monodepth2's, on errors in [0, 1]


class OccObjective:
    """The loss of a batch; callable as ``objective(model, batch)``.

    Args:
        config: Terms and weights.
        grid: Voxels of the model's output.
        renderer: Draws the field.
        ids: Occ3D id of each class channel.
        class_weights: One per class channel and one for sky, (K + 1,); None weighs all alike.
        motion: Where the motion between frames comes from; None takes that of the batch.
        switches: Which of `occ_stage.parity.SWITCHES` are on; those that concern losses are looked at.
        background: Behind the Gaussians, one value per drawn channel (L,); see `stale_background`. None is zero.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        grid: VoxelGrid | ContractedGrid,
        renderer: FieldRenderer,
        ids: list[int],
        *,
        class_weights: Tensor | None = None,
        motion: MotionSource | None = None,
        switches: Collection[str] = (),
        background: Tensor | None = None,
    ) -> None:
        self.config = config
        self.grid = grid
        self.renderer = renderer
        self.ids = ids
        self.class_weights = class_weights
        self.motion = motion
        self.switches = frozenset(switches)
        self.background = background
        # Occ3D id -> channel; classes that the model does not have are not supervised, sky is the last channel.
        self.channel_of = torch.full((NUM_OCC3D_LABELS + 1,), IGNORE, dtype=torch.long)
        self.channel_of[torch.tensor(ids, dtype=torch.long)] = torch.arange(len(ids))
        self.channel_of[FREE] = len(ids)

    def __call__(self, model: nn.Module, batch: SurroundBatch) -> LossReport:
        """Return the weighted terms of a batch and their sum."""
        config = self.config
        logits = model(batch.network_images, batch.intrinsics, batch.cam_to_ego)
        field = self.renderer.field(self.grid, logits)
        moments = with_auxiliary_views(batch) if config.auxiliary_views else [batch]
        rig = joint_rig(moments)
        drawn = self._before_background(self.renderer(field, rig, jitter=model.training))
        terms: dict[str, Tensor] = {}
        if config.photometric or config.smoothness:
            moments[0] = with_motion(moments[0], self.motion, training=model.training)
            terms |= self._image_terms(drawn, moments)
        if config.semantic:
            main = views_of(drawn, 0, batch.rig.num_views)
            terms["semantic"] = config.semantic * self._semantic(main, batch)
        terms |= self._voxel_terms(self.renderer.drawn_field(field), logits)
        terms |= self._ray_terms(drawn, rig)
        return LossReport(torch.stack(list(terms.values())).sum(), terms)

    def depth(self, out: RenderOutput) -> Tensor:
        """Return the depth (B, V, h, w) that the image terms see."""
        accumulated = "accumulated_depth" in self.switches
        return rendered_depth(out, self.config, accumulated=accumulated, limits_m=self.renderer.depth_limits_m)

    def _before_background(self, out: RenderOutput) -> RenderOutput:
        if self.background is None:
            return out
        behind = self.background.to(out.features)[:, None, None]  # (L, 1, 1)
        return replace(out, features=out.features + (1 - out.opacity)[:, :, None] * behind)

    def _voxel_terms(self, field: OccupancyField, logits: Tensor) -> dict[str, Tensor]:
        config = self.config
        terms: dict[str, Tensor] = {}
        if config.total_variation:
            volume = logits if config.total_variation_of == "logits" else field.occupancy()[:, None]
            terms["total_variation"] = config.total_variation * total_variation(volume)
        if config.entropy:
            entropy = half_entropy if config.entropy_form == "half" else binary_entropy
            terms["entropy"] = config.entropy * entropy(field.occupancy())
        if config.sparsity:
            top_slice = "sparsity_of_top_slice" in self.switches
            terms["sparsity"] = config.sparsity * emptiness(logits[..., -1] if top_slice else field.free_logits)
        return terms

    def _ray_terms(self, out: RenderOutput, rig: CameraRig) -> dict[str, Tensor]:
        config = self.config
        terms: dict[str, Tensor] = {}
        if config.distortion:
            if out.weights is None or out.sample_depths_m is None:
                raise ValueError("objective.distortion is not 0, but the renderer returns no weights along rays")
            speed = camera_directions(rig.resized(self.renderer.size).intrinsics, self.renderer.size).norm(dim=-1)
            lengths_m = sample_lengths(out.sample_depths_m, speed.to(out.weights.dtype))
            terms["distortion"] = config.distortion * distortion_loss(out.weights, out.sample_depths_m, lengths_m)
        if config.ray_entropy:
            terms["ray_entropy"] = config.ray_entropy * binary_entropy(out.opacity)
        return terms

    def _image_terms(self, drawn: RenderOutput, moments: list[SurroundBatch]) -> dict[str, Tensor]:
        """Photometric and smoothness terms, averaged over the times whose cameras were drawn."""
        config, views = self.config, moments[0].rig.num_views
        found: dict[str, list[Tensor]] = {}
        for number, moment in enumerate(moments):
            depth_m = self.depth(views_of(drawn, number * views, views))
            for name, term in self._image_terms_of(depth_m, moment).items():
                found.setdefault(name, []).append(term)
        weights = {"smoothness": config.smoothness, "photometric": config.photometric}
        return {name: weights[name] * torch.stack(terms).mean() for name, terms in found.items()}

    def _image_terms_of(self, depth_m: Tensor, batch: SurroundBatch) -> dict[str, Tensor]:
        """Terms of one time without their weights; the photometric one averaged over halved sizes."""
        config = self.config
        size = config.photo_size or self.renderer.size
        images = shrink_images(batch.images, size)  # (B, T, V, 3, h, w)
        if depth_m.shape[-2:] != size:
            depth_m = F.interpolate(depth_m, size=size, mode="bilinear", align_corners=False)
        terms: dict[str, Tensor] = {}
        if config.smoothness:
            terms["smoothness"] = disparity_smoothness(depth_m.flatten(0, 1), images[:, 0].flatten(0, 1))
        if config.photometric:
            losses = []
            for level in range(config.photo_levels):
                smaller = (size[0] >> level, size[1] >> level)
                small_depth_m = shrink_depth(depth_m, smaller)
                losses.append(self._photometric(small_depth_m, shrink_images(images, smaller), batch))
            terms["photometric"] = torch.stack(losses).mean()
        return terms

    def _photometric(self, depth_m: Tensor, images: Tensor, batch: SurroundBatch) -> Tensor:
        """Reprojection error of depth (B, V, h, w) and images (B, T, V, 3, h, w) at one size."""
        height, width = images.shape[-2:]
        intrinsics = batch.rig.resized((height, width)).intrinsics
        if "integer_pixel_warp" in self.switches:
            # A pixel centre at i instead of i + 1/2 is a principal point half a pixel farther on.
            intrinsics = intrinsics + intrinsics.new_tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
        return reprojection_loss(
            depth_m,
            images,
            intrinsics,
            batch.cam_motion,
            batch.frame_valid,
            ssim_weight=self.config.ssim_weight,
            automask=self.config.automask,
            pixel_mask=self._pixel_mask(batch, (height, width)),
            unmasked="unmasked_warp" in self.switches,
            zero_mask=self._zero_mask(batch, (height, width)),
            tie_noise=_TIE_NOISE if "tie_noise" in self.switches else 0.0,
        )

    def _zero_mask(self, batch: SurroundBatch, size: tuple[int, int]) -> Tensor | None:
        if batch.valid_mask is None or "masked_as_zero_error" not in self.switches:
            return None
        return pick_nearest(batch.valid_mask, size)

    def _pixel_mask(self, batch: SurroundBatch, size: tuple[int, int]) -> Tensor | None:
        masks = []
        if batch.valid_mask is not None and "masked_as_zero_error" not in self.switches:
            masks.append(pick_nearest(batch.valid_mask, size))
        if self.config.mask_sky and batch.semantic_labels is not None:
            masks.append(pick_nearest(batch.semantic_labels, size) != FREE)
        if not masks:
            return None
        return torch.stack(masks).all(0)

    def _semantic(self, out: RenderOutput, batch: SurroundBatch) -> Tensor:
        if batch.semantic_labels is None:
            raise ValueError("objective.semantic is not 0, but the data carry no semantic labels")
        logits = semantic_logits(out, self.config.drawn_sky_logit).flatten(0, 1)  # (BV, K + 1, h, w)
        labels = pick_nearest(batch.semantic_labels, self.renderer.size).flatten(0, 1)
        channels = self.channel_of.to(labels.device)[labels]  # the table's last entry answers -1
        if batch.valid_mask is not None:  # the vehicle's own body is in front of every voxel
            channels = channels.masked_fill(~pick_nearest(batch.valid_mask, self.renderer.size).flatten(0, 1), IGNORE)
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return semantic_cross_entropy(logits, channels, weights)


def build_objective(
    config: OccConfig, class_weights: Tensor | None = None, motion: MotionSource | None = None
) -> OccObjective:
    """Build the objective of a run, with the switches that are on; `class_weights` and `motion` take reading data."""
    return OccObjective(
        config.objective,
        build_grid(config),
        build_field_renderer(config),
        class_ids(config.model),
        class_weights=class_weights,
        motion=motion,
        switches=config.switches_on,
        background=stale_background(config),
    )
