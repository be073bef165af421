"""What stage 2 minimises: the rendered field must explain the neighbouring images and the 2-D labels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsocc.engine import LossReport
from gsocc.fields.occupancy import OccupancyField
from gsocc.labels import FREE, IGNORE, NUM_OCC3D_LABELS
from gsocc.losses.regularizers import binary_entropy, total_variation
from gsocc.losses.reprojection import pick_nearest, reprojection_loss, shrink_depth, shrink_images
from gsocc.losses.semantic import semantic_cross_entropy
from gsocc.losses.smoothness import disparity_smoothness
from gsocc.structures import RenderOutput, SurroundBatch, VoxelGrid
from occ_stage.config import ObjectiveConfig
from occ_stage.model import FieldRenderer, depth_with_background, semantic_logits
from occ_stage.motion import MotionSource, with_motion


class OccObjective:
    """The loss of a batch; callable as ``objective(model, batch)``.

    Args:
        config: Terms and weights.
        grid: Voxels of the model's output.
        renderer: Draws the field.
        ids: Occ3D id of each class channel.
        class_weights: One per class channel and one for sky, (K + 1,); None weighs all alike.
        motion: Where the motion between frames comes from; None takes that of the batch.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        grid: VoxelGrid,
        renderer: FieldRenderer,
        ids: list[int],
        class_weights: Tensor | None = None,
        motion: MotionSource | None = None,
    ) -> None:
        self.config = config
        self.grid = grid
        self.renderer = renderer
        self.ids = ids
        self.class_weights = class_weights
        self.motion = motion
        # Occ3D id -> channel; classes that the model does not have are not supervised, sky is the last channel.
        self.channel_of = torch.full((NUM_OCC3D_LABELS + 1,), IGNORE, dtype=torch.long)
        self.channel_of[torch.tensor(ids)] = torch.arange(len(ids))
        self.channel_of[FREE] = len(ids)

    def __call__(self, model: nn.Module, batch: SurroundBatch) -> LossReport:
        """Return the weighted terms of a batch and their sum."""
        config = self.config
        logits = model(batch.network_images, batch.intrinsics, batch.cam_to_ego)
        field = OccupancyField.from_logits(self.grid, logits)
        out = self.renderer(field, batch.rig)
        depth_m = depth_with_background(out, config.far_m)
        terms: dict[str, Tensor] = {}
        if config.photometric or config.smoothness:
            terms |= self._image_terms(depth_m, with_motion(batch, self.motion))
        if config.semantic:
            terms["semantic"] = config.semantic * self._semantic(out, batch)
        if config.total_variation:
            terms["total_variation"] = config.total_variation * total_variation(field.occupancy()[:, None])
        if config.entropy:
            terms["entropy"] = config.entropy * binary_entropy(field.occupancy())
        return LossReport(torch.stack(list(terms.values())).sum(), terms)

    def _image_terms(self, depth_m: Tensor, batch: SurroundBatch) -> dict[str, Tensor]:
        """Photometric and smoothness terms, the former averaged over halved sizes."""
        config = self.config
        size = config.photo_size or self.renderer.size
        images = shrink_images(batch.images, size)  # (B, T, V, 3, h, w)
        if depth_m.shape[-2:] != size:
            depth_m = F.interpolate(depth_m, size=size, mode="bilinear", align_corners=False)
        terms: dict[str, Tensor] = {}
        if config.smoothness:
            smoothness = disparity_smoothness(depth_m.flatten(0, 1), images[:, 0].flatten(0, 1))
            terms["smoothness"] = config.smoothness * smoothness
        if config.photometric:
            losses = []
            for level in range(config.photo_levels):
                smaller = (size[0] >> level, size[1] >> level)
                small_depth_m = shrink_depth(depth_m, smaller)
                losses.append(self._photometric(small_depth_m, shrink_images(images, smaller), batch))
            terms["photometric"] = config.photometric * torch.stack(losses).mean()
        return terms

    def _photometric(self, depth_m: Tensor, images: Tensor, batch: SurroundBatch) -> Tensor:
        """Reprojection error of depth (B, V, h, w) and images (B, T, V, 3, h, w) at one size."""
        height, width = images.shape[-2:]
        return reprojection_loss(
            depth_m,
            images,
            batch.rig.resized((height, width)).intrinsics,
            batch.cam_motion,
            batch.frame_valid,
            ssim_weight=self.config.ssim_weight,
            automask=self.config.automask,
            pixel_mask=self._pixel_mask(batch, (height, width)),
        )

    def _pixel_mask(self, batch: SurroundBatch, size: tuple[int, int]) -> Tensor | None:
        masks = []
        if batch.valid_mask is not None:
            masks.append(pick_nearest(batch.valid_mask, size))
        if self.config.mask_sky and batch.semantic_labels is not None:
            masks.append(pick_nearest(batch.semantic_labels, size) != FREE)
        if not masks:
            return None
        return torch.stack(masks).all(0)

    def _semantic(self, out: RenderOutput, batch: SurroundBatch) -> Tensor:
        if batch.semantic_labels is None:
            raise ValueError("objective.semantic is not 0, but the data carry no semantic labels")
        logits = semantic_logits(out, self.config.sky_logit).flatten(0, 1)  # (BV, K + 1, h, w)
        labels = pick_nearest(batch.semantic_labels, self.renderer.size).flatten(0, 1)
        channels = self.channel_of.to(labels.device)[labels]  # the table's last entry answers -1
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return semantic_cross_entropy(logits, channels, weights)
