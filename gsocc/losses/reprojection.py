"""The photometric loss of a camera rig: every camera's neighbours in time, warped into the key frame."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.losses.photometric import minimum_reprojection, photometric_error, warp_to_target


def reprojection_loss(
    depth_m: Float[Tensor, "B V H W"],
    images: Float[Tensor, "B T V 3 H W"],
    intrinsics: Float[Tensor, "B V 3 3"],
    cam_motion: Float[Tensor, "B T V 4 4"],
    frame_valid: Bool[Tensor, "B T V"],
    *,
    ssim_weight: float = 0.85,
    automask: bool = True,
    pixel_mask: Bool[Tensor, "B V H W"] | None = None,
    unmasked: bool = False,
    zero_mask: Bool[Tensor, "B V H W"] | None = None,
    tie_noise: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the mean over pixels of the smallest error among the neighbours.

    Args:
        depth_m: Depth of the key frame along the optical axis.
        images: RGB at all times, key frame first, at the size of `depth_m`.
        intrinsics: K in pixels of that size.
        cam_motion: Takes points of each camera at the key frame to the same camera at each time.
        frame_valid: False where a neighbour does not exist.
        ssim_weight: Share of SSIM in the error.
        automask: Leave out pixels that an unwarped neighbour explains better.
        pixel_mask: False on pixels that never count.
        unmasked: Compare also what lies behind a camera (mirrored) or outside of an image (with its border), as the
            releases of OccNeRF and GaussianOcc do.
        zero_mask: False on pixels whose error is zero, and counts, as GaussianOcc has it on DDAD.
        tie_noise: Standard deviation of what is added to the errors of unwarped neighbours, drawn from torch's own
            generator, as monodepth2 does (1e-5): where errors tie, chance decides about the gradient.
    """
    count = images.shape[1] - 1
    sources = images[:, 1:].transpose(0, 1).flatten(0, 2)  # (F B V, 3, H, W)
    target = images[:, 0].flatten(0, 1).repeat(count, 1, 1, 1)
    motion = cam_motion[:, 1:].transpose(0, 1).flatten(0, 2)
    depth = depth_m.flatten(0, 1).repeat(count, 1, 1)
    cameras = intrinsics.flatten(0, 1).repeat(count, 1, 1)
    warped, inside = warp_to_target(sources, depth, cameras, motion, mirror=unmasked)
    if unmasked:
        inside = torch.ones_like(inside)
    exists = frame_valid[:, 1:].transpose(0, 1).flatten()
    errors = photometric_error(warped, target, ssim_weight).unflatten(0, (count, -1))
    valid = (inside & exists[:, None, None]).unflatten(0, (count, -1))
    if zero_mask is not None:
        seen = zero_mask.flatten(0, 1)
        errors, valid = errors * seen, valid | ~seen
    identity = None
    if automask:
        with torch.no_grad():
            identity = photometric_error(sources, target, ssim_weight).unflatten(0, (count, -1))
            if tie_noise:
                noise = torch.randn(identity.shape, generator=torch.default_generator)
                identity = identity + tie_noise * noise.to(identity)
    mask = None if pixel_mask is None else pixel_mask.flatten(0, 1)
    return minimum_reprojection(errors, valid, identity, mask)


def shrink_images(images: Float[Tensor, "*N C H W"], size: tuple[int, int]) -> Float[Tensor, "*N C h w"]:
    """Return images at another size by averaging over areas, which does not alias."""
    if images.shape[-2:] == size:
        return images
    small = F.interpolate(images.reshape(-1, *images.shape[-3:]), size=size, mode="area")
    return small.reshape(*images.shape[:-2], *size)


def shrink_depth(depth_m: Float[Tensor, "B V H W"], size: tuple[int, int]) -> Float[Tensor, "B V h w"]:
    """Return depth at a smaller size; disparity is averaged, because it is what moves pixels."""
    if depth_m.shape[-2:] == size:
        return depth_m
    return 1 / F.interpolate(1 / depth_m.clamp(min=0.1), size=size, mode="area")


def pick_nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the value at each target pixel's centre, (..., h, w); exact for labels and masks."""
    height, width = values.shape[-2:]
    if (height, width) == size:
        return values
    rows = ((torch.arange(size[0], device=values.device) + 0.5) * height / size[0]).long()
    columns = ((torch.arange(size[1], device=values.device) + 0.5) * width / size[1]).long()
    return values[..., rows[:, None], columns]
