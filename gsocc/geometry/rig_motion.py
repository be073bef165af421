"""How the motion of a vehicle moves each of its cameras, and back."""

import torch
from jaxtyping import Float
from torch import Tensor

from gsocc.geometry.se3 import invert_rigid


def camera_motion(
    ego_motion: Float[Tensor, "B F 4 4"], cam_to_ego: Float[Tensor, "B V 4 4"]
) -> Float[Tensor, "B F V 4 4"]:
    """Return how points move in each camera's frame: ``cam_to_ego^-1 @ ego_motion @ cam_to_ego``.

    Args:
        ego_motion: Takes points of the ego frame at the key frame to the ego frame at each neighbour.
        cam_to_ego: Camera poses, the same at all times.
    """
    pose = cam_to_ego[:, None]  # (B, 1, V, 4, 4)
    return invert_rigid(pose) @ ego_motion[:, :, None] @ pose


def ego_motion_of(
    cam_motion: Float[Tensor, "B F V 4 4"], cam_to_ego: Float[Tensor, "B V 4 4"], view: int = 0
) -> Float[Tensor, "B F 4 4"]:
    """Return the ego motion that one camera saw: the inverse of `camera_motion` where all cameras agree.

    Real cameras fire some tens of milliseconds apart, so each sees a slightly different motion.
    """
    pose = cam_to_ego[:, None, view]
    return pose @ cam_motion[:, :, view] @ invert_rigid(pose)


def with_key_frame(cam_motion: Float[Tensor, "B F V 4 4"]) -> Float[Tensor, "B T V 4 4"]:
    """Put the identity of the key frame first: the layout of `SurroundBatch.cam_motion`."""
    still = torch.eye(4, dtype=cam_motion.dtype, device=cam_motion.device).expand_as(cam_motion[:, :1])
    return torch.cat([still, cam_motion], 1)
