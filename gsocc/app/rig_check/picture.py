"""A picture of a rig to judge by eye: the horizon and circles on the ground, drawn where the calibration has them."""

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from gsocc.app.rig_check.motion import CameraMotion
from gsocc.app.rig_check.views import View
from gsocc.viewer.drawing import below, beside, caption, heading, resize

_CIRCLES_M = (5.0, 10.0, 20.0, 40.0)
_LANE_M = 1.75  # half the width of a lane: lines that run along with the vehicle
_COLOURS = {"horizon": (255, 70, 70), "ground": (90, 220, 120), "lane": (80, 180, 255), "motion": (255, 220, 60)}
_CELL = (300, 480)  # largest height and width of one image


def ground_picture(cameras: list[View], motions: list[CameraMotion], title: str) -> UInt8[np.ndarray, "H W 3"]:
    """Draw what the calibration says of the ground z = 0 over each image.

    Red: the horizon. Green: circles on the ground, 5, 10, 20 and 40 m around the origin. Blue: lines beside the
    vehicle, 3.5 m apart. Yellow: where each camera says that the vehicle is driving to.
    """
    cells = [_drawn(camera, motion) for camera, motion in zip(cameras, motions, strict=True)]
    height, width = max(c.shape[0] for c in cells), max(c.shape[1] for c in cells)
    padded = [np.pad(c, ((0, height - c.shape[0]), (0, width - c.shape[1]), (0, 0))) for c in cells]
    columns = 2 if len(padded) <= 4 else 3
    padded += [np.zeros_like(padded[0])] * (-len(padded) % columns)
    rows = [beside(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    note = "red horizon, green circles at 5, 10, 20, 40 m, blue lines 3.5 m apart, yellow driving direction"
    bars = [heading(title, rows[0].shape[1], 18), heading("", rows[0].shape[1], 14, note)]
    return below([*bars, *rows])


def _drawn(camera: View, motion: CameraMotion) -> UInt8[np.ndarray, "H W 3"]:
    scale = min(_CELL[0] / camera.image_size[0], _CELL[1] / camera.image_size[1])
    size = (round(camera.image_size[0] * scale), round(camera.image_size[1] * scale))
    picture = np.ascontiguousarray(resize(camera.image, size))
    to_pixels = np.diag([size[1] / camera.image_size[1], size[0] / camera.image_size[0], 1.0]) @ camera.intrinsics
    angle = np.linspace(-np.pi, np.pi, 721)
    around = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], -1)
    position = camera.cam_to_ego[:3, 3]
    _line(picture, camera, to_pixels, position + 1e5 * around, _COLOURS["horizon"])
    for radius in _CIRCLES_M:
        _line(picture, camera, to_pixels, radius * around, _COLOURS["ground"])
    along = np.linspace(-60, 60, 1201)
    for side in (-_LANE_M, _LANE_M):
        points = np.stack([along, np.full_like(along, side), np.zeros_like(along)], -1)
        _line(picture, camera, to_pixels, points, _COLOURS["lane"])
    if motion.pairs:
        ahead = motion.direction_cam if motion.direction_cam[2] > 0 else -motion.direction_cam
        if ahead[2] > 0.05:
            at = to_pixels @ (ahead / ahead[2])
            cv2.drawMarker(
                picture, (round(at[0]), round(at[1])), _COLOURS["motion"], cv2.MARKER_CROSS, 18, 2, cv2.LINE_AA
            )
    return caption(picture, camera.name)


def _line(
    picture: UInt8[np.ndarray, "H W 3"],
    camera: View,
    to_pixels: Float64[np.ndarray, "3 3"],
    points_ego: Float64[np.ndarray, "N 3"],
    colour: tuple[int, int, int],
) -> None:
    """Draw a line through points, where they lie in front of the camera and near its image."""
    ego_to_cam = np.linalg.inv(camera.cam_to_ego)
    points = points_ego @ ego_to_cam[:3, :3].T + ego_to_cam[:3, 3]
    reach = 4 * max(picture.shape[:2])
    shown = points[:, 2] > 0.05
    at = points @ to_pixels.T
    pixels = at[:, :2] / np.where(shown, at[:, 2], 1.0)[:, None]
    shown &= (np.abs(pixels) < reach).all(1)
    for run in np.split(np.arange(len(points)), np.flatnonzero(~shown)):
        inside = run[shown[run]]
        if len(inside) > 1:
            cv2.polylines(picture, [np.rint(pixels[inside]).astype(np.int32)], False, colour, 1, cv2.LINE_AA)
