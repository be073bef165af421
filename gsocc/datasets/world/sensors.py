"""The sensor rig: nuScenes' six cameras and its 32-beam LiDAR. All are triggered at the same instant."""

from dataclasses import dataclass

import numpy as np

NATIVE_SIZE = (900, 1600)  # H, W of a nuScenes image; intrinsics are given for it and scale exactly
CAMERAS: tuple[str, ...] = (
    "CAM_FRONT",
    "CAM_FRONT_LEFT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
    "CAM_FRONT_RIGHT",
)
# Columns: a camera's x (right), y (down), z (forward) in a frame that looks along the ego's x.
CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
LIDAR = "LIDAR_TOP"
# Position in the ego frame (m), heading (degrees), horizontal field of view (degrees).
_MOUNTS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "CAM_FRONT": ((1.70, 0.0, 1.51), 0.0, 70.0),
    "CAM_FRONT_LEFT": ((1.55, 0.49, 1.51), 55.0, 70.0),
    "CAM_BACK_LEFT": ((1.04, 0.48, 1.56), 110.0, 70.0),
    "CAM_BACK": ((0.05, 0.0, 1.57), 180.0, 110.0),
    "CAM_BACK_RIGHT": ((1.04, -0.48, 1.56), -110.0, 70.0),
    "CAM_FRONT_RIGHT": ((1.55, -0.49, 1.51), -55.0, 70.0),
}
LIDAR_POSITION_M = (0.94, 0.0, 1.84)
LIDAR_YAW_DEG = -90.0  # the LiDAR's x points to the right of the car, its y forwards
LIDAR_BEAMS = 32
LIDAR_COLUMNS = 1085  # firings in a turn of 50 ms
LIDAR_ELEVATION_DEG = (-30.67, 10.67)
LIDAR_RANGE_M = (1.0, 100.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        name: Channel.
        intrinsics: (3, 3) in pixels of `image_size`; pixel i spans [i, i + 1).
        cam_to_ego: (4, 4).
        image_size: H, W.
    """

    name: str
    intrinsics: np.ndarray
    cam_to_ego: np.ndarray
    image_size: tuple[int, int]

    @property
    def lens(self) -> np.ndarray:
        """fx, fy, cx, cy in pixels."""
        k = self.intrinsics
        return np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])

    def rays(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return (..., 3) directions in the ego frame through image points, with depth 1."""
        fx, fy, cx, cy = self.lens
        rays_cam = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], -1)
        return rays_cam @ self.cam_to_ego[:3, :3].T

    def centre_rays(self) -> np.ndarray:
        """Return (H * W, 3) directions through the pixel centres, row by row."""
        return self.grid_rays(*self.image_size)

    def grid_rays(self, rows: int, columns: int) -> np.ndarray:
        """Return (rows * columns, 3) directions through the centres of a grid of cells over the image."""
        h, w = self.image_size
        v, u = np.meshgrid((np.arange(rows) + 0.5) * h / rows, (np.arange(columns) + 0.5) * w / columns, indexing="ij")
        return self.rays(u.ravel(), v.ravel())


def cameras(image_size: tuple[int, int]) -> tuple[Camera, ...]:
    """Return the six cameras, in the order of `CAMERAS`, for an image size (H, W)."""
    return tuple(_camera(name, image_size) for name in CAMERAS)


def lidar_to_ego() -> np.ndarray:
    """Return the 4x4 mounting of the LiDAR."""
    return rigid(turn_about_z(np.radians(LIDAR_YAW_DEG)), LIDAR_POSITION_M)


def lidar_rays() -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 3) unit directions in the LiDAR's frame and (N,) ring indices, column by column, ring 0 lowest."""
    azimuth = np.arange(LIDAR_COLUMNS) * (2 * np.pi / LIDAR_COLUMNS)
    elevation = np.radians(np.linspace(*LIDAR_ELEVATION_DEG, LIDAR_BEAMS))
    a, e = np.meshgrid(azimuth, elevation, indexing="ij")
    rays = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1).reshape(-1, 3)
    return rays, np.tile(np.arange(LIDAR_BEAMS), LIDAR_COLUMNS)


def _camera(name: str, image_size: tuple[int, int]) -> Camera:
    position, yaw_deg, fov_deg = _MOUNTS[name]
    height, width = image_size
    native_h, native_w = NATIVE_SIZE
    focal = 0.5 * native_w / np.tan(np.radians(fov_deg) / 2)
    intrinsics = np.array([[focal, 0.0, native_w / 2], [0.0, focal, native_h / 2], [0.0, 0.0, 1.0]])
    intrinsics[0] *= width / native_w
    intrinsics[1] *= height / native_h
    return Camera(name, intrinsics, rigid(turn_about_z(np.radians(yaw_deg)) @ CAMERA_AXES, position), image_size)


def turn_about_z(angle_rad: float) -> np.ndarray:
    """Return the 3x3 rotation about z."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rigid(rotation: np.ndarray, position: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """Return the 4x4 transform of a rotation and a position."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose
