"""Auxiliary views: the rig at the neighbouring times, drawn and compared like the rig at the key frame (OccNeRF)."""

from dataclasses import replace

import torch
from torch import Tensor

from gsocc.geometry.se3 import invert_rigid
from gsocc.structures import CameraRig, RenderOutput, SurroundBatch


def seen_from(batch: SurroundBatch, place: int) -> SurroundBatch:
    """Return the batch as one whose key frame is another of its times.

    Cameras stay in the ego frame of the key frame, to which the field belongs; motion is that between the new key frame
    and the times right before and after it, as far as the batch holds them. Labels stay with their own key frame.

    Args:
        batch: With the motion of its images.
        place: Position of that time in `batch.frame_ids`.
    """
    now = batch.frame_ids[place]
    order = [place] + [i for i, time in enumerate(batch.frame_ids) if abs(time - now) == 1]
    back = invert_rigid(batch.cam_motion[:, place])  # camera at that time -> camera at the key frame
    motion = batch.cam_motion[:, order] @ back[:, None]
    motion[:, 0] = torch.eye(4, dtype=motion.dtype, device=motion.device)
    moved = replace(
        batch,
        frame_ids=tuple(batch.frame_ids[i] - now for i in order),
        images=batch.images[:, order],
        cam_to_ego=batch.cam_to_ego @ back,
        cam_motion=motion,
        frame_valid=batch.frame_valid[:, order] & batch.frame_valid[:, place : place + 1],
        flow_px=None,
    )
    if place == 0:
        return moved
    images = batch.images[:, place]
    return replace(moved, network_images=images, lidar_depth_m=None, semantic_labels=None, occupancy=None)


def with_auxiliary_views(batch: SurroundBatch) -> list[SurroundBatch]:
    """Return the batch with the times next to its key frame, and it as seen from those."""
    places = [place for place, time in enumerate(batch.frame_ids) if abs(time) <= 1]
    return [seen_from(batch, place) for place in places]


def joint_rig(batches: list[SurroundBatch]) -> CameraRig:
    """Return all cameras of all batches as one rig."""
    rigs = [batch.rig for batch in batches]
    return CameraRig(
        torch.cat([rig.intrinsics for rig in rigs], 1),
        torch.cat([rig.cam_to_ego for rig in rigs], 1),
        rigs[0].image_size,
    )


def views_of(out: RenderOutput, first: int, count: int) -> RenderOutput:
    """Return the images of some of the cameras that were drawn."""

    def cut(images: Tensor) -> Tensor:
        return images[:, first : first + count]

    return RenderOutput(
        depth_m=cut(out.depth_m),
        depth_sum_m=cut(out.depth_sum_m),
        opacity=cut(out.opacity),
        features=cut(out.features),
    )
