"""Scores on a terminal: every number under the full name of its protocol."""

import math
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from pose_stage.evaluate import Evaluation


def score_table(name: str, results: "dict[str, Evaluation]") -> Table:
    """Return a table with one row per metric; columns for the run, its other read-out of the motion, and baselines."""
    run = results["run"]
    table = Table(title=f"{name}: {run.frames} motions, {run.readout} read-out", title_justify="left")
    table.add_column("metric", no_wrap=True)
    table.add_column(name, justify="right", style="bold")
    others = {readout: scores for readout, scores in run.readouts.items() if readout != run.readout}
    columns = {f"{readout} motion": scores for readout, scores in others.items()}
    columns |= {key: result.metrics for key, result in results.items() if key != "run"}
    for column in columns:
        table.add_column(column, justify="right", style="dim")
    for metric, value in run.metrics.items():
        if "/" in metric.split(":")[1]:
            continue
        table.add_row(metric, _number(value), *(_number(scores.get(metric)) for scores in columns.values()))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"
