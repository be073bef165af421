"""What a world of a foreign rig is made of: its arguments, four cameras, and the instants of its recordings."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gsocc.datasets.world.arguments import WorldArguments, at_least
from gsocc.datasets.world.sensors import CAMERA_AXES, Camera, rigid, turn_about_z

STEP_US = 100_000  # 10 Hz
POSE_STEP_US = 20_000  # 50 Hz
CAMERAS: tuple[str, ...] = ("front", "left", "rear", "right")

_FIRST_US = 1_700_000_000_000_000
_SCENE_GAP_US = 3_600_000_000
_SCAN_LAG_US = 12_000
# Position in the ego frame (m), heading and pitch (degrees), horizontal field of view (degrees), size over the image
# size asked for, and how long after the front camera it is triggered (us): an unequal ring.
_MOUNTS: dict[str, tuple[tuple[float, float, float], float, float, float, tuple[float, float], int]] = {
    "front": ((2.20, 0.00, 1.40), 0.0, 0.0, 100.0, (1.0, 1.0), 0),
    "left": ((1.20, 0.95, 1.10), 88.0, 2.0, 112.0, (1.0, 1.0), 4_000),
    "rear": ((-0.90, 0.05, 1.20), 181.0, 1.0, 118.0, (0.9, 0.8), 9_000),
    "right": ((1.25, -0.95, 1.12), -86.0, 2.0, 112.0, (1.0, 1.0), 4_500),
}


@dataclass(frozen=True, kw_only=True)
class RigSpec(WorldArguments):
    """The arguments that determine a world of a foreign rig, byte for byte.

    Attributes:
        scenes: Number of scenes.
        frames: Moments of each, at 10 Hz.
        seed: Seed of everything.
        image_size: H, W of the front camera.
        preset: "full" or "moderate".
        val_scenes: How many of the scenes are in the split `val`.
        lidar_noise_m: Standard deviation of the LiDAR's range error.
        poses: Also write ego poses.
        exact: Also write occupancy (`truth/`).
    """

    format: ClassVar[str] = "rig"
    generator_version: ClassVar[int] = 1  # raise it with every change that alters a file
    seed_streams: ClassVar[tuple[int, int]] = (4, 5)

    scenes: int
    frames: int
    seed: int
    image_size: tuple[int, int]
    preset: str = "moderate"
    val_scenes: int = 1
    lidar_noise_m: float = 0.0
    poses: bool = True
    exact: bool = False

    def __post_init__(self) -> None:
        at_least("frames", self.frames, 1)
        self.check()
        at_least("train scenes (scenes - val_scenes)", self.train_scenes, 1)

    @property
    def moments(self) -> int:
        """Number of moments of a scene."""
        return self.frames

    @property
    def duration_s(self) -> float:
        """Time from the first moment to the last pose."""
        return self.frames * STEP_US * 1e-6

    def folder(self, scene: int) -> str:
        """Return the name of a scene."""
        validation = scene - self.train_scenes
        return f"drive_{scene:02d}" if validation < 0 else f"evening_{validation:02d}"

    def start_us(self, scene: int) -> int:
        """Return the time at which a scene begins."""
        return _FIRST_US + scene * _SCENE_GAP_US

    def stamp_us(self, scene: int, frame: int, sensor: str) -> int:
        """Return when a sensor recorded a moment; cameras are not triggered together."""
        lag = _SCAN_LAG_US if sensor == "lidar" else _MOUNTS[sensor][5]
        return self.start_us(scene) + frame * STEP_US + lag

    def time_s(self, scene: int, stamp_us: int) -> float:
        """Return the scene's time of a stamp."""
        return (stamp_us - self.start_us(scene)) * 1e-6


def rig_cameras(image_size: tuple[int, int]) -> tuple[Camera, ...]:
    """Return the four cameras for an image size (H, W) of the front one."""
    return tuple(_camera(name, image_size) for name in CAMERAS)


def _camera(name: str, image_size: tuple[int, int]) -> Camera:
    position, heading_deg, pitch_deg, field_deg, share, _ = _MOUNTS[name]
    height, width = (round(n * part) for n, part in zip(image_size, share, strict=True))
    focal = 0.5 * width / np.tan(np.radians(field_deg) / 2)
    intrinsics = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    c, s = np.cos(np.radians(pitch_deg)), np.sin(np.radians(pitch_deg))
    pitch = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    rotation = turn_about_z(np.radians(heading_deg)) @ pitch @ CAMERA_AXES
    return Camera(name, intrinsics, rigid(rotation, position), (height, width))


def mounts() -> dict[str, tuple[tuple[float, float, float], float, float]]:
    """Return position (m), heading and pitch (degrees) of each camera, as the rig file says them."""
    return {name: mount[:3] for name, mount in _MOUNTS.items()}
