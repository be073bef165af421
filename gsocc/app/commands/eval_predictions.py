"""`gsocc eval predictions`: score prediction files against Occ3D labels, without a model."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gsocc.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from gsocc.app.score_files import LabelFolder
    from gsocc.datasets.index import SurroundIndex
    from gsocc.metrics import OccupancyScores


def predictions(
    folder: Annotated[
        list[Path],
        typer.Argument(help="Prediction files or folders: ours, or <sample token>.npz with pred (200, 200, 16)."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", "--gts", help="Folder of Occ3D labels: <scene>/<token>/labels.npz; not for label-free scores."
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocols to score in one pass, separated by commas; see docs/metrics.md.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Root of the data set, for poses and scans; default: the parent of the labels.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Its index; default: the one below the root.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Key frames that have to be there; default: the split that holds the files.")
    ] = None,
    tokens: Annotated[Path | None, typer.Option(help="File with one key-frame token per line, instead.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Score what is there though frames are missing.")] = False,
    ground_z: Annotated[
        float, typer.Option("--ground-z", help="Height of the ground in metres; -0.8 suits many real Occ3D scenes.")
    ] = 0.0,
    baselines: Annotated[bool, typer.Option(help="Score the trivial predictors on the same frames too.")] = True,
    out: Annotated[Path | None, typer.Option(help="Also write every number to this JSON file.")] = None,
) -> None:
    """Score prediction files of this or another system, beside trivial predictors on the same frames."""
    from rich.console import Console

    from gsocc.app.score_files import (
        by_token,
        check_frames,
        expected_frames,
        find_poses,
        score_files,
    )
    from gsocc.datasets.index import read_token_list
    from gsocc.datasets.key_frames import KeyFrameReader
    from gsocc.files import write_json
    from gsocc.metrics.protocols import PROTOCOLS, protocol_lines
    from gsocc.structures.prediction import find_predictions

    console = Console(width=None if sys.stdout.isatty() else 140)
    poses = find_poses(labels, data, index)
    names, left_out = choose_protocols(protocol, has_poses=poses is not None)
    truth = _labels(labels, poses, names)
    files = by_token(find_predictions(folder))
    wanted = read_token_list(tokens) if tokens else None
    check_frames(files, expected_frames(files, truth, poses[0] if poses else None, split, wanted), partial=partial)
    reader = KeyFrameReader(*poses) if poses else None
    scores = score_files(files, truth, names, reader=reader, ground_z_m=ground_z, with_baselines=baselines)
    console.print(_table(scores, len(files)))
    console.print(protocol_lines(names), markup=False, highlight=False, style="dim")
    if left_out:
        console.print(
            f"not scored: {', '.join(left_out)}: no index beside the labels gives the poses; give --data or --index",
            markup=False,
            highlight=False,
        )
    if out is not None:
        record = {
            "frames": len(files),
            "protocols": {name: PROTOCOLS[name].description for name in names},
            "predictors": {name: {**s.metrics, "ground_layers": s.ground_layers} for name, s in scores.items()},
        }
        write_json(out, record)
        console.print(f"wrote {out}", markup=False, highlight=False, soft_wrap=True)


def _labels(folder: Path | None, poses: "tuple[SurroundIndex, Path] | None", protocols: Sequence[str]) -> "LabelFolder":
    """Return the labels that were named, or else the key frames of the index, where no protocol reads labels."""
    from gsocc.app.score_files import LabelFolder
    from gsocc.metrics.suite import needs_of

    if folder is not None:
        return LabelFolder.find(folder)
    if "labels" in needs_of(protocols) or poses is None:
        raise UserError("--labels: expected the folder of Occ3D labels; only scores without labels can do with --data")
    return LabelFolder.of_index(*poses)


def choose_protocols(asked: str | None, *, has_poses: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the protocols to score, and those of the default that cannot be for want of poses.

    Raises:
        UserError: Where one was asked for that prediction files cannot answer.
    """
    from gsocc.metrics.protocols import FILES, parse_protocols
    from gsocc.metrics.suite import needs_of

    names = FILES if asked is None else parse_protocols(asked)
    rendered = [name for name in names if needs_of([name]) & {"rendered_depth", "rendered_labels"}]
    if rendered:
        raise UserError(
            f"--protocol: {', '.join(rendered)} scores rendered images, which prediction files of other systems do not "
            "hold; score a run with gsocc eval nuscenes"
        )
    posed = tuple(name for name in names if needs_of([name]) & {"key_frames", "scans", "sequence"})
    if has_poses or not posed:
        return names, ()
    if asked is not None:
        raise UserError(
            f"--protocol: {', '.join(posed)} needs the poses of the key frames, and there is no index beside the "
            "labels; build one with gsocc index nuscenes ROOT and give --data ROOT"
        )
    return tuple(name for name in names if name not in posed), posed


def _table(scores: "dict[str, OccupancyScores]", frames: int) -> "Table":
    from rich.table import Table

    from gsocc.app.report import format_number
    from gsocc.metrics.names import split_name

    table = Table(title=f"{frames} key frame{'s' if frames > 1 else ''}", title_justify="left")
    table.add_column("protocol:metric", no_wrap=True)
    for name in scores:
        style = "bold" if name == "predicted" else "dim"
        table.add_column(
            name.replace("_", " "), justify="right", style=style, min_width=max(6, *map(len, name.split("_")))
        )
    section = ""
    for name in scores["predicted"].metrics:
        values = [s.metrics[name] for s in scores.values()]
        protocol, _ = split_name(name)
        if "rayiou" in name and "/" in split_name(name)[1]:
            continue  # a hundred rows; they are in the file
        if not all(math.isnan(value) for value in values):  # NaN everywhere: a class that no frame holds
            if protocol != section:
                table.add_section()
            section = protocol
            table.add_row(name, *(format_number(value, 4) for value in values))
    _add_layers(table, scores)
    return table


def _add_layers(table: "Table", scores: "dict[str, OccupancyScores]") -> None:
    from gsocc.app.report import format_number

    layers: Sequence[dict[str, float]] = scores["predicted"].ground_layers
    if layers:
        table.add_section()
        table.add_row("occupancy in ground columns:", style="not dim bold")
    for number, layer in enumerate(layers):
        cells = [format_number(s.ground_layers[number]["occupancy"], 3) for s in scores.values()]
        table.add_row(f"  at {layer['z_m']:+.1f} m", *cells)
