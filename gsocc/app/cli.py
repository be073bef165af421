"""The `gsocc` command: verbs, then nouns. Only Typer is imported here; each command imports what it needs."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gsocc import __version__
from gsocc.app.commands import (
    bench,
    bench_label_free,
    bench_reader,
    demo,
    doctor,
    export,
    import_,
    index,
    label,
    label_semantics,
    predict,
    train,
    view,
    world,
)
from gsocc.app.commands import eval as eval_  # named after its verb
from gsocc.errors import run_reporting_errors

app = typer.Typer(
    name="gsocc",
    help="Gaussian-splatting-first 3-D occupancy from surround cameras, without 3-D labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_GROUPS: dict[str, tuple[str, dict[str, Callable[..., Any]]]] = {
    "doctor": (
        "Say what a machine or a data set lacks.",
        {"env": doctor.env, "nuscenes": doctor.nuscenes, "ddad": doctor.ddad, "rig": doctor.rig},
    ),
    "world": (
        "Write a synthetic world in a data set's own format.",
        {"nuscenes": world.nuscenes, "ddad": world.ddad, "rig": world.rig},
    ),
    "index": (
        "Build what training reads instead of a data set's tables.",
        {"nuscenes": index.nuscenes, "ddad": index.ddad, "rig": index.rig},
    ),
    "label": (
        "Make from the raw data what a data set does not ship.",
        {"masks": label.masks, "depth": label.depth, "semantics": label_semantics.semantics},
    ),
    "import": (
        "Read published checkpoints of other systems.",
        {"gaussianocc": import_.gaussianocc, "occnerf": import_.occnerf},
    ),
    "train": ("Train a stage.", {"pose": train.pose, "occ": train.occ}),
    "eval": (
        "Score a trained network, or its prediction files.",
        {
            "nuscenes": eval_.nuscenes,
            "ddad": eval_.ddad,
            "rig": eval_.rig,
            "predictions": eval_.predictions,
            "pose": eval_.pose,
        },
    ),
    "predict": ("Write prediction files.", {"occ": predict.occ, "pose": predict.pose}),
    "export": (
        "Write Gaussians and voxels for other programs.",
        {"gaussians": export.gaussians, "voxels": export.voxels},
    ),
    "view": ("Look at predictions, or at a rig.", {"occ": view.occ, "overlap": view.overlap}),
    "bench": (
        "Measure, on this machine, what the documentation claims.",
        {
            "render": bench.render,
            "train": bench.train,
            "stage1": bench.stage1,
            "occ": bench.occ,
            "eval": bench.evaluation,
            "differences": bench.differences,
            "label-free": bench_label_free.label_free,
            "reader": bench_reader.reader,
        },
    ),
}

app.command("demo")(demo.demo)
for _verb, (_help, _nouns) in _GROUPS.items():
    _group = typer.Typer(help=_help, no_args_is_help=True)
    for _noun, _function in _nouns.items():
        _group.command(_noun)(_function)
    app.add_typer(_group, name=_verb)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"gsocc {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors (also GSOCC_DEBUG=1).")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if debug:
        os.environ["GSOCC_DEBUG"] = "1"


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run_reporting_errors(app))
