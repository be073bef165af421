"""What a world is made of: its arguments, the instants at which it is recorded, and its scene names."""

from dataclasses import dataclass
from typing import Any, ClassVar

from gsocc.datasets.world.arguments import WorldArguments, at_least
from gsocc.errors import UserError

KEYFRAME_US = 500_000
CAMERA_HZ = 12
SWEEPS = ("near", "all")
FIRST_TIMESTAMP_US = 1_600_000_000_000_000
SCENE_GAP_US = 3_600_000_000

# Numbers of official scenes, first and last of each run, so that the devkit's splits hold.
_TRAIN_RUNS = (
    (1, 2),
    (4, 11),
    (19, 34),
    (41, 76),
    (120, 135),
    (138, 139),
    (149, 152),
    (154, 155),
    (157, 168),
    (170, 185),
)
_VAL_RUNS = ((3, 3), (12, 18), (35, 36), (38, 39), (92, 110), (221, 221), (268, 278), (329, 332), (344, 346))


@dataclass(frozen=True, kw_only=True)
class WorldSpec(WorldArguments):
    """The arguments that determine a world, byte for byte.

    Attributes:
        scenes: Number of scenes.
        keyframes: Key frames of each, at 2 Hz.
        seed: Seed of everything.
        image_size: H, W.
        preset: "full" or "moderate".
        val_scenes: How many of the scenes are validation scenes.
        sweeps: "near": the camera sweep before and the one after each key frame; "all": the five between key frames.
        lidar_noise_m: Standard deviation of the LiDAR's range error.
        exact: Also write exact dense depth, classes and objects of the key frames' images (`truth/`).
        version: Name of the folder of tables.
    """

    format: ClassVar[str] = "nuscenes"
    generator_version: ClassVar[int] = 8  # raise it with every change that alters a file
    seed_streams: ClassVar[tuple[int, int]] = (0, 1)

    scenes: int
    keyframes: int
    seed: int
    image_size: tuple[int, int]
    preset: str = "full"
    val_scenes: int = 1
    sweeps: str = "near"
    lidar_noise_m: float = 0.0
    exact: bool = False
    version: str = "v1.0-trainval"

    def __post_init__(self) -> None:
        at_least("keyframes", self.keyframes, 1)
        if self.sweeps not in SWEEPS:
            raise UserError(f"world: sweeps: expected one of {', '.join(SWEEPS)}, got {self.sweeps!r}")
        self.check()
        for split, runs, wanted in (
            ("training", _TRAIN_RUNS, self.scenes - self.val_scenes), ("validation", _VAL_RUNS, self.val_scenes),
        ):  # fmt: skip
            if wanted > len(_names(runs)):
                raise UserError(f"world: at most {len(_names(runs))} {split} scenes have a name here, got {wanted}")

    def as_json(self) -> dict[str, Any]:
        """Return the arguments and the generator's version; that the format is nuScenes goes without saying."""
        return {name: value for name, value in super().as_json().items() if name != "format"}

    @property
    def moments(self) -> int:
        """Number of key frames of a scene."""
        return self.keyframes

    @property
    def duration_s(self) -> float:
        """Time from the first key frame to the last."""
        return (self.keyframes - 1) * KEYFRAME_US * 1e-6

    def scene_name(self, scene: int) -> str:
        """Return the official name that a scene goes by."""
        if scene < self.train_scenes:
            return _names(_TRAIN_RUNS)[scene]
        return _names(_VAL_RUNS)[scene - self.train_scenes]

    def start_us(self, scene: int) -> int:
        """Return the timestamp of a scene's first key frame."""
        return FIRST_TIMESTAMP_US + scene * SCENE_GAP_US

    def sweep_steps(self, keyframe: int) -> tuple[int, ...]:
        """Return the camera frames recorded with a key frame, counted from it at 12 Hz; 0 is the key frame."""
        if self.sweeps == "near":
            return (-1, 0, 1)
        between = (0, 1) if keyframe == self.keyframes - 1 else (0, 1, 2, 3, 4, 5)
        return (-1, *between) if keyframe == 0 else between

    def offset_us(self, keyframe: int, step: int = 0) -> int:
        """Return the time of a camera frame since the scene's first key frame."""
        return keyframe * KEYFRAME_US + round(step * 1_000_000 / CAMERA_HZ)


def _names(runs: tuple[tuple[int, int], ...]) -> list[str]:
    return [f"scene-{number:04d}" for first, last in runs for number in range(first, last + 1)]
