"""Photometric reprojection between neighbouring images (monodepth2, arXiv:1806.01260)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.geometry.projection import project, unproject
from gsocc.geometry.sampling import sample_image
from gsocc.geometry.se3 import transform_points

_MIN_DEPTH_M = 0.1  # nearer than this, a warped point counts as behind the camera


def ssim_distance(a: Float[Tensor, "N C H W"], b: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Return ``(1 - SSIM) / 2`` in [0, 1] per pixel and channel, over 3x3 windows with reflected borders."""
    # All five moments in one pooling pass: pooling, not arithmetic, is what this loss costs.
    channels = a.shape[1]
    stacked = F.pad(torch.cat([a, b, a * a, b * b, a * b], 1), (1, 1, 1, 1), mode="reflect")
    mean_a, mean_b, aa, bb, ab = F.avg_pool2d(stacked, 3, stride=1).split(channels, 1)
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    ssim = ssim / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return ((1 - ssim) / 2).clamp(0, 1)


def photometric_error(
    image: Float[Tensor, "N 3 H W"], target: Float[Tensor, "N 3 H W"], ssim_weight: float = 0.85
) -> Float[Tensor, "N H W"]:
    """Return ``w (1 - SSIM) / 2 + (1 - w) L1`` per pixel, averaged over colours."""
    l1 = (image - target).abs()
    return (ssim_weight * ssim_distance(image, target) + (1 - ssim_weight) * l1).mean(1)


def warp_to_target(
    source: Float[Tensor, "N 3 H W"],
    depth_m: Float[Tensor, "N H W"],
    intrinsics: Float[Tensor, "N 3 3"],
    target_to_source: Float[Tensor, "N 4 4"],
    mirror: bool = False,
) -> tuple[Float[Tensor, "N 3 H W"], Bool[Tensor, "N H W"]]:
    """Redraw the target view from the source image.

    Args:
        source: Neighbouring image.
        depth_m: Depth of the target view along the optical axis.
        intrinsics: K in pixels at this size, the same camera at both times.
        target_to_source: Rigid motion of points from the target camera to the source camera.
        mirror: Divide by whatever depth there is, so that points behind the camera are mirrored into its image, as
            monodepth2 and its followers do.

    Returns:
        image: The source sampled where each target pixel projects to.
        valid: False where that lies outside the source image or behind its camera.
    """
    height, width = depth_m.shape[-2:]
    points = unproject(depth_m, intrinsics).flatten(1, 2)  # (N, HW, 3)
    moved = transform_points(target_to_source, points)
    pixels, z_m = project(moved, intrinsics, _MIN_DEPTH_M)
    if mirror:
        pixels = (moved @ intrinsics.transpose(-1, -2))[..., :2] / (z_m + 1e-7)[..., None]
    size = pixels.new_tensor([width, height])
    valid = ((pixels >= 0) & (pixels <= size)).all(-1) & (z_m > _MIN_DEPTH_M)  # (N, HW)
    image = sample_image(source, pixels.unflatten(1, (height, width)), padding="border")
    return image, valid.unflatten(1, (height, width))


def minimum_reprojection(
    warped_errors: Float[Tensor, "F N H W"],
    valid: Bool[Tensor, "F N H W"],
    identity_errors: Float[Tensor, "F N H W"] | None = None,
    pixel_mask: Bool[Tensor, "N H W"] | None = None,
) -> Float[Tensor, ""]:
    """Average the smallest error over F neighbours.

    Args:
        warped_errors: Error of each warped neighbour.
        valid: Where that neighbour can be compared; a pixel without any valid neighbour does not count.
        identity_errors: Errors of the unwarped neighbours. Where one of them is smallest (a static scene, or an object
            that moves with the ego vehicle) the pixel carries no gradient: the auto-mask.
        pixel_mask: False on pixels that never count, for instance the ego vehicle or the sky.

    Returns:
        Mean over the pixels that count; 0 where there is none.
    """
    counted = valid.any(0)
    if pixel_mask is not None:
        counted = counted & pixel_mask
    smallest = warped_errors.masked_fill(~valid, float("inf")).amin(0)
    if identity_errors is not None:
        smallest = torch.minimum(smallest, identity_errors.masked_fill(~valid, float("inf")).amin(0))
    return smallest.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)
