"""Whether cameras that overlap agree: features of both must lie on the epipolar lines that the calibration draws."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int64

from gsocc.app.rig_check.views import View
from gsocc.datasets.health import Finding

_RATIO = 0.8  # Lowe's: the best match must be better than this times the second
_NEAR_SHARE, _NEAR_PX = 0.004, 1.5  # of the width, and at least: what counts as near a line
_LEAST_AT_ONCE = 4
_LEAST_MOMENTS = 3
_GOOD_SHARE = 0.35
_POOR_SHARE = 0.2  # by chance some 5 % of matches lie near their line
_SCALES = (0.5, 2 / 3, 0.75, 1.25, 4 / 3, 1.5, 2.0)


@dataclass(frozen=True)
class PairMatches:
    """Features that two overlapping cameras have in common, over all moments.

    Attributes:
        first: Rays of the one camera, depth 1.
        second: Rays of the other.
        first_to_second: Camera to camera, at the moment of each match.
        moment: Number of the moment of each match.
        focal_px: Mean focal length, by which angles are pixels.
        near_px: Distance from a line at which a match still counts as on it.
    """

    first: Float64[np.ndarray, "N 3"]
    second: Float64[np.ndarray, "N 3"]
    first_to_second: Float64[np.ndarray, "N 4 4"]
    moment: Int64[np.ndarray, " N"]
    focal_px: float
    near_px: float

    @property
    def moments(self) -> int:
        """Number of moments with enough matches to say something."""
        return int((np.bincount(self.moment, minlength=1) >= _LEAST_AT_ONCE).sum())

    def near_share(self, first_scale: float = 1.0, second_scale: float = 1.0) -> float:
        """Return the share of matches near their lines, the median over moments: a passing lorry spoils some."""
        near = self.residuals_px(first_scale, second_scale) < self.near_px
        counts = np.bincount(self.moment, minlength=1)
        shares = [near[self.moment == m].mean() for m in (counts >= _LEAST_AT_ONCE).nonzero()[0]]
        return float(np.median(shares)) if shares else 0.0

    def residuals_px(self, first_scale: float = 1.0, second_scale: float = 1.0) -> Float64[np.ndarray, " N"]:
        """Return distances from epipolar lines (Sampson's, first order), if focal lengths were other ones.

        ``|x'T E x| / sqrt((E x)_1^2 + (E x)_2^2 + (E^T x')_1^2 + (E^T x')_2^2)`` with E = [t]_x R.
        """
        x, y = self.first.copy(), self.second.copy()
        x[:, :2] /= first_scale
        y[:, :2] /= second_scale
        rotation, t = self.first_to_second[:, :3, :3], self.first_to_second[:, :3, 3]
        forward = np.cross(t, np.einsum("nij,nj->ni", rotation, x))  # E x
        backward = np.einsum("nji,nj->ni", rotation, np.cross(y, t))  # E^T x'
        algebraic = np.abs((y * forward).sum(1))
        slope = np.sqrt((forward[:, :2] ** 2).sum(1) + (backward[:, :2] ** 2).sum(1))
        return self.focal_px * algebraic / np.maximum(slope, 1e-12)


def match_pair(first: list[View], second: list[View], shared: Bool[np.ndarray, "H W"]) -> PairMatches:
    """Match features of two cameras, moment by moment.

    Both images are first turned into one virtual camera that looks at what they share: at the rims of wide images the
    same thing looks too different. A calibration that is quite wrong turns them to different things, and few match.

    Args:
        first: The one camera at several moments.
        second: The other at the same moments.
        shared: What of the first image the second sees, at any size.
    """
    rays, poses, numbers = [], [], []
    virtual, focal, size = _virtual_camera(first[0], second[0], shared)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        pixels = _match(_turned(one, virtual, focal, size), _turned(other, virtual, focal, size))
        if not len(pixels):
            continue
        rays.append(_rays_of(pixels, virtual, focal, size, one, other))
        pose = np.linalg.inv(other.ego_to_global @ other.cam_to_ego) @ one.ego_to_global @ one.cam_to_ego
        poses.append(np.broadcast_to(pose, (len(pixels), 4, 4)))
        numbers.append(np.full(len(pixels), number, dtype=np.int64))
    focal_px = 0.5 * float(first[0].intrinsics[0, 0] + second[0].intrinsics[0, 0])
    near_px = max(_NEAR_PX, _NEAR_SHARE * first[0].image_size[1])
    if not rays:
        none = np.zeros((0, 3))
        return PairMatches(none, none, np.zeros((0, 4, 4)), np.zeros(0, dtype=np.int64), focal_px, near_px)
    return PairMatches(
        np.concatenate([r[0] for r in rays]),
        np.concatenate([r[1] for r in rays]),
        np.concatenate(poses),
        np.concatenate(numbers),
        focal_px,
        near_px,
    )


def check_pair(first: str, second: str, matches: PairMatches) -> Finding:
    """Say how well two cameras agree, and whether other focal lengths would make them."""
    name = f"epipolar lines, {first} and {second}"
    count, moments = len(matches.first), matches.moments
    if not moments:
        fix = "give more --frames, and look at the picture: other cameras may tell, or this pair is far off"
        return Finding(name, False, f"{count} features in common: too few to tell", False, fix)
    share, residuals = matches.near_share(), matches.residuals_px()
    near = residuals[residuals < matches.near_px]
    typical = f", {np.median(near):.2f} px from them" if len(near) else ""
    detail = f"{100 * share:.0f} % of {count} matches within {matches.near_px:.1f} px of their lines{typical}"
    if share >= _GOOD_SHARE:
        return Finding(name, True, detail, True)
    if moments < _LEAST_MOMENTS:
        fix = "give more --frames: what passes by spoils some"
        return Finding(name, False, f"{detail}, at {moments} moments: too few to tell", False, fix)
    guess = _better_focal(first, second, matches, share)
    if guess:
        return Finding(name, False, f"{detail}; {guess}", True, "give intrinsics in pixels of these images")
    advice = "check mountings and intrinsics of both, and that their images show the same moments"
    return Finding(name, False, detail, share < _POOR_SHARE, advice)


def _better_focal(first: str, second: str, matches: PairMatches, share: float) -> str:
    """Say which other focal lengths would make two cameras agree, if any of common ratios do."""
    best, text = max(2 * share, _GOOD_SHARE), ""
    for scale in _SCALES:
        for name, scales in ((first, (scale, 1.0)), (second, (1.0, scale)), ("", (scale, scale))):
            found = matches.near_share(*scales)
            if found > best:
                who = f"that of {name} was" if name else "both focal lengths were"
                best, text = found, f"{100 * found:.0f} % if {who} {scale:.2f} times as long"
    return text


def _virtual_camera(
    first: View, second: View, shared: Bool[np.ndarray, "H W"]
) -> tuple[Float64[np.ndarray, "3 3"], float, int]:
    """Return rotation (camera to ego), focal length and size of a square camera that looks at what is shared."""
    height, width = shared.shape
    rows, columns = shared.nonzero()
    pixels = np.stack([(columns + 0.5) / width * first.image_size[1], (rows + 0.5) / height * first.image_size[0]], -1)
    rays = first.directions(pixels)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True) @ first.cam_to_ego[:3, :3].T
    ahead = rays.mean(0)
    ahead[2] = 0.0 if np.linalg.norm(ahead[:2]) > 0.3 else ahead[2]
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= max(float(np.linalg.norm(right)), 1e-9)
    rotation = np.stack([right, np.cross(ahead, right), ahead], 1)
    angle = np.arctan2(np.abs(rays @ right), np.maximum(rays @ ahead, 1e-6))
    half = float(np.clip(np.percentile(angle, 95), np.radians(12), np.radians(50)))
    focal = max(float(first.intrinsics[0, 0]), float(second.intrinsics[0, 0])) * 1.2
    return rotation, focal, int(np.clip(2 * focal * np.tan(half), 96, 960))


def _turned(view: View, rotation: np.ndarray, focal: float, size: int) -> np.ndarray:
    """Return what the virtual camera sees of an image (grey); things are taken to be infinitely far away."""
    lens = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    to_view = view.intrinsics @ view.cam_to_ego[:3, :3].T @ rotation @ np.linalg.inv(lens)
    columns, rows = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    at = np.stack([columns, rows, np.ones_like(rows)], -1) @ to_view.T
    behind = at[..., 2] <= 1e-6
    depth = np.where(behind, 1.0, at[..., 2])
    u, v = at[..., 0] / depth - 0.5, at[..., 1] / depth - 0.5
    u[behind] = -10.0
    return np.asarray(cv2.remap(view.grey, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR))


def _match(first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, "N 4"]:
    """Return (u, v, u', v') of features that are each other's best match."""
    sift = cv2.SIFT.create(nfeatures=1500, contrastThreshold=0.015)
    found = [sift.detectAndCompute(image, _inner(image)) for image in (first, second)]
    if any(descriptors is None or len(points) < 2 for points, descriptors in found):
        return np.zeros((0, 4))
    (points, one), (others, two) = found
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    forward = {m.queryIdx: m.trainIdx for m, n in matcher.knnMatch(one, two, 2) if m.distance < _RATIO * n.distance}
    back = {m.queryIdx: m.trainIdx for m, n in matcher.knnMatch(two, one, 2) if m.distance < _RATIO * n.distance}
    pairs = [(*points[i].pt, *others[j].pt) for i, j in forward.items() if back.get(j) == i]
    return np.array(pairs, dtype=np.float64).reshape(-1, 4) + 0.5


def _inner(image: np.ndarray) -> np.ndarray:
    """Return where features may lie: not at the rim of what an image covers."""
    covered = np.pad((image > 0).astype(np.uint8) * 255, 1)
    return np.asarray(cv2.erode(covered, np.ones((9, 9), np.uint8)), dtype=np.uint8)[1:-1, 1:-1]


def _rays_of(
    pixels: np.ndarray, rotation: np.ndarray, focal: float, size: int, first: View, second: View
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rays of matches in both cameras' frames, depth 1."""
    rays = []
    for part, view in ((pixels[:, :2], first), (pixels[:, 2:], second)):
        virtual = np.concatenate([(part - size / 2) / focal, np.ones((len(part), 1))], 1)
        local = virtual @ (view.cam_to_ego[:3, :3].T @ rotation).T
        rays.append(local / local[:, 2:])
    return rays[0], rays[1]
