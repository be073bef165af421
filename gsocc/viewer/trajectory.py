"""Paths from above: where a vehicle drove and where the predicted motions say it drove."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from gsocc.structures.trajectory import Trajectory
from gsocc.viewer.drawing import save_png

_DPI = 100
_TRUE, _RAW, _SCALED = "#262c36", "#d55e00", "#0072b2"


def trajectory_picture(
    paths: Sequence[Trajectory], scale: float, *, width: int = 1200, height: int = 460, most: int = 6
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the paths of several scenes side by side, seen from above, the first heading up.

    Args:
        paths: Predicted and true.
        scale: The one factor that brings all predicted paths nearest to the truth: 1 for a metric prediction. The
            paths are drawn as they are predicted, and multiplied by it.
        width: Of the picture in pixels.
        height: Of the picture in pixels.
        most: Scenes drawn, evenly spread over those given.

    Raises:
        ValueError: Where there is no path.
    """
    if not paths:
        raise ValueError("trajectory_picture: expected at least one path, got none")
    shown = [paths[i] for i in sorted({round(k) for k in np.linspace(0, len(paths) - 1, min(most, len(paths)))})]
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="#fafbfc")
    canvas = FigureCanvasAgg(figure)
    for number, path in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), number + 1)
        _draw_path(axes, path, scale)
        if number == 0:
            axes.set_ylabel("ahead (m)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_trajectory_picture(path: Path, paths: Sequence[Trajectory], scale: float) -> None:
    """Write `trajectory_picture` as a PNG, whole or not at all.

    Raises:
        OutputError: Where the file cannot be written.
    """
    save_png(path, trajectory_picture(paths, scale))


def _draw_path(axes: Axes, path: Trajectory, scale: float) -> None:
    true, predicted = path.true[:, :3, 3], path.predicted[:, :3, 3]
    axes.plot(*_seen_from_above(true), color=_TRUE, linewidth=3.0, label="true")
    axes.plot(*_seen_from_above(predicted), color=_RAW, linewidth=1.5, marker="o", markersize=3, label="predicted")
    if math.isfinite(scale):
        label = f"predicted, times {scale:.2f}"
        axes.plot(*_seen_from_above(predicted * scale), color=_SCALED, linewidth=1.2, linestyle="--", label=label)
    error_m = float((predicted - true).square().sum(-1).mean().sqrt())
    axes.set_title(f"{path.scene}\nerror {error_m:.2f} m", fontsize=9)
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="#dfe3e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("to the right (m)", fontsize=8)


def _seen_from_above(positions_m: Float64[Tensor, "N 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Return what lies to the right and ahead: the ego's x points ahead, its y to the left."""
    return -positions_m[:, 1].numpy(), positions_m[:, 0].numpy()
