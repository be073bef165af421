"""Tell the vehicle from the world in a camera's images: the vehicle stays where it is while the world goes by."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

_QUANTILES = (0.1, 0.5, 0.9)
_HOLE_SHARE = 0.02  # of the image: larger holes in the vehicle are windows onto the world
_LEVEL_STEP = 1.3  # between two thresholds that are tried
_NOISE_SPREADS = 3.5  # from the tenth to the ninetieth percentile of Gaussian noise, of the worst of three channels
_GAIN_REACH, _GAIN_BIN = 0.3, 0.01  # of the logarithm of a camera's gain
_USABLE = (8, 245)  # grey levels that are neither black nor saturated


@dataclass(frozen=True, kw_only=True)
class StaticRule:
    """When a pixel belongs to the vehicle.

    Attributes:
        floor: Colours that vary by less than this many grey levels are steady whatever the world does.
        share_of_world: The largest share of what the world's pixels typically vary by that may still be steady: paint
            mirrors the world.
        dark: Steady regions above the horizon are vehicle where they are darker than this share of the world; the
            others are sky.
        least_share: Smaller regions, as a share of the image, are accidents.
        snap_px: How far an outline may move to the nearest edge of the median image; 0 leaves it.
    """

    floor: float = 4.0
    share_of_world: float = 0.35
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

    Steady pixels are the vehicle's where they hang together, reach the lower or the upper edge, and lie below the
    horizon or are dark: the sky is steady too. How steady follows from the images: of all thresholds from the sensor's
    noise up to a share of what the world varies by, the one around which the region changes least, as for maximally
    stable regions (Matas et al. 2002), lies between the vehicle's reflections and the world.

    Args:
        frames: Images from places that differ, so that no part of the world stays in place.
        looks_down: Where rays point below the horizon, see `rays_below_horizon`.
        rule: When a pixel belongs to the vehicle.
    """
    spread, middle = _spread_and_middle(frames)
    gains = np.array([_gain(frame, middle) for frame in frames])
    if np.abs(np.log(gains)).max() > _GAIN_BIN:
        spread, middle = _spread_and_middle(_evened(frames, gains))
    floor = max(rule.floor, _NOISE_SPREADS * float(np.median([_noise(frame) for frame in frames])))
    moving = spread > floor
    world = moving & looks_down if (moving & looks_down).any() else moving
    if not world.any():
        return StaticEstimate(np.zeros_like(looks_down), spread, middle, 0.0)
    eligible = looks_down | (middle.mean(-1) < rule.dark * float(np.median(middle.mean(-1)[moving])))
    most = max(floor, rule.share_of_world * float(np.median(spread[world])))
    threshold, own = _stable_region(spread, eligible, floor, most, rule.least_share)
    own = _fill_holes(_filled_down(own))
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
    low, mid, high = (round(q * (len(frames) - 1)) for q in _QUANTILES)
    spread = np.empty(frames.shape[1:3], dtype=np.float32)
    middle = np.empty(frames.shape[1:], dtype=np.uint8)
    for row in range(frames.shape[1]):  # row by row: sorting copies what it sorts
        ordered = np.partition(frames[:, row], sorted({low, mid, high}), axis=0)
        spread[row] = (ordered[high].astype(np.float32) - ordered[low]).max(-1)
        middle[row] = ordered[mid]
    return spread, middle


def _gain(frame: UInt8[np.ndarray, "H W 3"], middle: UInt8[np.ndarray, "H W 3"]) -> float:
    """Return how much brighter an image is than the median image, by the commonest ratio of their greens.

    The world's ratios are spread out; those of the vehicle, which stays in place, are all equal.
    """
    green, usual = frame[..., 1], middle[..., 1]
    usable = np.minimum(green, usual) > _USABLE[0]
    usable &= np.maximum(green, usual) < _USABLE[1]
    if not usable.any():
        return 1.0
    ratios = np.log(green[usable].astype(np.float32) / usual[usable])
    count = round(2 * _GAIN_REACH / _GAIN_BIN)
    # Quantised colours make combs of ratios, and noise widens the peak: smoothed over five bins.
    histogram = np.histogram(ratios, bins=count + 1, range=(-_GAIN_REACH - _GAIN_BIN / 2, _GAIN_REACH + _GAIN_BIN / 2))
    peak = int(np.convolve(histogram[0], [1, 2, 3, 2, 1], mode="same").argmax())
    return float(np.exp((peak - count // 2) * _GAIN_BIN))


def _evened(frames: UInt8[np.ndarray, "N H W 3"], gains: np.ndarray) -> UInt8[np.ndarray, "N H W 3"]:
    return np.stack([cv2.convertScaleAbs(frame, alpha=1 / gain) for frame, gain in zip(frames, gains, strict=True)])


def _noise(frame: UInt8[np.ndarray, "H W 3"]) -> float:
    """Return the standard deviation of an image's noise, in grey levels.

    By the mask of Immerkaer (1996), which no plane and no straight edge answers to; of its blocks of 8x8 the
    quietest tenth, where the image has no texture. Black and saturated blocks have no noise either and do not count.
    """
    green = frame[..., 1].astype(np.float32)
    kernel = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    blocks = (frame.shape[1] // 8, frame.shape[0] // 8)
    if min(blocks) < 1:
        return 0.0
    answer = cv2.resize(np.abs(cv2.filter2D(green, -1, kernel)), blocks, interpolation=cv2.INTER_AREA)
    level = cv2.resize(green, blocks, interpolation=cv2.INTER_AREA)
    answer = answer[(level > _USABLE[0]) & (level < _USABLE[1])]
    return float(np.quantile(answer, 0.1) * np.sqrt(np.pi / 2) / 6) if answer.size else 0.0


def _stable_region(
    spread: Float32[np.ndarray, "H W"], eligible: Bool[np.ndarray, "H W"], floor: float, most: float, least_share: float
) -> tuple[float, Bool[np.ndarray, "H W"]]:
    """Return the threshold in `floor` .. `most` around which the steady region grows least, and the region."""
    count = 1 + int(np.log(most / floor) / np.log(_LEVEL_STEP))
    levels = [floor * _LEVEL_STEP**n for n in range(count)]
    regions = [_regions_at_edge((spread < level) & eligible, least_share) for level in levels]
    areas = np.array([max(int(region.sum()), 1) for region in regions])
    if count < 3:
        return levels[0], regions[0]
    growth = np.log(areas[2:] / areas[:-2])
    best = 1 + int(growth.argmin())
    return levels[best], regions[best]


def _regions_at_edge(steady: Bool[np.ndarray, "H W"], least_share: float) -> Bool[np.ndarray, "H W"]:
    """Keep regions that reach the lower edge, or the upper one as racks do; what reaches a side alone is far away."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(steady.astype(np.uint8), connectivity=4)
    keep = np.zeros(len(stats), dtype=bool)
    keep[np.union1d(labels[0], labels[-1])] = True
    keep &= stats[:, cv2.CC_STAT_AREA] >= least_share * steady.size
    keep[0] = False  # what is not steady
    return keep[labels]


def _filled_down(own: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Add what lies below regions that reach the lower edge.

    A camera on a vehicle that sees a part of it sees the vehicle further down too, nearer to itself: paint between a
    steady rim and the edge of the image mirrors the world, but is no world.
    """
    _, labels = cv2.connectedComponents(own.astype(np.uint8), connectivity=4)
    at_bottom = np.isin(labels, np.setdiff1d(labels[-1], [0]))
    return own | np.logical_or.accumulate(at_bottom, axis=0)


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
