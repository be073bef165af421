"""How fast predictions are scored: confusion matrices in memory and from files, RayIoU, and all of them together."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from gsocc.app.benchmark.evaluation_checks import check_confusion, check_rays
from gsocc.app.benchmark.stopwatch import machine, race
from gsocc.app.benchmark.tables import Sheet, figure
from gsocc.datasets.occ3d import read_occ3d
from gsocc.datasets.read_ahead import read_ahead
from gsocc.files import read_npz, write_npz
from gsocc.geometry.lidar_rays import lidar_directions
from gsocc.labels import FREE, OCC3D_ID
from gsocc.metrics import OccupancyMetric, OccupancySuite, RayIouMetric
from gsocc.structures import OCC3D_GRID, OccupancyLabels

VALIDATION_FRAMES = 6019
"""Key frames of the validation split that published numbers are taken over."""

LIDAR_HEIGHT_M = 1.84
_CHECKED = 13  # every 13th ray, which meets all pitches and, over them, all azimuths: NumPy takes seconds for the rest


@dataclass(frozen=True)
class ScoredFrame:
    """A key frame with what a system said of it; both as batches of one.

    Attributes:
        predicted: Labels on the Occ3D lattice.
        labels: The truth.
    """

    predicted: UInt8[Tensor, "1 X Y Z"]
    labels: OccupancyLabels


@dataclass(frozen=True)
class Rate:
    """How fast something is scored.

    Attributes:
        work: What.
        frames: Key frames in a round; figures are the median of the rounds.
        frames_per_s: Key frames per second.
        cpu_ms: Processor time per key frame, all threads.
    """

    work: str
    frames: int
    frames_per_s: float
    cpu_ms: float


def make_frames(count: int, seed: int = 0) -> list[ScoredFrame]:
    """Return made-up streets with predictions of them that are half a metre off here and there.

    A frame holds what an Occ3D frame does: some 50,000 solid voxels of 640,000, about as many seen by cameras.
    """
    return [_make_frame(np.random.default_rng([seed, number])) for number in range(count)]


def read_frame(path: Path) -> ScoredFrame:
    """Return a real Occ3D label with a prediction made of it, as `make_frames` does.

    Raises:
        DataError: Where the file is no Occ3D label.
    """
    labels = read_occ3d(path)
    predicted = _predict(labels.semantics.numpy(), np.random.default_rng(0))
    return ScoredFrame(torch.from_numpy(predicted)[None], _batch(labels))


def ray_origins(count: int = 8) -> Float64[Tensor, "K 3"]:
    """Return LiDAR places along a straight road, 10 m apart, the most that a frame has by default."""
    origins = torch.zeros(count, 3, dtype=torch.float64)
    origins[:, 0] = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * 10.0
    origins[:, 2] = LIDAR_HEIGHT_M
    return origins


def benchmark_evaluation(frames: Sequence[ScoredFrame], threads: int, repeats: int, enough_s: float) -> list[Rate]:
    """Score the frames in every way, in turn, and return the medians.

    The counts are checked against plain NumPy first, those of rays on a part of them.

    Args:
        frames: What is scored; more of them than a cache holds, or figures are those of one frame.
        threads: Threads that read files; kernels use what they are set to.
        repeats: Rounds.
        enough_s: Work that has taken this long sits out the rounds that are left.

    Raises:
        ArithmeticError: Where the metrics count other than NumPy does.
    """
    origins = ray_origins()
    with tempfile.TemporaryDirectory(prefix="gsocc-bench-") as folder:
        pairs = _write(frames, Path(folder))
        check_confusion(_confusion(frames, ("camera",)), frames)
        check_confusion(_confusion_of_files(pairs, threads), frames)
        check_rays(_rays(frames[:1], origins, lidar_directions()[::_CHECKED]), frames[0], origins)
        works: dict[str, Callable[[], object]] = {
            "confusion matrix, camera mask": lambda: _confusion(frames, ("camera",)),
            "confusion matrices of three masks": lambda: _confusion(frames, ("camera", "camera_lidar", "none")),
            "confusion matrix, from label and prediction files": lambda: _confusion_of_files(pairs, threads),
            f"RayIoU, {len(origins)} origins": lambda: _rays(frames, origins),
            "all that a report shows of occupancy, in one pass": lambda: _report(frames),
        }
        laps = race(works, "cpu", repeats, enough_s)
    count = len(frames)
    return [Rate(work, count, count / laps[work].wall_s, 1e3 * laps[work].cpu_s / count) for work in works]


def evaluation_report(rates: Sequence[Rate], threads: int, source: str) -> dict[str, Any]:
    """Return what `--json` writes."""
    return {
        "benchmark": "evaluation",
        **machine("cpu"),
        "threads": threads,
        "frames": source,
        "checked": "counts equal those of NumPy",
        "rows": [asdict(rate) for rate in rates],
    }


def evaluation_sheet(rates: Sequence[Rate]) -> Sheet:
    """Return the table; the last column is the processor time of the whole validation split, all threads."""
    rows = tuple(
        (r.work, str(r.frames), figure(r.frames_per_s, 1), figure(r.cpu_ms, 2), _minutes(r.cpu_ms)) for r in rates
    )
    heads = ("what is scored", "frames", "frames / s", "CPU ms / frame", f"CPU time of {VALIDATION_FRAMES:,}")
    return Sheet("scoring predictions on the Occ3D lattice (200x200x16)", heads, rows)


def _confusion(frames: Sequence[ScoredFrame], masks: Sequence[Any]) -> OccupancyMetric:
    metrics = [OccupancyMetric(mask) for mask in masks]
    for frame in frames:
        for metric in metrics:
            metric.update(frame.predicted, frame.labels)
    return metrics[0]


def _confusion_of_files(pairs: Sequence[tuple[Path, Path]], threads: int) -> OccupancyMetric:
    metric = OccupancyMetric()
    for frame in read_ahead(_read, pairs, threads):
        metric.update(frame.predicted, frame.labels)
    return metric


def _rays(
    frames: Sequence[ScoredFrame], origins: Float64[Tensor, "K 3"], directions: Float64[Tensor, "R 3"] | None = None
) -> RayIouMetric:
    metric = RayIouMetric(directions=directions)
    for frame in frames:
        metric.update(frame.predicted, frame.labels, [origins])
    return metric


def _report(frames: Sequence[ScoredFrame]) -> OccupancySuite:
    suite = OccupancySuite()
    for frame in frames:
        suite.update(frame.predicted, (frame.predicted != FREE).float(), frame.labels)
    return suite


def _read(pair: tuple[Path, Path]) -> ScoredFrame:
    return ScoredFrame(torch.from_numpy(read_npz(pair[0])["pred"])[None], _batch(read_occ3d(pair[1])))


def _write(frames: Sequence[ScoredFrame], folder: Path) -> list[tuple[Path, Path]]:
    """Write predictions and labels as other systems and Occ3D do; return the paths."""
    pairs = []
    for number, frame in enumerate(frames):
        pair = folder / f"{number}.npz", folder / f"{number}" / "labels.npz"
        labels = frame.labels
        masks = {"mask_camera": labels.mask_camera, "mask_lidar": labels.mask_lidar}
        stored = {name: mask[0].numpy().astype(np.uint8) for name, mask in masks.items()}
        write_npz(pair[0], pred=frame.predicted[0].numpy())
        write_npz(pair[1], semantics=labels.semantics[0].numpy(), **stored)
        pairs.append(pair)
    return pairs


def _make_frame(rng: np.random.Generator) -> ScoredFrame:
    truth = np.full(OCC3D_GRID.shape, FREE, np.uint8)
    truth[:, :, 2] = OCC3D_ID["terrain"]
    truth[:, 70:130, 2] = OCC3D_ID["sidewalk"]
    truth[:, 80:120, 2] = OCC3D_ID["driveable_surface"]
    for y in (40, 158):
        truth[rng.integers(0, 40) : rng.integers(120, 200), y : y + 2, 3:] = OCC3D_ID["manmade"]
    for _ in range(60):
        x, y = rng.integers(0, 190), rng.integers(0, 190)
        width, depth, height = rng.integers(1, 9), rng.integers(1, 6), rng.integers(1, 6)
        if abs(y - 100) > 6 or abs(x - 100) > 12:  # the vehicle's own place stays clear
            truth[x : x + width, y : y + depth, 3 : 3 + height] = rng.integers(0, FREE)
    near = np.kron(rng.random((25, 25, 4)) < 0.12, np.ones((8, 8, 4), bool))
    near[:, :, 9:] = False
    seen = torch.from_numpy(near)[None]
    labels = OccupancyLabels(torch.from_numpy(truth)[None], seen, seen & (torch.arange(200) % 3 > 0)[:, None, None])
    return ScoredFrame(torch.from_numpy(_predict(truth, rng))[None], labels)


def _predict(truth: UInt8[np.ndarray, "X Y Z"], rng: np.random.Generator) -> UInt8[np.ndarray, "X Y Z"]:
    """Return the truth with blocks of it shifted by a voxel, or named otherwise."""
    shape = [-(-n // 8) for n in truth.shape]
    spread = np.ix_(*(np.arange(n) // 8 for n in truth.shape))
    shifted, renamed = (rng.random(shape)[spread] < share for share in (0.5, 0.2))
    predicted = np.where(shifted, np.roll(truth, 1, axis=0), truth)
    return np.where(renamed & (predicted != FREE), rng.integers(0, FREE), predicted).astype(np.uint8)


def _batch(labels: OccupancyLabels) -> OccupancyLabels:
    return OccupancyLabels(labels.semantics[None], labels.mask_camera[None], labels.mask_lidar[None])


def _minutes(cpu_ms: float) -> str:
    seconds = VALIDATION_FRAMES * cpu_ms / 1e3
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
