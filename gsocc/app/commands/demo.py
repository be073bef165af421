"""`gsocc demo`: the whole way, on a synthetic world."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Dataset(StrEnum):
    """What `gsocc demo --dataset` takes."""

    nuscenes = "nuscenes"
    ddad = "ddad"


def demo(
    dataset: Annotated[Dataset, typer.Option(help="Format and rig of the synthetic world.")] = Dataset.nuscenes,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the report and the runs; runs/demo or runs/demo_ddad.")
    ] = None,
    world: Annotated[
        Path | None,
        typer.Option(help="Folder of the world, reused when complete; data/demo_world or data/demo_ddad_world."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps of each system of stage 2.", min=1)] = None,
    stage1_steps: Annotated[int | None, typer.Option(help="Training steps of each run of stage 1.", min=1)] = None,
    scenes: Annotated[int | None, typer.Option(help="Scenes of the world; 18, or 44 of DDAD.", min=2)] = None,
    val_scenes: Annotated[int | None, typer.Option(help="Held-out scenes among them; 3, or 4 of DDAD.", min=1)] = None,
    keyframes: Annotated[int | None, typer.Option(help="Key frames per scene; 12, or 5 at 10 Hz.", min=3)] = None,
) -> None:
    """Write a synthetic world, train both stages, evaluate, and write a report with pictures.

    Stage 1 learns depth and ego motion from images and calibration; stage 2 learns occupancy with that motion and, for
    comparison, with the true one and with both renderers.
    """
    from dataclasses import replace

    from rich.console import Console

    from gsocc.app.demo import run_demo
    from gsocc.app.demo_datasets import DATASETS

    what = DATASETS[dataset.value]
    plan = replace(
        what.plan,
        scenes=scenes or what.plan.scenes,
        val_scenes=val_scenes or what.plan.val_scenes,
        keyframes=keyframes or what.plan.keyframes,
        steps=steps,
        stage1_steps=stage1_steps,
    )
    console = Console(width=None if sys.stdout.isatty() else 140)
    run_demo(out or what.out, world or what.world, plan, console, what)
