"""Which way each camera says that the vehicle drives: by the images alone, turned into the vehicle's frame.

A vehicle drives forwards. So the direction in which a camera moves, found from features in two of its images, must
point along the vehicle's x axis once its mounting has turned it. Where it points to the side, a heading is wrong or
cameras are swapped; where it points up or down, the horizon is.
"""

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64

from gsocc.app.rig_check.views import View, read_view
from gsocc.datasets.health import Finding
from gsocc.datasets.index import SurroundIndex

_LEAST_TRACKS = 24
_LEAST_SHIFT = 0.004  # of the image's width, the median shift of a moving camera's features
_MOST_TURN_RAD = 0.03  # between two images; in a bend cameras do not move the way that the vehicle points
_INLIER_PX = 0.7
_LEAST_PAIRS = 3
_OFF_DEG = 12.0  # what images of a few hundred pixels tell for sure
_MOST_PERMUTED = 8


@dataclass(frozen=True)
class CameraMotion:
    """How a camera moves, by its images.

    Attributes:
        name: Of the camera.
        direction_cam: Unit vector in the camera's frame, the mean of all pairs of images; zero where none moved.
        spread_deg: Mean angle between it and those of single pairs.
        pairs: Number of pairs of images.
    """

    name: str
    direction_cam: Float64[np.ndarray, "3"]
    spread_deg: float
    pairs: int


def measure_motion(root: Path, index: SurroundIndex, rows: list[int]) -> list[CameraMotion]:
    """Return how each camera moves between key frames and their next images."""
    motions = []
    for camera, name in enumerate(index.cameras):
        directions = []
        for row in rows:
            now, then = int(index.key_image[row, camera]), int(index.next_image[row, camera])
            if then >= 0:
                found = camera_direction(read_view(root, index, now, camera), read_view(root, index, then, camera))
                directions += [] if found is None else [found]
        motions.append(_mean_motion(name, directions))
    return motions


def camera_direction(now: View, then: View) -> Float64[np.ndarray, "3"] | None:
    """Return the unit direction in which a camera moved, in its frame; None where it stood, turned or saw little."""
    before, after = _tracks(now, then)
    width = now.image_size[1]
    if len(before) < _LEAST_TRACKS or np.median(np.linalg.norm(after - before, axis=1)) < _LEAST_SHIFT * width:
        return None
    # Points on rays of depth 1, as if a camera of focal length 1 had seen them.
    first, second = now.directions(before)[:, :2], then.directions(after)[:, :2]
    error = _INLIER_PX / float(now.intrinsics[0, 0])
    essential, inliers = cv2.findEssentialMat(first, second, np.eye(3), cv2.RANSAC, 0.999, error)
    if essential is None or essential.shape != (3, 3) or int(inliers.sum()) < _LEAST_TRACKS // 2:
        return None
    count, rotation, translation, _ = cv2.recoverPose(essential, first, second, np.eye(3), mask=inliers.copy())
    turn = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1.0, 1.0))
    if count < _LEAST_TRACKS // 2 or turn > _MOST_TURN_RAD:
        return None
    direction = -(rotation.T @ translation)[:, 0]
    return np.asarray(direction / np.linalg.norm(direction))


def check_motion(cameras: list[View], motions: list[CameraMotion]) -> list[Finding]:
    """Hold the directions against the mountings."""
    name = "driving direction"
    seen = [i for i, motion in enumerate(motions) if motion.pairs]
    if not seen:
        detail = "no camera was seen to move straight on: a vehicle at rest, or too few features"
        return [
            Finding(
                name,
                False,
                detail,
                False,
                "choose a recording of straight driving, more --frames or a larger time.step",
            )
        ]
    turned = {i: cameras[i].cam_to_ego[:3, :3] @ motions[i].direction_cam for i in seen}
    problem = _all_wrong(cameras, turned) or _swapped(cameras, motions, seen)
    if problem is not None:
        return [problem]
    findings = []
    for i, direction in turned.items():
        azimuth, elevation = _angles_deg(direction)
        good, sure = abs(azimuth) < _OFF_DEG and abs(elevation) < _OFF_DEG, motions[i].pairs >= _LEAST_PAIRS
        aside = f"{abs(azimuth):.1f} degrees to the {'left' if azimuth > 0 else 'right'}"
        slope = f"{abs(elevation):.1f} {'upwards' if elevation > 0 else 'downwards'}"
        detail = f"by its images the vehicle drives {aside}, {slope}"
        fix = (
            "" if good else "check heading_deg, pitch_deg and roll_deg of this camera, and that its images are its own"
        )
        if not sure and not good:
            fix = "too few pairs to tell: give more --frames; what passes by spoils some"
        detail += f" ({motions[i].pairs} pairs of images)"
        findings.append(Finding(f"{name}, {cameras[i].name}", good, detail, sure, fix))
    unseen = [motion.name for motion in motions if not motion.pairs]
    if unseen:
        findings.append(Finding(name, False, f"not seen by {', '.join(unseen)}", False, "look at them in the picture"))
    return findings


