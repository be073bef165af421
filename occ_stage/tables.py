"""Scores on a terminal: every number under the full name of its protocol."""

import math
from typing import TYPE_CHECKING

from rich.table import Table

from gsocc.metrics.depth import DEPTH_SCORES

if TYPE_CHECKING:
    from occ_stage.evaluate import Evaluation


def score_table(name: str, result: "Evaluation", baselines: dict[str, "Evaluation"]) -> Table:
    """Return a table with one row per metric: the run, then the predictors that look at nothing.

    Scores per class and per camera stay in metrics.json.
    """
    chosen = "" if result.threshold is None else f", occupancy threshold {result.threshold.threshold:g}"
    trained = "" if result.pose is None else f"\ntrained with pose: {result.pose}"
    table = Table(title=f"{name}: {result.frames} frames{chosen}{trained}", title_justify="left")
    table.add_column("metric")
    table.add_column(name, justify="right", style="bold")
    for baseline in baselines:
        table.add_column(baseline, justify="right", style="dim")
    for metric, value in result.metrics.items():
        if "/" in metric.split(":")[1]:
            continue
        others = [_number(baseline.metrics.get(metric)) for baseline in baselines.values()]
        table.add_row(metric, _number(value), *others)
    return table


def camera_table(result: "Evaluation") -> Table | None:
    """Return depth by camera, the mean last; None where depth was not scored."""
    protocols = [name for name in result.protocols if name.startswith("depth/") and not name.endswith("/median")]
    if not protocols:
        return None
    protocol = protocols[0]
    table = Table(title=f"{protocol}, by camera", title_justify="left")
    table.add_column("camera")
    for score in DEPTH_SCORES:
        table.add_column(score, justify="right")
    start = f"{protocol}:{DEPTH_SCORES[0]}/"
    cameras = [name.removeprefix(start) for name in result.metrics if name.startswith(start)]
    for camera in cameras:
        table.add_row(camera, *(_number(result.metrics[f"{protocol}:{s}/{camera}"]) for s in DEPTH_SCORES))
    table.add_section()
    table.add_row("mean", *(_number(result.metrics[f"{protocol}:{s}"]) for s in DEPTH_SCORES), style="bold")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"
