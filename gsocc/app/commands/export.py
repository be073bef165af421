"""`gsocc export`: what a trained network says, as files for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gsocc.errors import UserError

Overrides = Annotated[list[str], typer.Option("--set", help="Change a key of the run, as data.root=...; repeatable.")]
Tokens = Annotated[list[str] | None, typer.Option("--token", help="Key frame; may be repeated.")]
Count = Annotated[int | None, typer.Option("--frames", min=1, help="So many key frames, evenly spread. [default: 1]")]
Every = Annotated[bool, typer.Option("--all", help="Every key frame of the split.")]


class AxesChoice(StrEnum):
    """What `gsocc export gaussians --axes` takes."""

    ego = "ego"
    y_down = "y-down"


class SplitChoice(StrEnum):
    """What `gsocc export --split` takes."""

    train = "train"
    val = "val"


class LatticeChoice(StrEnum):
    """What `gsocc export voxels --lattice` takes."""

    occ3d = "occ3d"
    native = "native"


class SuffixChoice(StrEnum):
    """What `gsocc export voxels --format` takes."""

    npz = "npz"
    ply = "ply"


class ShapeChoice(StrEnum):
    """What `gsocc export voxels --as` takes."""

    cubes = "cubes"
    points = "points"


def gaussians(
    run: Annotated[Path, typer.Argument(help="A stage-2 run directory, an imported one too, or a checkpoint folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .ply file, or a folder for <scene>/<token>.ply.")],
    token: Tokens = None,
    frames: Count = None,
    every: Every = False,
    split: Annotated[SplitChoice, typer.Option(help="Of the run's data.")] = SplitChoice.val,
    min_opacity: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Leave out Gaussians below; 0 keeps all, also what is free.")
    ] = 0.05,
    max_distance: Annotated[
        float | None, typer.Option(help="Leave out what is farther from the vehicle, in metres.")
    ] = None,
    sh_degree: Annotated[
        int, typer.Option(min=0, max=3, help="Room for harmonics; some viewers read 3 alone, 0 is a quarter as large.")
    ] = 3,
    axes: Annotated[
        AxesChoice, typer.Option(help="ego: x forward, z up; y-down: upright in viewers made for COLMAP's scenes.")
    ] = AxesChoice.ego,
    overrides: Overrides = [],  # noqa: B006  typer copies it
) -> None:
    """Write the Gaussians of key frames as PLY files of 3-D Gaussian splatting, coloured by class."""
    from gsocc.app.exporting import FrameChoice, SplatOptions, export_gaussians

    options = SplatOptions(
        min_opacity=min_opacity,
        max_distance_m=max_distance,
        sh_degree=sh_degree,
        axes="ego" if axes is AxesChoice.ego else "y_down",
    )
    choice = FrameChoice(tokens=token or (), count=_count(token, frames, every), split=split.value)
    for path, count in export_gaussians(run, out, choice, options, overrides):
        typer.echo(f"wrote {path}: {count} Gaussians")


def voxels(
    source: Annotated[
        Path, typer.Argument(help="A stage-2 run or checkpoint folder; or a prediction file, or a folder of them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .npz or .ply file, or a folder for <scene>/<token>.*.")],
    token: Tokens = None,
    frames: Count = None,
    every: Every = False,
    split: Annotated[SplitChoice, typer.Option(help="Of the run's data.")] = SplitChoice.val,
    file_format: Annotated[SuffixChoice, typer.Option("--format", help="Of the files in a folder.")] = SuffixChoice.npz,
    shape: Annotated[
        ShapeChoice, typer.Option("--as", help="Of .ply: cubes (their outer faces), or points with labels.")
    ] = ShapeChoice.cubes,
    lattice: Annotated[
        LatticeChoice, typer.Option(help="The lattice that evaluation reads, or the network's own voxels.")
    ] = LatticeChoice.occ3d,
    threshold: Annotated[float | None, typer.Option(help="Occupancy threshold; default: the one of `eval`.")] = None,
    max_distance: Annotated[
        float | None, typer.Option(help="Of .ply: leave out what is farther from the vehicle, in metres.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Write predicted voxels as npz files with everything to place and name them, or as coloured PLY."""
    from gsocc.app.exporting import FrameChoice, export_voxels, is_run, voxels_of_predictions, voxels_of_run

    suffix = f".{file_format.value}"
    if is_run(source):
        choice = FrameChoice(tokens=token or (), count=_count(token, frames, every), split=split.value)
        chosen = voxels_of_run(
            source,
            out,
            choice,
            suffix=suffix,
            lattice=lattice.value,
            threshold=threshold,
            overrides=overrides,
        )
    else:
        _refuse_for_files(
            {"--token": token, "--frames": frames, "--threshold": threshold, "--set": overrides, "--all": every}
        )
        chosen = voxels_of_predictions([source], out, suffix)
    for path, count in export_voxels(chosen, shape.value, max_distance):
        typer.echo(f"wrote {path}: {count} occupied voxels")


def _count(token: list[str] | None, frames: int | None, every: bool) -> int | None:
    if sum((bool(token), frames is not None, every)) > 1:
        raise UserError("--token, --frames and --all exclude each other")
    return None if every else frames or 1


def _refuse_for_files(options: dict[str, object]) -> None:
    given = [flag for flag, value in options.items() if value]
    if given:
        raise UserError(f"{', '.join(given)}: prediction files are written as they are; name single files to choose")
