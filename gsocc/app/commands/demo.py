"""`gsocc demo`: the whole way, on a synthetic world."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report and the runs.")] = Path("runs/demo"),
    world: Annotated[Path, typer.Option(help="Folder of the synthetic world; reused when complete.")] = Path(
        "data/demo_world"
    ),
    steps: Annotated[int | None, typer.Option(help="Training steps of each system of stage 2.", min=1)] = None,
    stage1_steps: Annotated[int | None, typer.Option(help="Training steps of each run of stage 1.", min=1)] = None,
    scenes: Annotated[int, typer.Option(help="Scenes of the world.", min=2)] = 18,
    val_scenes: Annotated[int, typer.Option(help="Held-out scenes among them.", min=1)] = 3,
    keyframes: Annotated[int, typer.Option(help="Key frames per scene.", min=3)] = 12,
) -> None:
    """Write a synthetic world, train both stages, evaluate, and write a report with pictures.

    Stage 1 learns depth and ego motion from images and calibration; stage 2 learns occupancy with that motion and, for
    comparison, with the true one and with both renderers.
    """
    from rich.console import Console

    from gsocc.app.demo import DemoPlan, run_demo

    plan = DemoPlan(scenes=scenes, val_scenes=val_scenes, keyframes=keyframes, steps=steps, stage1_steps=stage1_steps)
    run_demo(out, world, plan, Console(width=None if sys.stdout.isatty() else 140))
