"""DDAD's rig: six cameras on the roof of a saloon, and laser scanners that look all around, merged into one cloud."""

from dataclasses import dataclass

import numpy as np

from gsocc.datasets.world.ddad_spec import NATIVE_SIZE
from gsocc.datasets.world.sensors import CAMERA_AXES, Camera, rigid, turn_about_z

CAMERAS: tuple[str, ...] = ("CAMERA_01", "CAMERA_05", "CAMERA_06", "CAMERA_07", "CAMERA_08", "CAMERA_09")
LIDAR = "LIDAR"
LIDAR_RANGE_M = (1.0, 250.0)
# Position in the vehicle frame (m), heading (degrees), focal length in pixels of an image of 1216x1936: what files
# of DDAD say, rounded. The front camera has a view of 48 degrees, the others of 85.
_MOUNTS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "CAMERA_01": ((1.55, 0.27, 1.56), 2.0, 2175.0),
    "CAMERA_05": ((1.55, 0.43, 1.57), 53.0, 1060.0),
    "CAMERA_06": ((1.56, -0.43, 1.55), -52.0, 1058.0),
    "CAMERA_07": ((1.10, 0.43, 1.56), 124.0, 1058.0),
    "CAMERA_08": ((1.10, -0.46, 1.56), -124.0, 1058.0),
    "CAMERA_09": ((0.15, 0.13, 1.53), 180.0, 1064.0),
}
# Four scanners of 100 degrees at the corners of the roof: position (m), heading (degrees).
_SCANNERS: tuple[tuple[tuple[float, float, float], float], ...] = (
    ((1.45, 0.0, 1.85), 0.0),
    ((0.60, 0.55, 1.85), 90.0),
    ((-0.20, 0.0, 1.85), 180.0),
    ((0.60, -0.55, 1.85), -90.0),
)
_SCANNER_FIELD_DEG = 100.0
_SCANNER_COLUMNS = 190
_SCANNER_ROWS = 64
_ELEVATION_DEG = (-32.0, 10.0)
_DENSEST_DEG = -1.0  # rows crowd where the road is far away
# How far mountings and lenses of one car are from those of the next.
_POSITION_SPREAD_M, _TURN_SPREAD_DEG, _TILT_SPREAD_DEG = 0.02, 1.2, 0.5
_FOCAL_SPREAD, _PRINCIPAL_SPREAD_PX = 0.004, 18.0


@dataclass(frozen=True)
class Pulses:
    """The pulses of one scanner in the vehicle frame: an origin (3,) and (N, 3) unit directions."""

    origin: np.ndarray
    directions: np.ndarray


def ddad_cameras(image_size: tuple[int, int], seed: list[int]) -> tuple[Camera, ...]:
    """Return the six cameras of a scene's car for an image size (H, W); no two cars are built quite alike."""
    rng = np.random.default_rng([*seed, 3])
    return tuple(_camera(name, image_size, rng) for name in CAMERAS)


def ddad_pulses() -> tuple[Pulses, ...]:
    """Return the pulses of all scanners, fired at one instant."""
    return tuple(_scanner(position, heading) for position, heading in _SCANNERS)


def _camera(name: str, image_size: tuple[int, int], rng: np.random.Generator) -> Camera:
    position, heading_deg, focal = _MOUNTS[name]
    native_h, native_w = NATIVE_SIZE
    fx, fy = focal * (1 + _FOCAL_SPREAD * rng.uniform(-1, 1, 2))
    cx, cy = np.array([native_w / 2, native_h / 2]) + _PRINCIPAL_SPREAD_PX * rng.uniform(-1, 1, 2)
    intrinsics = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    intrinsics[0] *= image_size[1] / native_w
    intrinsics[1] *= image_size[0] / native_h
    turn = np.radians(heading_deg + _TURN_SPREAD_DEG * rng.uniform(-1, 1))
    pitch, roll = np.radians(_TILT_SPREAD_DEG * rng.uniform(-1, 1, 2))
    rotation = turn_about_z(turn) @ _about_y(pitch) @ _about_x(roll) @ CAMERA_AXES
    place = np.asarray(position) + _POSITION_SPREAD_M * rng.uniform(-1, 1, 3)
    return Camera(name, intrinsics, rigid(rotation, place), image_size)


def _scanner(position: tuple[float, float, float], heading_deg: float) -> Pulses:
    half = np.radians(_SCANNER_FIELD_DEG / 2)
    azimuth = np.radians(heading_deg) + np.linspace(-half, half, _SCANNER_COLUMNS)
    low, high = _ELEVATION_DEG[0] - _DENSEST_DEG, _ELEVATION_DEG[1] - _DENSEST_DEG
    # Cubic in the row: steps of a tenth of a degree at the horizon, of two at the rims.
    row = np.linspace(-1.0, 1.0, _SCANNER_ROWS)
    share = 0.15 * row + 0.85 * row**3
    elevation = np.radians(_DENSEST_DEG + np.where(share < 0, -share * low, share * high))
    a, e = np.meshgrid(azimuth, elevation, indexing="ij")
    directions = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1).reshape(-1, 3)
    return Pulses(np.asarray(position), directions)


def _about_x(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _about_y(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
