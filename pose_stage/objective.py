"""What stage 1 minimises: neighbours in time and, at one instant, neighbouring cameras must explain each image."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gsocc.engine import LossReport
from gsocc.geometry.rig_motion import camera_motion, with_key_frame
from gsocc.geometry.twist import motion_to_twist
from gsocc.losses.flow import flow_consistency
from gsocc.losses.masks import keep_margin
from gsocc.losses.reprojection import pick_nearest, reprojection_loss, shrink_depth, shrink_images
from gsocc.losses.smoothness import disparity_bending, disparity_smoothness
from gsocc.networks.pose_depth_net import PoseDepthNet, PoseDepthOutput
from gsocc.structures import SurroundBatch
from pose_stage.config import PoseRunConfig
from pose_stage.gsp import BilinearCrossView, SplatCrossView
from pose_stage.overlaps import OverlapCache

_ROTATION_WEIGHT = 20.0  # of a radian over a metre, where the network imitates the solver


class PoseObjective:
    """The loss of a batch; callable as ``objective(model, batch)``. It reads no pose, no depth and no label.

    Args:
        config: The run.
    """

    def __init__(self, config: PoseRunConfig) -> None:
        self.config = config.objective
        self.level = config.gsp.level
        self.overlaps = OverlapCache(config.gsp.max_depth_m, config.gsp.erosion_px)
        self.splat: SplatCrossView | None = None
        self.bilinear: BilinearCrossView | None = None
        if self.config.cross_weight > 0 and self.config.cross_view == "splat":
            self.splat = SplatCrossView(config.gsp, self.config.ssim_weight)
        elif self.config.cross_weight > 0 and self.config.cross_view == "bilinear":
            self.bilinear = BilinearCrossView(self.config.ssim_weight)
        self.refine_from = config.training.steps - self.config.refine_steps
        self.step = 0

    def set_step(self, step: int) -> None:
        """Say which step comes, counted from 0: the refinement begins at one."""
        self.step = step

    @property
    def refining(self) -> bool:
        """Whether the pose is fixed and the cross-view term off."""
        return self.step >= self.refine_from

    def __call__(self, model: nn.Module, batch: SurroundBatch) -> LossReport:
        """Return the weighted terms of a batch and their sum."""
        config = self.config
        batch, hidden = self._with_margin(batch)
        out: PoseDepthOutput = model(
            batch.network_images,
            batch.images,
            batch.intrinsics,
            batch.cam_to_ego,
            batch.flow_px,
            batch.frame_ids,
            freeze_pose=self.refining,
        )
        motion, terms = out.ego_motion, {}
        if config.motion == "geometric":
            motion = PoseDepthNet.geometric_motion(out.depth_m.detach(), batch)
            if config.imitation and not self.refining:
                terms["imitation"] = config.imitation * motion_distance(out.ego_motion, motion)
        if config.temporal:
            terms["temporal"] = config.temporal * self._temporal(out.depth_m, motion, batch)
        if config.flow:
            terms["flow"] = config.flow * self._flow(out.depth_m, motion, batch)
        if not self.refining and (self.splat or self.bilinear):
            terms["cross_view"] = config.cross_weight * self._cross_view(out, batch)
        if config.smoothness:
            size = self._size(batch, min(config.levels))
            depth_m = shrink_depth(out.depth_m, size).flatten(0, 1)
            image = shrink_images(batch.images[:, 0], size).flatten(0, 1)
            terms["smoothness"] = config.smoothness * disparity_smoothness(depth_m, image)
        if config.hidden_plane and hidden is not None:
            size = self._size(batch, min(config.levels))
            bending = disparity_bending(
                shrink_depth(out.depth_m, size).flatten(0, 1), pick_nearest(hidden, size).flatten(0, 1)
            )
            terms["hidden_plane"] = config.hidden_plane * bending
        return LossReport(torch.stack(list(terms.values())).sum(), terms)

    def _with_margin(self, batch: SurroundBatch) -> tuple[SurroundBatch, Bool[Tensor, "B V H W"] | None]:
        """Return the batch whose mask keeps its margin, and the pixels that it leaves out."""
        if batch.valid_mask is None:
            return batch, None
        valid_mask = keep_margin(batch.valid_mask, self.config.mask_margin_px)
        return replace(batch, valid_mask=valid_mask), ~valid_mask

    def _temporal(self, depth_m: Tensor, ego_motion: Tensor, batch: SurroundBatch) -> Tensor:
        """Reprojection error averaged over halved sizes."""
        cam_motion = with_key_frame(camera_motion(ego_motion, batch.cam_to_ego))
        losses = []
        for level in self.config.levels:
            size = self._size(batch, level)
            losses.append(
                reprojection_loss(
                    shrink_depth(depth_m, size),
                    shrink_images(batch.images, size),
                    batch.rig.resized(size).intrinsics,
                    cam_motion,
                    batch.frame_valid,
                    ssim_weight=self.config.ssim_weight,
                    automask=self.config.automask,
                    pixel_mask=None if batch.valid_mask is None else pick_nearest(batch.valid_mask, size),
                )
            )
        return torch.stack(losses).mean()

    def _flow(self, depth_m: Tensor, ego_motion: Tensor, batch: SurroundBatch) -> Tensor:
        """Distance to the measured flow, at the finest size of the temporal term."""
        if batch.flow_px is None:
            raise ValueError("objective.flow is not 0, but the data carry no flow")
        level = min(self.config.levels)
        size = self._size(batch, level)
        return flow_consistency(
            shrink_depth(depth_m, size),
            shrink_images(batch.flow_px, size) / 2**level,
            batch.rig.resized(size).intrinsics,
            with_key_frame(camera_motion(ego_motion, batch.cam_to_ego)),
            batch.frame_valid,
            pixel_mask=None if batch.valid_mask is None else pick_nearest(batch.valid_mask, size),
        )

    def _cross_view(self, out: PoseDepthOutput, batch: SurroundBatch) -> Tensor:
        size = self._size(batch, self.level)
        rig = batch.rig.resized(size)
        overlaps = self.overlaps(rig, batch.valid_mask)
        depth_m = shrink_depth(out.depth_m, size)
        images = shrink_images(batch.images[:, 0], size)
        if self.bilinear is not None:
            return self.bilinear(depth_m, images, rig, overlaps)
        assert self.splat is not None
        scale = None if out.scale is None else pick_nearest(out.scale, size)
        return self.splat(depth_m, images, rig, overlaps, scale=scale, step=self.step)

    @staticmethod
    def _size(batch: SurroundBatch, level: int) -> tuple[int, int]:
        height, width = batch.images.shape[-2:]
        return height >> level, width >> level


def motion_distance(a: Float[Tensor, "*N 4 4"], b: Float[Tensor, "*N 4 4"]) -> Float[Tensor, ""]:
    """Return the mean distance of two motions: metres, and radians times 20."""
    difference = (motion_to_twist(a) - motion_to_twist(b)).abs()
    return (difference[..., :3].sum(-1) + _ROTATION_WEIGHT * difference[..., 3:].sum(-1)).mean()
