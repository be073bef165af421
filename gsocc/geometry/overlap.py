"""Which cameras of a rig see the same things, from calibration alone: the source of metric scale in stage 1.

The overlap masks of GaussianOcc (arXiv:2408.11447, "Gaussian splatting for projection"): a pixel belongs to the overlap
of its view with another one when more than one of the points sampled along its ray falls into that other view.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.errors import UserError
from gsocc.geometry.projection import camera_directions
from gsocc.geometry.se3 import invert_rigid
from gsocc.structures.camera_rig import CameraRig

SideRule = Literal["fixed", "alternating", "random"]

_MIN_SAMPLES = 2  # "more than one sampled point"
_NEAR_M = 1e-6  # a sample must lie in front of the other camera


def overlap_masks(
    rig: CameraRig,
    max_depth_m: float,
    *,
    steps: int = 160,
    erode_px: int = 0,
    valid_mask: Bool[Tensor, "B V H W"] | None = None,
    require: bool = True,
) -> Bool[Tensor, "B V V H W"]:
    """Find which pixels of each view are seen by each other view too.

    Samples lie at depths ``k * max_depth_m / steps``, k = 1..steps. They are counted rather than drawn: a point at
    depth d of a ray projects to homogeneous pixels ``a + b d``, so every border of the other image is one inequality
    that is linear in d, and the samples inside are those of one interval. Compute it once per rig.

    Args:
        rig: Calibrated cameras; masks are of its `image_size`.
        max_depth_m: How far rays are followed (80 on nuScenes, 200 on DDAD).
        steps: Samples along a ray.
        erode_px: Shrink every mask by this many pixels (morphological erosion by a square); the border of the image
            itself does not shrink it.
        valid_mask: False on pixels that show the ego vehicle: they are in no overlap, neither as the pixel that looks
            nor as the one that a sample falls on.
        require: Refuse a rig whose cameras share nothing.

    Returns:
        ``[b, i, j]`` marks pixels of view i that view j sees too; False on the diagonal.

    Raises:
        UserError: Where no two cameras of a batch item share pixels: such a rig cannot give metric scale.
        ValueError: Where an option is out of range.
    """
    if max_depth_m <= 0 or steps < _MIN_SAMPLES or erode_px < 0:
        raise ValueError(
            f"overlap_masks: expected max_depth_m > 0, steps >= {_MIN_SAMPLES} and erode_px >= 0, "
            f"got {max_depth_m}, {steps} and {erode_px}"
        )
    origin, slope = _rays_in_other_views(rig)  # (B, V, V, 3), (B, V, V, H, W, 3)
    first, last = _samples_inside(origin, slope, rig.image_size, max_depth_m, steps)  # (B, V, V, H, W)
    masks = last - first + 1 >= _MIN_SAMPLES
    masks &= ~torch.eye(rig.num_views, dtype=torch.bool, device=masks.device)[:, :, None, None]
    if valid_mask is not None:
        masks &= valid_mask[:, :, None]
        if not bool(valid_mask.all()):
            masks = _samples_on_valid(masks, origin, slope, first, last, max_depth_m / steps, valid_mask)
    whole = masks
    if erode_px:
        masks = _erode(masks, erode_px)
    if require:
        _require_overlap(whole, masks, max_depth_m, erode_px)
    return masks


def shared_columns(masks: Bool[Tensor, "B V V H W"]) -> Float[Tensor, "B V V"]:
    """Return the share of the columns of view i in which view j sees at least one pixel, in [0, 1]."""
    return masks.any(-2).float().mean(-1)


def choose_sides(
    masks: Bool[Tensor, "B V V H W"],
    cam_to_ego: Float[Tensor, "B V 4 4"],
    rule: SideRule,
    *,
    step: int = 0,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "B V V"]:
    """Choose for every pair of overlapping views which of the two gives its shared pixels up.

    Args:
        masks: What `overlap_masks` found.
        cam_to_ego: Camera poses, whose yaw orders the views.
        rule: "fixed": every view gives up what it shares with its neighbour on the left, seen from the ego;
            "alternating": the left at even steps and the right at odd ones; "random": a coin per pair and batch item.
        step: Number of the training step, for "alternating".
        generator: Where "random" draws from, on the CPU; the global generator without.

    Returns:
        ``[b, i, j]`` is True where view i gives up the pixels that it shares with view j. Of [b, i, j] and [b, j, i]
        exactly one is True where the two overlap, none elsewhere.

    Raises:
        ValueError: Where there is no such rule.
    """
    overlapping = masks.any(-1).any(-1)  # (B, V, V)
    overlapping = overlapping | overlapping.transpose(1, 2)
    views = masks.shape[1]
    upper = torch.ones(views, views, dtype=torch.bool, device=masks.device).triu(1)
    if rule == "random":
        coin = torch.rand(masks.shape[:3], generator=generator).to(masks.device) < 0.5
        gives = coin & upper
    elif rule in ("fixed", "alternating"):
        forward = cam_to_ego[..., :3, 2]  # (B, V, 3), the optical axes in the ego frame
        yaw = torch.atan2(forward[..., 1], forward[..., 0])  # (B, V)
        to_left = torch.sin(yaw[:, None, :] - yaw[:, :, None]) > 0  # [b, i, j]: j lies to the left of i
        gives = (to_left if rule == "fixed" or step % 2 == 0 else ~to_left) & upper
    else:
        raise ValueError(f"choose_sides: expected rule fixed, alternating or random, got {rule!r}")
    return (gives | (~gives & upper).transpose(1, 2)) & overlapping


def given_up(masks: Bool[Tensor, "B V V H W"], sides: Bool[Tensor, "B V V"]) -> Bool[Tensor, "B V H W"]:
    """Return the pixels of each view that it gives up, by the choice of `choose_sides`.

    With the whole masks these are the pixels that must not become Gaussians; with the eroded ones, those whose redrawn
    colours are compared.
    """
    return (masks & sides[..., None, None]).any(2)


def _rays_in_other_views(rig: CameraRig) -> tuple[Float[Tensor, "B V V 3"], Float[Tensor, "B V V H W 3"]]:
    """Return a and b of the homogeneous pixel ``a + b d`` in view j of the point at depth d on a ray of view i."""
    k, cam_to_ego = rig.intrinsics.double(), rig.cam_to_ego.double()
    i_to_j = invert_rigid(cam_to_ego)[:, None] @ cam_to_ego[:, :, None]  # (B, V, V, 4, 4)
    rays = camera_directions(k, rig.image_size)  # (B, V, H, W, 3)
    to_pixels = k[:, None] @ i_to_j[..., :3, :3]  # (B, V, V, 3, 3)
    slope = torch.einsum("bijrc,bihwc->bijhwr", to_pixels, rays)
    origin = (k[:, None] @ i_to_j[..., :3, 3:])[..., 0]
    return origin, slope


def _samples_inside(
    origin: Float[Tensor, "B V V 3"],
    slope: Float[Tensor, "B V V H W 3"],
    image_size: tuple[int, int],
    max_depth_m: float,
    steps: int,
) -> tuple[Float[Tensor, "B V V H W"], Float[Tensor, "B V V H W"]]:
    """Return the numbers of the first and the last sample inside the other image; last < first where there is none."""
    height, width = image_size
    step_m = max_depth_m / steps
    # Each row is a half space c of homogeneous pixels h: h lies inside where c . h >= 0.
    borders = origin.new_tensor([[1, 0, 0], [-1, 0, width], [0, 1, 0], [0, -1, height], [0, 0, 1]])
    offset = origin @ borders.T  # (B, V, V, 5)
    offset[..., 4] -= _NEAR_M
    low = torch.full_like(slope[..., 0], step_m)
    high = torch.full_like(low, max_depth_m)
    for border in range(5):
        a = offset[..., border, None, None]
        b = slope @ borders[border]  # (B, V, V, H, W)
        crossing = -a / b  # infinite where the ray runs along the border; both branches below drop it then
        low = torch.where(b > 0, torch.maximum(low, crossing), low)
        high = torch.where(b < 0, torch.minimum(high, crossing), high)
        high = torch.where((b == 0) & (a < 0), torch.full_like(high, -max_depth_m), high)
    # A sample exactly on a border counts, whatever rounding does to the quotient.
    return torch.ceil(low / step_m - 1e-9), torch.floor(high / step_m + 1e-9)


def _samples_on_valid(
    masks: Bool[Tensor, "B V V H W"],
    origin: Float[Tensor, "B V V 3"],
    slope: Float[Tensor, "B V V H W 3"],
    first: Float[Tensor, "B V V H W"],
    last: Float[Tensor, "B V V H W"],
    step_m: float,
    valid_mask: Bool[Tensor, "B V H W"],
) -> Bool[Tensor, "B V V H W"]:
    """Keep pixels of which more than one sample falls on a valid pixel of the other view."""
    batch, _, other, row, _ = masks.nonzero(as_tuple=True)
    first_at, last_at = first[masks], last[masks]  # (N,)
    a, b = origin[:, :, :, None, None].expand_as(slope)[masks], slope[masks]  # (N, 3)
    height, width = valid_mask.shape[-2:]
    count = torch.zeros_like(row)
    number = first_at.clone()
    for _ in range(int((last_at - first_at).max()) + 1 if len(row) else 0):
        h = a + b * (number * step_m)[:, None]
        u = (h[:, 0] / h[:, 2]).floor().long().clamp(0, width - 1)
        v = (h[:, 1] / h[:, 2]).floor().long().clamp(0, height - 1)
        count += valid_mask[batch, other, v, u] & (number <= last_at)
        number += 1
    kept = masks.clone()
    kept[masks] = count >= _MIN_SAMPLES
    return kept


def _erode(masks: Bool[Tensor, "B V V H W"], radius_px: int) -> Bool[Tensor, "B V V H W"]:
    outside = (~masks).flatten(0, 2).float()[:, None]  # (BVV, 1, H, W)
    grown = F.max_pool2d(outside, 2 * radius_px + 1, stride=1, padding=radius_px)
    return (grown[:, 0] < 0.5).unflatten(0, masks.shape[:3])


def _require_overlap(
    whole: Bool[Tensor, "B V V H W"], eroded: Bool[Tensor, "B V V H W"], max_depth_m: float, erode_px: int
) -> None:
    views = whole.shape[1]
    if not bool(whole.flatten(1).any(-1).all()):
        raise UserError(
            f"no two of the {views} cameras see the same point up to {max_depth_m:g} m: a rig without overlap cannot "
            "give metric scale, because nothing ties the size of the world to the known distance between cameras; use "
            "a rig whose cameras overlap, check intrinsics and cam_to_ego, or take ego motion from the vehicle"
        )
    if not bool(eroded.flatten(1).any(-1).all()):
        share = 100 * float(shared_columns(whole).max())
        raise UserError(
            f"an erosion of {erode_px} px leaves nothing of the overlap between cameras, which covers {share:.0f} % of "
            "the columns at most; choose a smaller erosion or larger images"
        )
