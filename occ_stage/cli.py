"""Commands of stage 2; ``gsocc`` offers the same ones. Heavy imports happen inside, so that help stays quick."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gsocc.errors import UserError

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="YAML file that describes the run.")]
Overrides = Annotated[list[str], typer.Option("--set", help="Change a key, for example train.steps=100; repeatable.")]
Checkpoint = Annotated[Path, typer.Argument(help="A run directory, or one checkpoint folder in it.")]


def train(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/<name of the run>.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the run directory.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that the directory holds.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the resolved run and stop.")] = False,
) -> None:
    """Train an occupancy network by rendering it (stage 2)."""
    from gsocc.config import load_config, to_yaml
    from occ_stage.config import OccConfig

    run = load_config(config, OccConfig, overrides)
    if print_config:
        typer.echo(to_yaml(run), nl=False)
        return
    from occ_stage.train import train as train_run

    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other")
    policy: Literal["new", "resume", "overwrite"] = "resume" if resume else "overwrite" if overwrite else "new"
    train_run(run, out or Path("runs") / run.name, policy)


def evaluate(
    checkpoint: Checkpoint,
    overrides: Overrides = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json; default <run>/eval.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Also write a prediction file per key frame here.")] = None,
    baselines: Annotated[bool, typer.Option(help="Score the trivial predictors on the same frames too.")] = True,
    protocol: Annotated[
        str | None, typer.Option(help="Protocols to score in one pass, separated by commas; see docs/metrics.md.")
    ] = None,
) -> None:
    """Score a trained stage-2 run on the validation split of its data."""
    from rich.console import Console

    from gsocc.engine import is_main_process
    from gsocc.metrics.protocols import parse_protocols, protocol_lines
    from occ_stage.evaluate import evaluate_checkpoint
    from occ_stage.tables import score_table

    protocols = None if protocol is None else parse_protocols(protocol)
    result, scored = evaluate_checkpoint(
        checkpoint, overrides, out, predictions, with_baselines=baselines, protocols=protocols
    )
    if is_main_process():
        console = Console()
        console.print(score_table(checkpoint.name, result, scored))
        console.print(protocol_lines(result.protocols), markup=False, highlight=False, style="dim")


def predict(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the prediction files.")],
    overrides: Overrides = [],  # noqa: B006
    threshold: Annotated[float | None, typer.Option(help="Occupancy threshold; default: the one of `eval`.")] = None,
) -> None:
    """Write the occupancy of every validation key frame as prediction files; needs no truth."""
    from occ_stage.predict import predict_checkpoint

    predict_checkpoint(checkpoint, out, overrides, threshold)