def _tracks(now: View, then: View) -> tuple[Float64[np.ndarray, "N 2"], Float64[np.ndarray, "N 2"]]:
    """Follow corners from one image to the other and back; return those that come back to where they began."""
    width = now.image_size[1]
    corners = cv2.goodFeaturesToTrack(now.grey, 800, 0.005, max(3.0, 0.008 * width))
    if corners is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    edge = max(9, width // 40) | 1
    after, there, _ = cv2.calcOpticalFlowPyrLK(
        now.grey, then.grey, corners, np.zeros_like(corners), winSize=(edge, edge), maxLevel=4
    )
    back, here, _ = cv2.calcOpticalFlowPyrLK(
        then.grey, now.grey, after, np.zeros_like(corners), winSize=(edge, edge), maxLevel=4
    )
    stray = np.linalg.norm((back - corners)[:, 0], axis=1)
    moved = np.linalg.norm((after - corners)[:, 0], axis=1)
    # What does not move shows the vehicle itself, or lies at infinity and says nothing of translation.
    good = (there[:, 0] == 1) & (here[:, 0] == 1) & (stray < 0.5) & (moved > 0.3)
    # Corners are counted from the centre of the first pixel.
    return corners[good, 0].astype(np.float64) + 0.5, after[good, 0].astype(np.float64) + 0.5


def _mean_motion(name: str, directions: list[Float64[np.ndarray, "3"]]) -> CameraMotion:
    if not directions:
        return CameraMotion(name, np.zeros(3), 0.0, 0)
    mean = np.median(np.stack(directions), axis=0)  # a pair with a lorry beside it may say anything
    length = float(np.linalg.norm(mean))
    if length < 0.5:
        return CameraMotion(name, np.zeros(3), 180.0, 0)
    mean = mean / length
    spread = [np.degrees(np.arccos(np.clip(mean @ d, -1, 1))) for d in directions]
    return CameraMotion(name, mean, float(np.mean(spread)), len(directions))


def _all_wrong(cameras: list[View], turned: dict[int, np.ndarray]) -> Finding | None:
    """Name a vehicle frame whose x axis is not the direction of driving: all cameras agree on another one."""
    mean = np.mean(list(turned.values()), axis=0)
    length = float(np.linalg.norm(mean))
    if len(turned) < 2 or length < np.cos(np.radians(1.5 * _OFF_DEG)):
        return None
    mean = mean / length
    azimuth, elevation = _angles_deg(mean)
    if abs(azimuth) < 2 * _OFF_DEG and abs(elevation) < 2 * _OFF_DEG:
        return None
    axis = int(np.abs(mean).argmax())
    sign = "" if mean[axis] > 0 else "-"
    detail = f"all {len(turned)} cameras agree that the vehicle drives along its {sign}{'xyz'[axis]} axis"
    fix = "turn cam_to_ego of all cameras (and ego_poses) so that x points forwards; or the recording runs backwards"
    return Finding("axes of the vehicle", False, detail, True, fix)


def _swapped(cameras: list[View], motions: list[CameraMotion], seen: list[int]) -> Finding | None:
    """Name cameras whose images fit the mountings of others, if exchanging them makes all fit."""
    if not 2 <= len(seen) <= _MOST_PERMUTED:
        return None
    # [i, j]: angle between forwards and the motion in the images of i, if i hung where j does.
    angles = np.array(
        [
            [
                np.degrees(np.arccos(np.clip((cameras[j].cam_to_ego[:3, :3] @ motions[i].direction_cam)[0], -1, 1)))
                for j in seen
            ]
            for i in seen
        ]
    )
    numbers = np.arange(len(seen))
    best = min(permutations(range(len(seen))), key=lambda order: float(angles[numbers, list(order)].sum()))
    now, then = angles[numbers, numbers], angles[numbers, list(best)]
    moved = [n for n in range(len(seen)) if best[n] != n]
    if not moved or then[moved].max() > 2 * _OFF_DEG or now[moved].min() < 2 * _OFF_DEG:
        return None
    names = [cameras[i].name for i in seen]
    pairs = [f"images of {names[n]} fit where {names[best[n]]} hangs" for n in moved]
    fix = "exchange their folders in rig.yaml"
    sides = {np.sign(cameras[seen[n]].cam_to_ego[1, 2].round(1)) for n in moved}
    if sides == {-1.0, 1.0}:
        fix += "; or, if every left camera is a right one, y of the vehicle's frame points right and must point left"
    return Finding("swapped cameras", False, "; ".join(pairs), True, fix)


def _angles_deg(direction: np.ndarray) -> tuple[float, float]:
    """Return azimuth (to the left) and elevation of a unit vector in the vehicle's frame."""
    azimuth = np.degrees(np.arctan2(direction[1], direction[0]))
    return float(azimuth), float(np.degrees(np.arcsin(np.clip(direction[2], -1, 1))))
