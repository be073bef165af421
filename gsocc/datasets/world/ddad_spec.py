"""What a world in DDAD's format is made of: its arguments, the instants of its recordings, and its scene folders."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gsocc.datasets.world.arguments import WorldArguments, at_least
from gsocc.errors import UserError

NATIVE_SIZE = (1216, 1936)  # H, W of a DDAD image
IMAGE_FORMATS = ("png", "jpg")
MAX_SCENES = {"train": 150, "val": 50}  # DDAD's own numbers: validation scenes begin at folder 000150
TICK_S = 1e-7
STEP_TICKS = 1_000_000  # 10 Hz
_FIRST_TICK = 15_600_000_000_000_000  # of the year 2019; read as microseconds it is the year 2464
_SCENE_GAP_TICKS = 36_000_000_000
_SCAN_JITTER_TICKS = 6_000
_CAMERA_JITTER_TICKS = 3_000
_CAMERA_LAG_TICKS = (-92_000, 212_000)  # between the scan and the images, one value a scene


@dataclass(frozen=True, kw_only=True)
class DdadSpec(WorldArguments):
    """The arguments that determine a world in DDAD's format, byte for byte.

    Attributes:
        scenes: Number of scenes.
        frames: Samples of each, at 10 Hz.
        seed: Seed of everything.
        image_size: H, W.
        preset: "full" or "moderate".
        val_scenes: How many of the scenes are in the split `val`.
        lidar_noise_m: Standard deviation of the LiDAR's range error.
        image_format: "png", which DDAD has, or "jpg".
        exact: Also write exact dense depth, classes, objects and occupancy (`truth/`).
    """

    format: ClassVar[str] = "ddad"
    generator_version: ClassVar[int] = 1  # raise it with every change that alters a file
    seed_streams: ClassVar[tuple[int, int]] = (2, 3)

    scenes: int
    frames: int
    seed: int
    image_size: tuple[int, int]
    preset: str = "full"
    val_scenes: int = 1
    lidar_noise_m: float = 0.0
    image_format: str = "png"
    exact: bool = False

    def __post_init__(self) -> None:
        at_least("frames", self.frames, 1)
        self.check()
        if self.image_size[0] > NATIVE_SIZE[0] or self.image_size[1] > NATIVE_SIZE[1]:
            raise UserError(f"world: image_size: expected at most 1216x1936, DDAD's own, got {self.image_size}")
        if self.image_format not in IMAGE_FORMATS:
            raise UserError(
                f"world: image_format: expected one of {', '.join(IMAGE_FORMATS)}, got {self.image_format!r}"
            )
        for split, wanted in (("train", self.train_scenes), ("val", self.val_scenes)):
            if wanted > MAX_SCENES[split]:
                raise UserError(f"world: DDAD has {MAX_SCENES[split]} {split} scenes, got {wanted}")

    @property
    def moments(self) -> int:
        """Number of samples of a scene."""
        return self.frames

    @property
    def duration_s(self) -> float:
        """Time from the first sample to the last."""
        return (self.frames - 1) * STEP_TICKS * TICK_S

    def folder(self, scene: int) -> str:
        """Return the six digits that a scene's folder is called by."""
        validation = scene - self.train_scenes
        return f"{scene if validation < 0 else MAX_SCENES['train'] + validation:06d}"

    def start_tick(self, scene: int) -> int:
        """Return the stamp of the instant at which a scene's time begins."""
        return _FIRST_TICK + int(self.folder(scene)) * _SCENE_GAP_TICKS

    def stamps(self, scene: int, frame: int) -> tuple[int, int]:
        """Return the stamps of a sample's scan and of its six images, which are triggered together.

        As in DDAD the images are up to 21 ms from the scan, and steps are 0.1 s to within a millisecond.
        """
        lag = np.random.default_rng([*self.scene_seed(scene), 1]).integers(*_CAMERA_LAG_TICKS)
        rng = np.random.default_rng([*self.scene_seed(scene), 2, frame])
        scan = self.start_tick(scene) + frame * STEP_TICKS + int(rng.integers(0, _SCAN_JITTER_TICKS))
        return scan, scan + int(lag) + int(rng.integers(-_CAMERA_JITTER_TICKS, _CAMERA_JITTER_TICKS))

    def time_s(self, scene: int, stamp: int) -> float:
        """Return the scene's time of a stamp."""
        return (stamp - self.start_tick(scene)) * TICK_S
