"""A synthetic world with exact truth, written in the formats of the real data sets."""

from pathlib import Path

from gsocc.datasets.world.arguments import PRESETS
from gsocc.datasets.world.ddad_spec import DdadSpec
from gsocc.datasets.world.rig_spec import RigSpec
from gsocc.datasets.world.spec import SWEEPS, WorldSpec
from gsocc.datasets.world.writer import write_world

__all__ = [
    "PRESETS",
    "SWEEPS",
    "DdadSpec",
    "RigSpec",
    "WorldSpec",
    "write_ddad_world",
    "write_nuscenes_world",
    "write_rig_world",
]


def write_nuscenes_world(
    out: Path | str,
    *,
    scenes: int,
    keyframes: int,
    seed: int,
    image_size: tuple[int, int],
    preset: str = "full",
    val_scenes: int = 1,
    sweeps: str = "near",
    lidar_noise_m: float = 0.0,
    exact: bool = False,
    version: str = "v1.0-trainval",
    workers: int | None = None,
) -> Path:
    """Write a synthetic world as a nuScenes root, with Occ3D, 2-D semantic and depth labels beside it.

    Equal arguments give equal files, byte for byte. A complete world of the same arguments is kept as it is; an
    interrupted one is resumed.

    Args:
        out: Folder to write; new, empty, or one that holds the same world.
        scenes: Number of scenes, validation scenes included.
        keyframes: Key frames of each scene, at 2 Hz.
        seed: Seed of everything.
        image_size: H, W.
        preset: "full": every class that self-supervised systems are scored on; "moderate": eight classes and
            nothing above the Occ3D grid.
        val_scenes: How many of the scenes carry official validation names.
        sweeps: "near": one camera sweep before and one after each key frame; "all": five between key frames.
        lidar_noise_m: Standard deviation of the LiDAR's range error.
        exact: Also write exact dense depth, classes and objects of the key frames' images, in `truth/`.
        version: Name of the folder of tables.
        workers: Number of processes; as many as there are cores where it is not given.

    Returns:
        The folder.

    Raises:
        UserError: Where an argument is out of range.
        OutputError: Where the folder holds something else, or cannot be written to.
        MissingExtraError: Where open3d is missing.
    """
    spec = WorldSpec(
        scenes=scenes, keyframes=keyframes, seed=seed, image_size=image_size, preset=preset, val_scenes=val_scenes,
        sweeps=sweeps, lidar_noise_m=lidar_noise_m, exact=exact, version=version,
    )  # fmt: skip
    return write_world(spec, Path(out), workers)


def write_ddad_world(
    out: Path | str,
    *,
    scenes: int,
    frames: int,
    seed: int,
    image_size: tuple[int, int],
    preset: str = "full",
    val_scenes: int = 1,
    lidar_noise_m: float = 0.0,
    image_format: str = "png",
    exact: bool = False,
    workers: int | None = None,
) -> Path:
    """Write a synthetic world in DDAD's format, with 2-D semantic labels and exact self-occlusion masks beside it.

    Equal arguments give equal files, byte for byte. A complete world of the same arguments is kept as it is; an
    interrupted one is resumed.

    Args:
        out: Folder to write; new, empty, or one that holds the same world.
        scenes: Number of scenes, validation scenes included.
        frames: Samples of each scene, at 10 Hz.
        seed: Seed of everything.
        image_size: H, W; at most DDAD's own 1216, 1936.
        preset: "full" or "moderate".
        val_scenes: How many of the scenes are in the split `val`.
        lidar_noise_m: Standard deviation of the LiDAR's range error.
        image_format: "png", which DDAD has, or "jpg".
        exact: Also write exact dense depth, classes and objects of the images, and occupancy, in `truth/`.
        workers: Number of processes; as many as there are cores where it is not given.

    Returns:
        The folder.

    Raises:
        UserError: Where an argument is out of range.
        OutputError: Where the folder holds something else, or cannot be written to.
        MissingExtraError: Where open3d is missing.
    """
    spec = DdadSpec(
        scenes=scenes, frames=frames, seed=seed, image_size=image_size, preset=preset, val_scenes=val_scenes,
        lidar_noise_m=lidar_noise_m, image_format=image_format, exact=exact,
    )  # fmt: skip
    return write_world(spec, Path(out), workers)


def write_rig_world(
    out: Path | str,
    *,
    scenes: int,
    frames: int,
    seed: int,
    image_size: tuple[int, int],
    preset: str = "moderate",
    val_scenes: int = 1,
    lidar_noise_m: float = 0.0,
    poses: bool = True,
    exact: bool = False,
    workers: int | None = None,
) -> Path:
    """Write a synthetic world as a folder of images of four unequal cameras, with a rig file, scans and 2-D labels.

    Equal arguments give equal files, byte for byte. A complete world of the same arguments is kept as it is; an
    interrupted one is resumed.

    Args:
        out: Folder to write; new, empty, or one that holds the same world.
        scenes: Number of scenes, validation scenes included.
        frames: Moments of each scene, at 10 Hz.
        seed: Seed of everything.
        image_size: H, W of the front camera; the rear one's are smaller.
        preset: "full" or "moderate".
        val_scenes: How many of the scenes are in the split `val`.
        lidar_noise_m: Standard deviation of the LiDAR's range error.
        poses: Also write ego poses, which evaluation reads.
        exact: Also write occupancy, in `truth/`.
        workers: Number of processes; as many as there are cores where it is not given.

    Returns:
        The folder.

    Raises:
        UserError: Where an argument is out of range.
        OutputError: Where the folder holds something else, or cannot be written to.
        MissingExtraError: Where open3d is missing.
    """
    spec = RigSpec(
        scenes=scenes, frames=frames, seed=seed, image_size=image_size, preset=preset, val_scenes=val_scenes,
        lidar_noise_m=lidar_noise_m, poses=poses, exact=exact,
    )  # fmt: skip
    return write_world(spec, Path(out), workers)
