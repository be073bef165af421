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
