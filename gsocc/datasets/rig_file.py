"""`rig.yaml`: what a folder of images has to say of its cameras before anything can be learned from it."""

from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field, field_validator, model_validator

from gsocc.config import Config, load_config
from gsocc.errors import DataError

RIG_FILE = "rig.yaml"
SCENE = "{scene}"
"""In the paths of a rig file: the name of a scene."""

Vec3 = tuple[float, float, float]

_CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # of a camera that looks along ego x
_FARTHEST_M = 20.0  # from the ego origin; beyond, a position was hardly meant in metres
_NOT_RIGID = 1e-3


class MountConfig(Config):
    """Where a sensor sits on the vehicle: ego x forward, y left, z up, origin where the ego poses say.

    Either `matrix`, or `position_m` with one of `quaternion_wxyz` and `heading_deg`.

    Attributes:
        matrix: sensor_to_ego, four rows of four; of a camera x right, y down, z forward.
        position_m: x, y, z in the ego frame.
        quaternion_wxyz: Rotation of sensor_to_ego.
        heading_deg: Where the sensor looks, counter-clockwise from straight ahead, seen from above; 90 is left.
        pitch_deg: With `heading_deg`: how far it looks down.
        roll_deg: With `heading_deg`: how far it is turned about where it looks, right side down.
    """

    matrix: tuple[tuple[float, float, float, float], ...] | None = None
    position_m: Vec3 | None = None
    quaternion_wxyz: tuple[float, float, float, float] | None = None
    heading_deg: float | None = None
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    @model_validator(mode="after")
    def _says_one_rigid_pose(self) -> "MountConfig":
        turned = (self.quaternion_wxyz is not None) + (self.heading_deg is not None)
        if (self.matrix is None) != (self.position_m is not None and turned == 1):
            raise ValueError("expected either matrix, or position_m with quaternion_wxyz or heading_deg")
        if self.heading_deg is None and (self.pitch_deg or self.roll_deg):
            raise ValueError("pitch_deg and roll_deg belong to heading_deg")
        if self.matrix is not None and len(self.matrix) != 4:
            raise ValueError(f"matrix: expected four rows of four numbers, got {len(self.matrix)} rows")
        if self.quaternion_wxyz is not None and not abs(np.linalg.norm(self.quaternion_wxyz) - 1.0) < 0.01:
            raise ValueError(f"quaternion_wxyz: expected a unit quaternion, got {self.quaternion_wxyz}")
        pose = self.pose(camera=True)
        off = np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max()
        if not off < _NOT_RIGID or np.linalg.det(pose[:3, :3]) < 0 or not np.allclose(pose[3], (0, 0, 0, 1)):
            raise ValueError(
                "matrix: expected a rigid transform, a rotation of determinant +1 above a last row of 0 0 0 1, got "
                f"{pose.tolist()}"
            )
        if not np.linalg.norm(pose[:3, 3]) < _FARTHEST_M:
            raise ValueError(
                f"the sensor is {np.linalg.norm(pose[:3, 3]):g} m away from the ego origin; positions are in metres, "
                "and the matrix takes points of the sensor to the ego frame"
            )
        return self

    def pose(self, *, camera: bool) -> Float64[np.ndarray, "4 4"]:
        """Return sensor_to_ego; with `camera`, a heading turns optical axes, otherwise those of the ego."""
        if self.matrix is not None:
            return np.array(self.matrix, dtype=np.float64)
        pose = np.eye(4)
        pose[:3, 3] = self.position_m
        if self.quaternion_wxyz is not None:
            pose[:3, :3] = _rotation(*self.quaternion_wxyz)
        else:
            assert self.heading_deg is not None
            heading, pitch, roll = np.radians([self.heading_deg, self.pitch_deg, self.roll_deg])
            turned = _about(2, heading) @ _about(1, pitch) @ _about(0, roll)
            pose[:3, :3] = turned @ _CAMERA_AXES if camera else turned
        return pose


class CameraConfig(Config):
    """A camera.

    Attributes:
        images: Folder of its images below the root, with `{scene}` for the name of the scene.
        image_size: (H, W) of the images in pixels, which `intrinsics` belong to.
        intrinsics: fx, fy, cx, cy in pixels.
        cam_to_ego: Its mounting.
        distortion: Coefficients of the lens; images must be straightened first, see `gsocc index rig --undistort`.
        lens: "opencv": k1, k2, p1, p2 and up to ten more, as `cv2.calibrateCamera` gives them; "fisheye": k1 to k4 of
            `cv2.fisheye`.
    """

    images: str
    image_size: tuple[int, int]
    intrinsics: tuple[float, float, float, float]
    cam_to_ego: MountConfig
    distortion: tuple[float, ...] = ()
    lens: Literal["opencv", "fisheye"] = "opencv"

    @model_validator(mode="after")
    def _is_a_lens(self) -> "CameraConfig":
        (height, width), (fx, fy, cx, cy) = self.image_size, self.intrinsics
        if min(height, width) < 16:
            raise ValueError(f"image_size: expected (H, W) of at least 16 pixels, got {self.image_size}")
        if not min(fx, fy) > 0:
            raise ValueError(f"intrinsics: expected fx, fy, cx, cy with positive focal lengths, got {self.intrinsics}")
        if not (0 < cx < width and 0 < cy < height):
            raise ValueError(
                f"intrinsics: the principal point ({cx:g}, {cy:g}) lies outside of the image of {height}x{width} (HxW);"
                " expected fx, fy, cx, cy in pixels of image_size, which is [H, W]"
            )
        counts = (4,) if self.lens == "fisheye" else (4, 5, 8, 12, 14)
        if self.distortion and len(self.distortion) not in counts:
            raise ValueError(
                f"distortion: lens {self.lens} has {' or '.join(map(str, counts))} coefficients, got "
                f"{len(self.distortion)}"
            )
        return self

    @property
    def is_straight(self) -> bool:
        """Whether straight lines are straight in the images."""
        return self.lens == "opencv" and not any(self.distortion)

    @property
    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        """K in pixels of the stored image."""
        fx, fy, cx, cy = self.intrinsics
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


