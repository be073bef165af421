"""Depth and motion against measured optical flow."""

from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.geometry.projection import pixel_centers, project, unproject
from gsocc.geometry.se3 import transform_points

_MIN_DEPTH_M = 0.1  # nearer than this, a moved point counts as behind the camera


def flow_consistency(
    depth_m: Float[Tensor, "B V H W"],
    flow_px: Float[Tensor, "B T V 2 H W"],
    intrinsics: Float[Tensor, "B V 3 3"],
    cam_motion: Float[Tensor, "B T V 4 4"],
    frame_valid: Bool[Tensor, "B T V"],
    *,
    pixel_mask: Bool[Tensor, "B V H W"] | None = None,
) -> Float[Tensor, ""]:
    """Return how far the flow that depth and motion imply lies from the measured one, relative to its length.

    Per pixel and neighbour ``min(|implied - measured| / (1 + |measured|), 1)``, in pixels of `depth_m`: errors grow
    with flow, and what is off by as much as the flow itself is an occlusion or a mistake. Where an image repeats
    itself a photometric error has many minima, this one has one.

    Args:
        depth_m: Depth of the key frame along the optical axis.
        flow_px: Flow from the key frame to each time, in pixels of `depth_m`; index 0 is not looked at.
        intrinsics: K in the same pixels.
        cam_motion: Takes points of each camera at the key frame to the same camera at each time.
        frame_valid: False where a neighbour does not exist.
        pixel_mask: False on pixels that never count.

    Returns:
        Mean over the pixels whose flow stays inside the image; 0 where there is none.
    """
    height, width = depth_m.shape[-2:]
    points = unproject(depth_m, intrinsics).flatten(2, 3)  # (B, V, HW, 3)
    start = pixel_centers(height, width, depth_m.device, depth_m.dtype).flatten(0, 1)  # (HW, 2)
    end = start + flow_px[:, 1:].flatten(-2).transpose(-1, -2)  # (B, F, V, HW, 2)
    points = points[:, None].expand(-1, flow_px.shape[1] - 1, -1, -1, -1)  # (B, F, V, HW, 3)
    moved = transform_points(cam_motion[:, 1:], points)
    pixels, z_m = project(moved, intrinsics[:, None].expand(-1, moved.shape[1], -1, -1, -1), _MIN_DEPTH_M)
    usable = ((end >= 0) & (end <= end.new_tensor([width, height]))).all(-1) & (z_m.detach() > _MIN_DEPTH_M)
    usable = usable & frame_valid[:, 1:, :, None]
    if pixel_mask is not None:
        usable = usable & pixel_mask.flatten(2)[:, None]
    # The root of a number that is never zero: the gradient of a length at zero is not defined.
    distance = ((pixels - end).square().sum(-1) + 1e-6).sqrt()
    error = (distance / (1 + (end - start).norm(dim=-1))).clamp(max=1)
    return error.masked_fill(~usable, 0.0).sum() / usable.sum().clamp(min=1)
