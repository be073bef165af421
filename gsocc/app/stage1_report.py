"""Stage 1 in reports and benchmarks: one row per training, every column explained in a line."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

MOTION, DEPTH = "pose/0.1m", "depth/nuscenes/80m"
"""Protocols of the columns; depth of another data set goes under its own, see `depth_protocol_of`."""
_PATH = "trajectory"


class Column(NamedTuple):
    """A figure of a stage-1 row.

    Attributes:
        key: Its name in report.json.
        heading: Its name in tables.
        digits: Shown after the point.
        metric: The full name under which an evaluation gives it.
        words: What it is, in one line.
        optional: Whether it is left out of tables where no row has it.
    """

    key: str
    heading: str
    digits: int
    metric: str
    words: str
    optional: bool = False


COLUMNS: tuple[Column, ...] = (
    Column(
        "scale_ratio_median",
        "scale ratio",
        2,
        f"{MOTION}:scale_ratio_median",
        "median of predicted over true length of the motion, where that is at least 0.1 m; 1 is metric",
    ),
    Column(
        "scale_ratio_iqr",
        "its spread",
        2,
        f"{MOTION}:scale_ratio_iqr",
        "distance of the quartiles of that ratio; a good median with a wide spread is luck",
    ),
    Column(
        "speed_correlation",
        "speed corr.",
        2,
        f"{MOTION}:speed_correlation",
        "correlation of predicted and true length over all motions; a network that says the mean speed has none",
    ),
    Column(
        "translation_error_m",
        "error of |t|, m",
        3,
        f"{MOTION}:translation_error_m",
        "mean difference of predicted and true length",
    ),
    Column(
        "constant_speed_error_m",
        "constant speed, m",
        3,
        f"{MOTION}:constant_speed_error_m",
        "the same error of always saying the true mean: what looking at images has to beat",
    ),
    Column(
        "direction_error_deg",
        "direction, °",
        2,
        f"{MOTION}:direction_error_deg",
        "mean angle between predicted and true direction, where the motion is at least 0.1 m",
    ),
    Column(
        "rotation_error_deg",
        "rotation, °",
        3,
        f"{MOTION}:rotation_error_deg",
        "mean angle between predicted and true rotation",
    ),
    Column(
        "no_rotation_error_deg",
        "no rotation, °",
        3,
        f"{MOTION}:no_rotation_error_deg",
        "the same error of never turning: what looking at images has to beat",
    ),
    Column(
        "depth_abs_rel",
        "depth AbsRel",
        3,
        f"{DEPTH}:abs_rel",
        "mean of |predicted - true| / true depth, without any scaling",
    ),
    Column(
        "depth_abs_rel_scaled",
        "AbsRel, scaled",
        3,
        f"{DEPTH}/median:abs_rel",
        "the same after each image is scaled by median(true) / median(predicted): what is left without scale",
    ),
    Column(
        "depth_abs_rel_visible",
        "AbsRel, own car left out",
        3,
        f"{DEPTH}/self_mask:abs_rel",
        "AbsRel without the pixels that show the own car, behind which the LiDAR on the roof still sees",
        optional=True,
    ),
    Column(
        "depth_ratio",
        "depth ratio",
        2,
        f"{DEPTH}:predicted_over_true",
        "median of predicted over true depth; 1 is metric",
    ),
    Column(
        "relative_error_1s_m",
        "over 1 s, m",
        3,
        f"{_PATH}/1s:translation_error_m",
        "mean distance between predicted and true motion over one second",
    ),
    Column(
        "ate_m",
        "path error, m",
        2,
        f"{_PATH}:ate_m",
        "root mean square distance between predicted and true path of a scene, from the same start",
    ),
    Column(
        "ate_scaled_m",
        "path, scaled, m",
        2,
        f"{_PATH}:ate_scaled_m",
        "the same with one factor for all paths",
    ),
    Column("motions", "motions", 0, f"{MOTION}:frames", "how many motions were scored"),
    Column("moving", "moving", 0, f"{MOTION}:moving_frames", "how many of them are at least 0.1 m long"),
)

ROWS: dict[str, str] = {
    "gsp": "the method: cameras redraw each other by splatting, one side of each overlap masked out",
    "gsp_network_readout": "the same training; motion as the pose network says it, not as flow and depth give it",
    "gsp_refined": "the method, then steps with the pose fixed and the cross-view term off",
    "gsp_flow_depth": "the method, and the depth network sees optical flow too",
    "no_cross_view": "neighbours in time alone: nothing says how large the world is",
    "no_mask_out": "splatting without mask-out: every image is redrawn from itself",
    "mask_out": "splatting with mask-out, compared up to the border of the overlap",
    "bilinear": "images of neighbouring cameras are warped instead of splatted (FSM, SurroundDepth)",
    "untrained": "the method's networks before the first step",
    "exact_depth": "no network: the exact depth of every pixel, which LiDAR on the roof sees past",
}


class Stage1Row(BaseModel):
    """One training of stage 1, scored on held-out scenes; a number that does not exist is None.

    Attributes:
        name: See `ROWS`.
        initial_depth_m: Flat depth that training started from; None where nothing was trained.
        readout: "geometric" or "network": which motion was scored.
        steps: Training steps.
        seconds_per_step: Wall-clock time of one.
        cpu_seconds_per_step: Its CPU time over all threads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    initial_depth_m: float | None
    readout: str = ""
    steps: int = 0
    seconds_per_step: float | None = None
    cpu_seconds_per_step: float | None = None
    scale_ratio_median: float | None
    scale_ratio_iqr: float | None
    speed_correlation: float | None
    translation_error_m: float | None
    constant_speed_error_m: float | None
    direction_error_deg: float | None
    rotation_error_deg: float | None
    no_rotation_error_deg: float | None
    depth_abs_rel: float | None
    depth_ratio: float | None
    depth_abs_rel_scaled: float | None = None
    depth_abs_rel_visible: float | None = None
    relative_error_1s_m: float | None = None
    ate_m: float | None = None
    ate_scaled_m: float | None = None
    motions: int | None = None
    moving: int | None = None


