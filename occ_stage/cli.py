"""Commands of stage 2; ``gsocc`` offers the same ones. Heavy imports happen inside, so that help stays quick."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gsocc.command_line import (
    Checkpoint,
    ConfigFile,
    Overrides,
    Overwrite,
    PrintConfig,
    Resume,
    RunFolder,
    policy_of,
    resolve_run,
)

if TYPE_CHECKING:
    from rich.console import Console

    from occ_stage.evaluate import Evaluation

MetricsFolder = Annotated[Path | None, typer.Option(help="Folder for metrics.json; default <run>/eval.")]
PredictionsFolder = Annotated[Path | None, typer.Option(help="Also write a prediction file per key frame here.")]
Baselines = Annotated[bool, typer.Option(help="Score the trivial predictors on the same frames too.")]
Protocols = Annotated[
    str | None, typer.Option(help="Protocols to score in one pass, separated by commas; see docs/metrics.md.")
]


def train(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    out: RunFolder = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
) -> None:
    """Train an occupancy network by rendering it (stage 2)."""
    from occ_stage.config import OccConfig

    policy = policy_of(resume, overwrite)
    run = resolve_run(OccConfig, config, overrides, print_config)
    if run is not None:
        from occ_stage.train import train as train_run

        train_run(run, out or Path("runs") / run.name, policy)


def evaluate(
    checkpoint: Checkpoint,
    overrides: Overrides = [],  # noqa: B006
    out: MetricsFolder = None,
    predictions: PredictionsFolder = None,
    baselines: Baselines = True,
    protocol: Protocols = None,
) -> None:
    """Score a stage-2 run on nuScenes: the validation split of its data."""
    _require_dataset(checkpoint, overrides, "nuscenes")
    _score(checkpoint, overrides, out, predictions, baselines, protocol)


def _score(
    checkpoint: Path,
    overrides: Sequence[str],
    out: Path | None,
    predictions: Path | None,
    baselines: bool,
    protocol: str | None,
) -> "Evaluation":
    """Score a run and print the table of its scores."""
    from gsocc.engine import is_main_process
    from gsocc.metrics.protocols import parse_protocols, protocol_lines
    from occ_stage.evaluate import evaluate_checkpoint
    from occ_stage.tables import score_table

    protocols = None if protocol is None else parse_protocols(protocol)
    result, scored = evaluate_checkpoint(
        checkpoint, overrides, out, predictions, with_baselines=baselines, protocols=protocols
    )
    if is_main_process():
        console = _console()
        console.print(score_table(checkpoint.name, result, scored))
        console.print(protocol_lines(result.protocols), markup=False, highlight=False, style="dim")
    return result


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140)


def _require_dataset(checkpoint: Path, overrides: Sequence[str], wanted: str) -> None:
    """Refuse a run on another data set.

    Raises:
        UserError: Where the run reads another one.
    """
    from gsocc.errors import UserError
    from occ_stage.checkpoint import run_config

    found = run_config(checkpoint, overrides).data.dataset
    if found != wanted:
        raise UserError(f"{checkpoint}: the run reads {found}, not {wanted}; score it with gsocc eval {found}")


def evaluate_rig(
    checkpoint: Checkpoint,
    overrides: Overrides = [],  # noqa: B006
    out: MetricsFolder = None,
    predictions: PredictionsFolder = None,
    baselines: Baselines = True,
    protocol: Protocols = None,
) -> None:
    """Score a stage-2 run on a rig of your own, by what there is: LiDAR, 2-D labels, occupancy of a synthetic world."""
    _require_dataset(checkpoint, overrides, "rig")
    _score(checkpoint, overrides, out, predictions, baselines, protocol)


def evaluate_ddad(
    checkpoint: Checkpoint,
    overrides: Overrides = [],  # noqa: B006
    frames: Annotated[
        str | None,
        typer.Option(
            help="Which validation frames: split (all there are), all_3950 or unique_3802, the published lists of DDAD."
        ),
    ] = None,
    out: MetricsFolder = None,
    predictions: PredictionsFolder = None,
    baselines: Baselines = True,
    protocol: Protocols = None,
) -> None:
    """Score a stage-2 run on DDAD: depth to 200 m by camera, occupancy by LiDAR, and by truth where it exists."""
    from gsocc.engine import is_main_process

    changes = [*overrides, *([] if frames is None else [f"evaluation.frames={frames}"])]
    _require_dataset(checkpoint, changes, "ddad")
    result = _score(checkpoint, changes, out, predictions, baselines, protocol)
    if is_main_process():
        from occ_stage.tables import camera_table

        table = camera_table(result)
        if table is not None:
            _console().print(table)


def predict(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the prediction files.")],
    overrides: Overrides = [],  # noqa: B006
    threshold: Annotated[float | None, typer.Option(help="Occupancy threshold; default: the one of `eval`.")] = None,
) -> None:
    """Write the occupancy of every validation key frame as prediction files; needs no truth."""
    from occ_stage.predict import predict_checkpoint

    predict_checkpoint(checkpoint, out, overrides, threshold)
