"""Commands of stage 1; ``gsocc`` offers the same ones. Heavy imports happen inside, so that help stays quick."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gsocc.errors import UserError

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="YAML file that describes the run.")]
Overrides = Annotated[list[str], typer.Option("--set", help="Change a key, as training.steps=100; repeatable.")]


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
    """Train depth and ego motion from images and calibration alone (stage 1)."""
    from gsocc.config import load_config, to_yaml
    from pose_stage.config import PoseRunConfig

    run = load_config(config, PoseRunConfig, overrides)
    if print_config:
        typer.echo(to_yaml(run), nl=False)
        return
    from pose_stage.train import train as train_run

    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other")
    policy: Literal["new", "resume", "overwrite"] = "resume" if resume else "overwrite" if overwrite else "new"
    train_run(run, out or Path("runs") / run.name, policy)
