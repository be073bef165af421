"""Tell the vehicle from the world in a camera's images: the vehicle stays where it is while the world goes by."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

_QUANTILES = (0.1, 0.9)
_HOLE_SHARE = 0.02  # of the image: larger holes in the vehicle are windows onto the world


@dataclass(frozen=True, kw_only=True)
class StaticRule:
    """When a pixel belongs to the vehicle.

    Attributes:
        floor: Colours that vary by less than this many grey levels are steady: noise of the sensor, and of JPEG.
        share_of_world: Or by less than this share of what the world's pixels typically vary by.
        dark: Steady regions above the horizon are vehicle where they are darker than this share of the world; the
            others are sky.
        least_share: Smaller regions, as a share of the image, are accidents.
        snap_px: How far an outline may move to the nearest edge of the image averaged over time; 0 leaves it.
    """

    floor: float = 4.0
    share_of_world: float = 0.15
    dark: float = 0.35
    least_share: float = 1e-3
    snap_px: int = 2


@dataclass(frozen=True)
class StaticEstimate:
    """What was found in a camera's images.

    Attributes:
        own: Where the vehicle is.
        spread: By how many grey levels a pixel varies: from its tenth to its ninetieth percentile in time, of the
            channel that varies most.
        middle: The median image over time.
        threshold: The spread below which pixels counted as steady.
    """

    own: Bool[np.ndarray, "H W"]
    spread: Float32[np.ndarray, "H W"]
    middle: UInt8[np.ndarray, "H W 3"]
    threshold: float


def find_static_region(
    frames: UInt8[np.ndarray, "N H W 3"], looks_down: Bool[np.ndarray, "H W"], rule: StaticRule
) -> StaticEstimate:
    """Find the vehicle in images that a camera took while it moved.

    Steady pixels are the vehicle's where they hang together, reach the edge of the image, and lie below the horizon or
    are dark: the sky is steady too.

    Args:
        frames: Images from places that differ, so that no part of the world stays in place.
        looks_down: Where rays point below the horizon, see `rays_below_horizon`.
        rule: When a pixel belongs to the vehicle.
    """
    spread, middle = _spread_and_middle(frames)
    brightness = middle.mean(-1)
    moving = spread > rule.floor
    world = moving & looks_down if (moving & looks_down).any() else moving
    if not world.any():
        return StaticEstimate(np.zeros_like(looks_down), spread, middle, 0.0)
    threshold = max(rule.floor, rule.share_of_world * float(np.median(spread[world])))
    dark = brightness < rule.dark * float(np.median(brightness[moving]))
    own = _regions_at_edge((spread < threshold) & (looks_down | dark), rule.least_share)
    own = _fill_holes(own)
    if rule.snap_px > 0:
        own = _snap(own, middle, rule.snap_px)
    return StaticEstimate(own, spread, middle, threshold)


def rays_below_horizon(
    intrinsics: Float64[np.ndarray, "3 3"], cam_to_ego: Float64[np.ndarray, "4 4"], size: tuple[int, int]
) -> Bool[np.ndarray, "H W"]:
    """Return which pixels of an image of (H, W) look downwards, the ego frame's z pointing up."""
    height, width = size
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    up = cam_to_ego[2, :3] @ np.linalg.inv(intrinsics)  # of a ray through (u, v, 1)
    below: Bool[np.ndarray, "H W"] = up[0] * u + up[1] * v + up[2] < 0
    return below


def overlap(one: Bool[np.ndarray, "H W"], other: Bool[np.ndarray, "H W"]) -> float:
    """Return the intersection over union of two regions; 1 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def _spread_and_middle(
    frames: UInt8[np.ndarray, "N H W 3"],
) -> tuple[Float32[np.ndarray, "H W"], UInt8[np.ndarray, "H W 3"]]:
    last = len(frames) - 1
    low, mid, high = (round(q * last) for q in (_QUANTILES[0], 0.5, _QUANTILES[1]))
    spread = np.empty(frames.shape[1:3], dtype=np.float32)
    middle = np.empty(frames.shape[1:], dtype=np.uint8)
    for row in range(frames.shape[1]):  # row by row: sorting copies what it sorts
        ordered = np.partition(frames[:, row], sorted({low, mid, high}), axis=0)
        spread[row] = (ordered[high].astype(np.float32) - ordered[low]).max(-1)
        middle[row] = ordered[mid]
    return spread, middle


def _regions_at_edge(steady: Bool[np.ndarray, "H W"], least_share: float) -> Bool[np.ndarray, "H W"]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(steady.astype(np.uint8), connectivity=4)
    keep = np.zeros(len(stats), dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        keep[np.unique(edge)] = True
    keep &= stats[:, cv2.CC_STAT_AREA] >= least_share * steady.size
    keep[0] = False  # what is not steady
    return keep[labels]


def _fill_holes(own: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Add what the vehicle encloses: glints, and moving pictures in its paint."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~own).astype(np.uint8), connectivity=4)
    holes = stats[:, cv2.CC_STAT_AREA] < _HOLE_SHARE * own.size
    holes[0] = False
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        holes[np.unique(edge)] = False
    return own | holes[labels]


def _snap(own: Bool[np.ndarray, "H W"], middle: UInt8[np.ndarray, "H W 3"], reach_px: int) -> Bool[np.ndarray, "H W"]:
    """Move the outline to the strongest edge nearby: what stays in place is sharp in the median image."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1,) * 2)
    # The vehicle goes on beyond the edge of the image, so its outline does not run along it.
    wide = cv2.copyMakeBorder(own.astype(np.uint8), *(reach_px,) * 4, cv2.BORDER_REPLICATE)
    inner, outer = (
        morph(wide, kernel)[reach_px:-reach_px, reach_px:-reach_px] > 0 for morph in (cv2.erode, cv2.dilate)
    )
    if not inner.any() or outer.all():
        return own
    seeds = np.where(inner, 1, np.where(outer, 0, 2)).astype(np.int32)
    found = cv2.watershed(np.ascontiguousarray(middle), seeds)
    return np.asarray((found == 1) | ((found == -1) & own))