class TimeConfig(Config):
    """When images were taken: the last number in the name of each file.

    Attributes:
        unit_s: Seconds that a step of one in it stands for: 1e-9 for nanoseconds, 0.1 for numbered frames at 10 Hz.
        tolerance_s: How far from the first camera's image those of the others may be.
        step: How many key frames away the neighbours in time are: at 30 Hz those next to it show no parallax.
    """

    unit_s: float = Field(gt=0)
    tolerance_s: float = Field(default=0.02, gt=0)
    step: int = Field(default=1, ge=1)


class LidarConfig(Config):
    """Scans, for evaluation alone.

    Attributes:
        scans: Folder of a scene's scans, in metres: npz with an array `data` or npy, x, y, z first, `.bin` of KITTI or
            `.pcd.bin` of nuScenes.
        lidar_to_ego: Mounting; a heading turns axes like those of the ego.
        tolerance_s: How far a scan may be from the first camera's image.
    """

    scans: str
    lidar_to_ego: MountConfig
    tolerance_s: float = Field(default=0.06, gt=0)


class RigConfig(Config):
    """A rig and its recordings.

    Attributes:
        cameras: By name, the first one being the one whose images are key frames.
        splits: Names of the scenes of each split, "train" among them.
        time: See `TimeConfig`.
        ego_poses: CSV file of a scene's ego poses with the columns time, x, y, z, qw, qx, qy, qz: `time` in the unit of
            the images' names, ego_to_world in metres. Training needs none.
        lidar: See `LidarConfig`.
    """

    cameras: dict[str, CameraConfig] = Field(min_length=1)
    splits: dict[str, tuple[str, ...]]
    time: TimeConfig
    ego_poses: str | None = None
    lidar: LidarConfig | None = None

    @field_validator("cameras")
    @classmethod
    def _names_are_folders(cls, cameras: dict[str, CameraConfig]) -> dict[str, CameraConfig]:
        for name in cameras:
            if not name or set(name) & set("/\\ ") or name.startswith("."):
                raise ValueError(f"{name!r}: derived files lie in folders of the cameras' names; choose another name")
        return cameras

    @model_validator(mode="after")
    def _scenes_can_be_told_apart(self) -> "RigConfig":
        if not self.splits.get("train"):
            raise ValueError("splits: expected at least one scene in train")
        if "all" in self.splits:
            raise ValueError("splits: all is the name of every scene together; choose another one")
        paths = {f"cameras.{name}.images": camera.images for name, camera in self.cameras.items()}
        paths |= {"ego_poses": self.ego_poses or SCENE, "lidar.scans": self.lidar.scans if self.lidar else SCENE}
        for key, path in paths.items():
            if len(self.scenes) > 1 and SCENE not in path:
                raise ValueError(f"{key}: {path!r} is the same for all {len(self.scenes)} scenes; put {SCENE} into it")
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(f"{key}: expected a path below the root, got {path!r}")
        folders = [camera.images for camera in self.cameras.values()]
        if len(set(folders)) < len(folders):
            twice = next(folder for folder in folders if folders.count(folder) > 1)
            raise ValueError(f"cameras: two of them have their images in {twice!r}")
        return self

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of all scenes, each once, in the order of the splits."""
        return tuple(dict.fromkeys(scene for names in self.splits.values() for scene in names))


def read_rig(root: Path) -> RigConfig:
    """Read the rig file of a folder.

    Raises:
        DataError: Where there is no folder, or no rig file in it.
        ConfigError: Naming key, what was expected and what came.
    """
    if not root.is_dir():
        raise DataError(f"{root}: the data root does not exist or is not a folder")
    path = root / RIG_FILE
    if not path.is_file():
        raise DataError(f"{path}: there is no rig file; copy configs/rigs/example.yaml there and fill it in")
    return load_config(path, RigConfig)


def below_root(path: str, scene: str) -> str:
    """Return a path of a rig file for one scene."""
    return PurePosixPath(path.replace(SCENE, scene)).as_posix()


def _about(axis: int, angle_rad: float) -> Float64[np.ndarray, "3 3"]:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return rotation


def _rotation(w: float, x: float, y: float, z: float) -> Float64[np.ndarray, "3 3"]:
    w, x, y, z = np.array([w, x, y, z]) / np.linalg.norm([w, x, y, z])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
