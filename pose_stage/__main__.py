"""``python -m pose_stage``: the commands of stage 1, for torchrun."""

import sys

import typer

from gsocc.errors import run_reporting_errors
from pose_stage.cli import evaluate, predict, train

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)

app.command("train")(train)
app.command("eval")(evaluate)
app.command("predict")(predict)

if __name__ == "__main__":
    sys.exit(run_reporting_errors(app))