def start_of(row: Stage1Row) -> str:
    """Return the depth that a training started from, a dash where there is none."""
    return "–" if row.initial_depth_m is None else f"{row.initial_depth_m:g}"


class Stage1(BaseModel):
    """What report.json holds of stage 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[Stage1Row, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of tables."""
        return tuple(c for c in COLUMNS if not c.optional or any(getattr(row, c.key) is not None for row in self.rows))


def depth_protocol_of(names: Iterable[str]) -> str:
    """Return the depth protocol without options that metrics are named after; `DEPTH` where they hold no depth."""
    found = (re.match(r"(depth/[a-z0-9]+/[0-9.]+m):", name) for name in names)
    return next((match[1] for match in found if match), DEPTH)


def figures(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the columns of a row from an evaluation's metrics by full name; None where there is no number."""
    depth = depth_protocol_of(metrics)
    values = {column.key: metrics.get(column.metric.replace(DEPTH, depth)) for column in COLUMNS}
    for key in ("motions", "moving"):
        count = values[key]
        values[key] = None if count is None else int(count)
    return values


def stage1_row(
    name: str, initial_depth_m: float | None, readout: str, metrics: Mapping[str, float | None], **training: Any
) -> dict[str, Any]:
    """Return a row of report.json.

    Args:
        name: See `ROWS`.
        initial_depth_m: Flat depth that training started from.
        readout: Which motion `metrics` scores.
        metrics: Of an evaluation, by full name.
        training: `steps`, `seconds_per_step`, `cpu_seconds_per_step`.
    """
    return {
        "name": name,
        "initial_depth_m": initial_depth_m,
        "readout": readout,
        **training,
        **figures(metrics),
    }
