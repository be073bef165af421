"""Plain NumPy that a benchmark's counts are held against: a fast wrong answer is not worth timing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from gsocc.labels import FREE, NUM_OCC3D_LABELS
from gsocc.structures import OCC3D_GRID

if TYPE_CHECKING:
    from gsocc.app.benchmark.evaluation import ScoredFrame
    from gsocc.metrics import OccupancyMetric, RayIouMetric


def check_confusion(metric: "OccupancyMetric", frames: Sequence["ScoredFrame"]) -> None:
    """Count pairs under the camera mask once more, with `numpy.bincount`.

    Raises:
        ArithmeticError: Where the counts differ.
    """
    expected = np.zeros((NUM_OCC3D_LABELS, NUM_OCC3D_LABELS), np.int64)
    for frame in frames:
        seen = frame.labels.mask_camera.numpy()
        pairs = frame.labels.semantics.numpy()[seen].astype(int) * NUM_OCC3D_LABELS + frame.predicted.numpy()[seen]
        expected += np.bincount(pairs, minlength=expected.size).reshape(expected.shape)
    if not np.array_equal(metric.confusion.numpy(), expected):
        raise ArithmeticError("check_confusion: the metric and numpy.bincount count differently")


def check_rays(metric: "RayIouMetric", frame: "ScoredFrame", origins_m: Float64[Tensor, "K 3"]) -> None:
    """Cast the rays of one frame once more, without a walk: all crossings of a ray with the grid's planes are sorted.

    Rays that run along a plane or through an edge may fall on either side; one in a thousand is allowed for.

    Raises:
        ArithmeticError: Where the counts differ by more.
    """
    directions = metric.directions.numpy()
    expected = np.zeros(metric.counts.shape, np.int64)
    for origin in origins_m.numpy():
        true, true_m = sorted_cast(frame.labels.semantics[0].numpy(), origin, directions)
        found, found_m = sorted_cast(frame.predicted[0].numpy(), origin, directions)
        counted = true != FREE
        right = counted & (found == true)
        near = [right & (np.abs(found_m - true_m) < limit) for limit in metric.limits_m]
        for row, (labels, chosen) in enumerate(
            [(true, counted), (found, counted & (found != FREE)), *((true, one) for one in near)]
        ):
            expected[row] += np.bincount(labels[chosen], minlength=FREE)
    off = int(np.abs(metric.counts.numpy() - expected).max())
    if off > 1e-3 * len(directions) * len(origins_m):
        raise ArithmeticError(f"check_rays: the metric and sorted crossings differ by {off} rays of a class")


def sorted_cast(
    semantics: UInt8[np.ndarray, "X Y Z"], origin_m: Float64[np.ndarray, "3"], directions: Float64[np.ndarray, "R 3"]
) -> tuple[UInt8[np.ndarray, " R"], Float64[np.ndarray, " R"]]:
    """Return the label that each ray from inside the Occ3D lattice meets first and where it leaves that voxel."""
    shape, size, low = np.array(semantics.shape), np.array(OCC3D_GRID.voxel_m), np.array(OCC3D_GRID.min_m)
    origin, steps = (origin_m - low) / size, directions / size
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = [(np.arange(n + 1) - o) / step[:, None] for n, o, step in zip(shape, origin, steps.T, strict=True)]
    at = np.concatenate([np.zeros((len(steps), 1)), *crossings], axis=1)  # (R, crossings)
    at = np.sort(np.where(at >= 0, at, np.inf), axis=1)
    between = np.where(np.isfinite(at[:, 1:]), (at[:, 1:] + at[:, :-1]) / 2, -1.0)
    voxels = np.floor(origin + between[..., None] * steps[:, None]).astype(int)  # (R, crossings, 3)
    inside = (between >= 0) & ((voxels >= 0) & (voxels < shape)).all(-1)
    labels = semantics[tuple(np.moveaxis(np.clip(voxels, 0, shape - 1), -1, 0))]
    solid = inside & (labels != FREE)
    first = np.where(solid.any(1), solid.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1))
    rays = np.arange(len(steps))
    return np.where(solid.any(1), labels[rays, first], FREE).astype(np.uint8), at[rays, first + 1]
