"""`gsocc eval predictions`: score prediction files against Occ3D labels, without a model."""

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from gsocc.metrics import OccupancyScores


class MaskChoice(StrEnum):
    """Which voxels are counted."""

    camera = "camera"
    both = "camera_lidar"
    every = "none"


def predictions(
    folder: Annotated[list[Path], typer.Argument(help="Prediction files, or folders of them.")],
    gts: Annotated[Path, typer.Option(help="Folder of Occ3D labels: <scene>/<token>/labels.npz.")],
    mask: Annotated[
        MaskChoice, typer.Option(help="Voxels to count: Occ3D's camera mask, both masks, or no mask.")
    ] = MaskChoice.camera,
    ground_z: Annotated[
        float, typer.Option("--ground-z", help="Height of the ground in metres; -0.8 suits many real Occ3D scenes.")
    ] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Also write every number to this JSON file.")] = None,
) -> None:
    """Score predictions, beside trivial predictors on the same frames."""
    from rich.console import Console

    from gsocc.files import write_json
    from gsocc.structures.prediction import find_predictions

    files = find_predictions(folder)
    scores = score_predictions(files, gts, mask.value, ground_z)
    console = Console()
    console.print(_table(scores, len(files)))
    if out is not None:
        rows = {name: {**s.metrics, "ground_layers": s.ground_layers} for name, s in scores.items()}
        write_json(out, {"frames": len(files), "predictors": rows})
        console.print(f"wrote {out}", markup=False, highlight=False, soft_wrap=True)


def score_predictions(
    files: list[Path], gts: Path, mask: str = "camera", ground_z_m: float = 0.0
) -> "dict[str, OccupancyScores]":
    """Score prediction files and, on the same frames, the predictors that need no training.

    Args:
        files: Prediction files on the Occ3D lattice; at least one.
        gts: Folder of Occ3D labels.
        mask: "camera", "camera_lidar" or "none".
        ground_z_m: Where the ground lies; see `gsocc.metrics.AboveGroundMetric`.

    Returns:
        Scores by predictor, "predicted" first.

    Raises:
        DataError: Where a prediction or its label is missing or damaged, a frame occurs twice, or a prediction lies
            on another grid.
    """
    import torch

    from gsocc.datasets.occ3d import occ3d_path, read_occ3d
    from gsocc.errors import DataError
    from gsocc.metrics import OccupancySuite, all_free, all_occupied, ground_plane
    from gsocc.progress import track
    from gsocc.structures import OCC3D_GRID, OccupancyLabels
    from gsocc.structures.prediction import load_prediction

    guesses = {
        "all_free": all_free(),
        "all_occupied": all_occupied(),
        "ground_plane": ground_plane(ground_z_m=ground_z_m),
    }
    suites = {
        name: OccupancySuite(mask=mask, ground_z_m=ground_z_m)  # type: ignore[arg-type]
        for name in ("predicted", *guesses)
    }
    seen: dict[str, Path] = {}
    for path in track(files, label="scoring", unit="frames"):
        prediction = load_prediction(path)
        if prediction.grid != OCC3D_GRID:
            raise DataError(f"{path}: lies on {prediction.grid}, not on the Occ3D lattice {OCC3D_GRID}")
        if prediction.token in seen:
            raise DataError(f"{path}: is a second prediction of frame {prediction.token}, see {seen[prediction.token]}")
        seen[prediction.token] = path
        read = read_occ3d(occ3d_path(gts, prediction.scene, prediction.token))
        labels = OccupancyLabels(read.semantics[None], read.mask_camera[None], read.mask_lidar[None])
        semantics = torch.from_numpy(prediction.semantics)[None]
        occupancy = (
            (semantics != 17).float() if prediction.occupancy is None else torch.from_numpy(prediction.occupancy)[None]
        )
        suites["predicted"].update(semantics, occupancy, labels)
        for name, guess in guesses.items():
            suites[name].update(*guess.batch(1), labels)
    return {name: suite.compute() for name, suite in suites.items()}


def _table(scores: "dict[str, OccupancyScores]", frames: int) -> "Table":
    from rich.table import Table

    from gsocc.app.report import format_number
    from gsocc.metrics.names import split_name

    table = Table(title=f"{frames} key frame{'s' if frames > 1 else ''}", title_justify="left")
    table.add_column("protocol and metric", no_wrap=True)
    for name in scores:
        style = "bold" if name == "predicted" else "dim"
        table.add_column(name.replace("_", " "), justify="right", style=style, min_width=max(map(len, name.split("_"))))
    by_protocol: dict[str, list[str]] = {}
    for name in scores["predicted"].metrics:
        by_protocol.setdefault(split_name(name)[0], []).append(name)
    for protocol, names in by_protocol.items():
        table.add_section()
        table.add_row(f"{protocol}:", style="not dim bold")
        for name in names:
            values = [s.metrics[name] for s in scores.values()]
            if not all(math.isnan(value) for value in values):  # NaN everywhere: a class that no frame holds
                table.add_row(f"  {split_name(name)[1]}", *(format_number(value, 4) for value in values))
    table.add_section()
    table.add_row("occupancy in ground columns:", style="not dim bold")
    for number, layer in enumerate(scores["predicted"].ground_layers):
        cells = [format_number(s.ground_layers[number]["occupancy"], 3) for s in scores.values()]
        table.add_row(f"  at {layer['z_m']:+.1f} m", *cells)
    return table
