"""``python -m occ_stage``: the commands of stage 2, for torchrun."""

import sys

import typer

from gsocc.errors import run_reporting_errors
from occ_stage import cli

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.command("train")(cli.train)
app.command("eval")(cli.evaluate)
app.command("eval-ddad")(cli.evaluate_ddad)
app.command("predict")(cli.predict)

if __name__ == "__main__":
    sys.exit(run_reporting_errors(app))
