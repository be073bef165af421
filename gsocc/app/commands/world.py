"""`gsocc world`: write a synthetic world with exact truth in the format of a real data set."""

from pathlib import Path
from typing import Annotated

import typer

from gsocc.app.commands.sizes import parse_size


def nuscenes(
    out: Annotated[Path, typer.Argument(help="Folder to write; new, empty, or holding the same world.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes, validation scenes included.")] = 6,
    keyframes: Annotated[int, typer.Option(help="Key frames of each scene, at 2 Hz.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of everything; equal arguments give equal bytes.")] = 0,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Size of the images.")] = "225x400",
    val_scenes: Annotated[int, typer.Option(help="How many of the scenes are validation scenes.")] = 1,
    preset: Annotated[str, typer.Option(help="full, or moderate: eight classes, nothing above the grid.")] = "full",
    sweeps: Annotated[str, typer.Option(help="Camera sweeps: near (one before, one after) or all (12 Hz).")] = "near",
    lidar_noise: Annotated[float, typer.Option(help="Standard deviation of the LiDAR's range, in metres.")] = 0.0,
    exact: Annotated[bool, typer.Option("--exact", help="Also write exact dense depth and classes.")] = False,
    version: Annotated[str, typer.Option(help="Name of the folder of tables.")] = "v1.0-trainval",
    workers: Annotated[int | None, typer.Option(help="Number of processes; default: one per core.")] = None,
) -> None:
    """Write a synthetic world as a nuScenes root with Occ3D, 2-D semantic and depth labels."""
    from gsocc.datasets.world import write_nuscenes_world

    root = write_nuscenes_world(
        out,
        scenes=scenes,
        keyframes=keyframes,
        seed=seed,
        image_size=parse_size(image_size),
        preset=preset,
        val_scenes=val_scenes,
        sweeps=sweeps,
        lidar_noise_m=lidar_noise,
        exact=exact,
        version=version,
        workers=workers,
    )
    typer.echo(f"wrote {root}: {scenes} scenes of {keyframes} key frames, {val_scenes} of them for validation")


def ddad(
    out: Annotated[Path, typer.Argument(help="Folder to write; new, empty, or holding the same world.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes, validation scenes included.")] = 6,
    frames: Annotated[int, typer.Option(help="Samples of each scene, at 10 Hz.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of everything; equal arguments give equal bytes.")] = 0,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Size of the images, at most 1216x1936.")] = "304x484",
    val_scenes: Annotated[int, typer.Option(help="How many of the scenes are validation scenes.")] = 1,
    preset: Annotated[str, typer.Option(help="full, or moderate: eight classes, nothing above 5.4 m.")] = "full",
    lidar_noise: Annotated[float, typer.Option(help="Standard deviation of the LiDAR's range, in metres.")] = 0.0,
    image_format: Annotated[str, typer.Option(help="png, which DDAD has, or jpg.")] = "png",
    exact: Annotated[bool, typer.Option("--exact", help="Also write exact depth, classes and occupancy.")] = False,
    workers: Annotated[int | None, typer.Option(help="Number of processes; default: one per core.")] = None,
) -> None:
    """Write a synthetic world in DDAD's format with 2-D semantic labels and exact self-occlusion masks."""
    from gsocc.datasets.world import write_ddad_world

    root = write_ddad_world(
        out,
        scenes=scenes,
        frames=frames,
        seed=seed,
        image_size=parse_size(image_size),
        preset=preset,
        val_scenes=val_scenes,
        lidar_noise_m=lidar_noise,
        image_format=image_format,
        exact=exact,
        workers=workers,
    )
    typer.echo(f"wrote {root}: {scenes} scenes of {frames} samples, {val_scenes} of them for validation")


def rig(
    out: Annotated[Path, typer.Argument(help="Folder to write; new, empty, or holding the same world.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes, validation scenes included.")] = 6,
    frames: Annotated[int, typer.Option(help="Moments of each scene, at 10 Hz.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of everything; equal arguments give equal bytes.")] = 0,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Size of the front camera's images.")] = "192x320",
    val_scenes: Annotated[int, typer.Option(help="How many of the scenes are validation scenes.")] = 1,
    preset: Annotated[str, typer.Option(help="moderate: eight classes, nothing above 5.4 m; or full.")] = "moderate",
    lidar_noise: Annotated[float, typer.Option(help="Standard deviation of the LiDAR's range, in metres.")] = 0.0,
    poses: Annotated[bool, typer.Option(help="Write ego poses, which evaluation reads.")] = True,
    exact: Annotated[bool, typer.Option("--exact", help="Also write exact occupancy.")] = False,
    workers: Annotated[int | None, typer.Option(help="Number of processes; default: one per core.")] = None,
) -> None:
    """Write a synthetic world as a plain folder of images of four unequal cameras, with its rig file."""
    from gsocc.datasets.world import write_rig_world

    root = write_rig_world(
        out,
        scenes=scenes,
        frames=frames,
        seed=seed,
        image_size=parse_size(image_size),
        preset=preset,
        val_scenes=val_scenes,
        lidar_noise_m=lidar_noise,
        poses=poses,
        exact=exact,
        workers=workers,
    )
    typer.echo(f"wrote {root}: {scenes} scenes of {frames} moments, {val_scenes} of them for validation")
