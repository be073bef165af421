"""Commands of stage 1; ``gsocc`` offers the same ones. Heavy imports happen inside, so that help stays quick."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

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


class Split(StrEnum):
    """What `gsocc predict pose --split` takes."""

    train = "train"
    val = "val"
    all = "all"

    @property
    def names(self) -> tuple[Literal["train", "val"], ...]:
        """The splits that are meant."""
        if self is Split.all:
            return ("train", "val")
        return ("train",) if self is Split.train else ("val",)


def train(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    out: RunFolder = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
) -> None:
    """Train depth and ego motion from images and calibration alone (stage 1)."""
    from pose_stage.config import PoseRunConfig

    policy = policy_of(resume, overwrite)
    run = resolve_run(PoseRunConfig, config, overrides, print_config)
    if run is not None:
        from pose_stage.train import train as train_run

        train_run(run, out or Path("runs") / run.name, policy)


def evaluate(
    checkpoint: Checkpoint,
    overrides: Overrides = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json and pictures; default <run>/eval.")] = None,
    baselines: Annotated[bool, typer.Option(help="Score the untrained network on the same frames too.")] = True,
) -> None:
    """Score the motion and depth of a stage-1 run on the validation split of its data, which must hold the truth."""
    from rich.console import Console

    from gsocc.engine import is_main_process
    from pose_stage.evaluate import evaluate_checkpoint
    from pose_stage.tables import score_table

    results = evaluate_checkpoint(checkpoint, overrides, out, with_baselines=baselines)
    if is_main_process():
        Console().print(score_table(checkpoint.name, results))


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint folder in it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Motion file (.npz) to write.")],
    overrides: Overrides = [],  # noqa: B006
    split: Annotated[Split, typer.Option(help="Which key frames: train, val or all.")] = Split.all,
) -> None:
    """Write how the vehicle moved around every key frame, for `pose.source: file` of stage 2; needs no truth."""
    from rich.console import Console

    from pose_stage.predict import predict_motions

    motions = predict_motions(checkpoint, out, overrides, split.names)
    summary = f"{out}: motions of {len(motions.tokens)} key frames by {motions.identity}"
    Console().print(summary, markup=False, highlight=False, soft_wrap=True)
