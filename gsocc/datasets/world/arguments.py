"""What the specifications of worlds have in common, whatever format a world is written in."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from gsocc.errors import UserError

PRESETS = ("full", "moderate")
Arguments = TypeVar("Arguments", bound="WorldArguments")


@dataclass(frozen=True, kw_only=True)
class WorldArguments(ABC):
    """Base of the specifications of worlds.

    Each lists all of its arguments itself, in the order of `world.json`.

    Attributes:
        format: Name of the format.
        generator_version: Goes up with every change that alters a file of this format.
        seed_streams: What keeps the seeds of training and of validation scenes apart, here and among the formats.
    """

    format: ClassVar[str]
    generator_version: ClassVar[int]
    seed_streams: ClassVar[tuple[int, int]]

    if TYPE_CHECKING:  # what all of them have; as fields of a base these would come first in `world.json`
        scenes: int
        seed: int
        image_size: tuple[int, int]
        preset: str
        val_scenes: int
        lidar_noise_m: float

    def as_json(self) -> dict[str, Any]:
        """Return the arguments and the generator's version, as `world.json` holds them."""
        arguments = asdict(self)
        arguments["image_size"] = list(self.image_size)
        return {"format": self.format, "generator_version": self.generator_version, **arguments}

    @classmethod
    def from_json(cls: type[Arguments], value: dict[str, Any]) -> Arguments:
        """Read what `as_json` returns."""
        arguments = {k: v for k, v in value.items() if k not in ("format", "generator_version")}
        return cls(**{**arguments, "image_size": tuple(arguments["image_size"])})

    @property
    @abstractmethod
    def moments(self) -> int:
        """Number of moments of a scene at which something is recorded."""

    @property
    def train_scenes(self) -> int:
        """Number of training scenes; they come first."""
        return self.scenes - self.val_scenes

    def scene_seed(self, scene: int) -> list[int]:
        """Return the seed of a scene; it does not depend on how many scenes the other split has."""
        train, val = self.seed_streams
        if scene < self.train_scenes:
            return [self.seed, train, scene]
        return [self.seed, val, scene - self.train_scenes]

    def check(self) -> None:
        """Refuse values that no world can have, whatever its format.

        Raises:
            UserError: Naming the argument, what was expected and what came.
        """
        at_least("scenes", self.scenes, 1)
        at_least("seed", self.seed, 0)
        at_least("val_scenes", self.val_scenes, 0)
        if self.preset not in PRESETS:
            raise UserError(f"world: preset: expected one of {', '.join(PRESETS)}, got {self.preset!r}")
        if len(self.image_size) != 2 or min(self.image_size) < 16:
            raise UserError(f"world: image_size: expected HxW of at least 16x16, got {self.image_size}")
        if not 0.0 <= self.lidar_noise_m < 1.0:
            raise UserError(f"world: lidar_noise_m: expected 0 to 1 m, got {self.lidar_noise_m}")
        if self.val_scenes > self.scenes:
            raise UserError(f"world: val_scenes is {self.val_scenes}, more than the {self.scenes} scenes in all")


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        UserError: Where it is.
    """
    if value < least:
        raise UserError(f"world: {name}: expected at least {least}, got {value}")
