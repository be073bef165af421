"""Pinhole projection with pixel centres at half-integers."""

import torch
from jaxtyping import Float
from torch import Tensor


def pixel_centers(
    height: int, width: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Float[Tensor, "H W 2"]:
    """Return (u, v) of every pixel centre: (0.5, 0.5) is the centre of the first pixel."""
    v, u = torch.meshgrid(
        torch.arange(height, device=device, dtype=dtype) + 0.5,
        torch.arange(width, device=device, dtype=dtype) + 0.5,
        indexing="ij",
    )
    return torch.stack([u, v], -1)


def project(
    points_cam: Float[Tensor, "*N P 3"], intrinsics: Float[Tensor, "*N 3 3"], min_z_m: float = 1e-3
) -> tuple[Float[Tensor, "*N P 2"], Float[Tensor, "*N P"]]:
    """Project points of the camera frame.

    Args:
        points_cam: Points in metres.
        intrinsics: K in pixels.
        min_z_m: Depth is clamped to this before the division, so that points behind the camera stay finite; the
            caller masks them by the returned depth.

    Returns:
        pixels: (u, v), the centre of pixel i is i + 0.5.
        z_m: Depth along the optical axis, not clamped; negative behind the camera.
    """
    homogeneous = points_cam @ intrinsics.transpose(-1, -2)  # (*N, P, 3)
    z_m = points_cam[..., 2]
    return homogeneous[..., :2] / z_m.clamp(min=min_z_m)[..., None], z_m


def camera_directions(intrinsics: Float[Tensor, "*N 3 3"], image_size: tuple[int, int]) -> Float[Tensor, "*N H W 3"]:
    """Return K^-1 (u, v, 1) of every pixel centre: multiplied by a depth it gives the point in the camera frame."""
    height, width = image_size
    uv = pixel_centers(height, width, intrinsics.device, intrinsics.dtype)  # (H, W, 2)
    uv1 = torch.cat([uv, torch.ones_like(uv[..., :1])], -1).reshape(-1, 3)  # (HW, 3)
    # inv_ex checks nothing, so that a GPU need not wait; CameraRig.validate has checked where the data came in.
    inverse = torch.linalg.inv_ex(intrinsics).inverse
    return (uv1 @ inverse.transpose(-1, -2)).unflatten(-2, (height, width))


def unproject(depth_m: Float[Tensor, "*N H W"], intrinsics: Float[Tensor, "*N 3 3"]) -> Float[Tensor, "*N H W 3"]:
    """Return the point of every pixel in the camera frame, in metres, from its depth along the optical axis."""
    height, width = depth_m.shape[-2:]
    return camera_directions(intrinsics, (height, width)) * depth_m[..., None]
