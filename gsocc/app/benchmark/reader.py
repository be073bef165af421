"""How fast samples are read from disk: whole images of two formats, and resized copies of them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import active_children
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from gsocc.app.benchmark.stopwatch import machine
from gsocc.app.benchmark.tables import Sheet, figure
from gsocc.datasets.ddad import DdadDataset, build_index
from gsocc.datasets.ddad_index import VERSION
from gsocc.datasets.image_cache import copy_path, write_image_cache
from gsocc.datasets.images import read_image
from gsocc.datasets.index import ALL_SCENES, default_index_path, encode_names, open_index, read_index, save_index
from gsocc.datasets.loader import make_loader
from gsocc.datasets.world import write_ddad_world
from gsocc.errors import DataError, UserError
from gsocc.files import atomic_write_bytes
from gsocc.progress import ProgressBar, track

Size = tuple[int, int]

SOURCES: dict[str, str] = {
    "jpeg": "JPEG, decoded at half the size or less",
    "png": "PNG",
    "cache": "resized copies",
}
"""What is read, by name."""

_QUALITY = 90  # of recoded JPEG, which is then somewhat larger than the files of TRI's own scenes
_WARM_UP = 8  # samples that are read before the clock starts: workers begin with full hands


@dataclass(frozen=True)
class Reading:
    """What reading from one source cost.

    Attributes:
        source: A key of `SOURCES`.
        stored_mb: Mean size of the files that are read, in 1e6 bytes.
        samples: How many were read under the clock.
        samples_per_s: Six-camera samples of a single time per second.
        cpu_ms: Processor time per sample, all processes.
        memory_gb: Resident memory of all processes in 1e9 bytes, shared pages counted once, at the start, in the
            middle and at the end; None where the system does not tell (not Linux).
    """

    source: str
    stored_mb: float
    samples: int
    samples_per_s: float
    cpu_ms: float
    memory_gb: tuple[float | None, float | None, float | None]


def prepare_reader_world(root: Path) -> None:
    """Write images of DDAD's own size to read, unless they are there: two scenes of two samples.

    Raises:
        OutputError: Where the folder holds something else, or cannot be written to.
        MissingExtraError: Where open3d is missing.
    """
    write_ddad_world(root, scenes=2, frames=2, seed=0, image_size=(1216, 1936))
    if not default_index_path(root, VERSION).is_file():
        build_index(root)


def benchmark_reader(
    root: Path,
    out: Path,
    sources: Sequence[str],
    *,
    size: Size,
    samples: int,
    workers: int,
    index: Path | None = None,
) -> list[Reading]:
    """Read samples of a DDAD root, over and over, from each source.

    Args:
        root: A DDAD root, whose images are of any format.
        out: Folder for what is made of it, in a folder of its name: images of the other format, and resized copies.
        sources: Keys of `SOURCES`.
        size: (H, W) of the samples' images.
        samples: How many are read from each source.
        workers: Processes that read.
        index: The index file; by default the one in `root`.

    Raises:
        DataError: Where the root has no index, or images cannot be read.
        UserError: Where a source is unknown.
    """
    unknown = [name for name in sources if name not in SOURCES]
    if unknown:
        raise UserError(f"--source: expected one of {', '.join(SOURCES)}, got {unknown[0]!r}")
    path = index or default_index_path(root, VERSION)
    if not path.is_file():
        raise DataError(f"{path}: there is no index; build it: gsocc index ddad {root} --out {path}")
    open_index(path, root)
    made = out / root.resolve().name
    return [_read(name, _open(name, path, root, made, size), samples, workers) for name in sources]


def reader_report(readings: Sequence[Reading], size: Size, workers: int) -> dict[str, Any]:
    """Return what `--json` writes."""
    rows = [vars(reading) for reading in readings]
    return {"benchmark": "reader", **machine("cpu"), "image_size": size, "workers": workers, "rows": rows}


def reader_sheet(readings: Sequence[Reading], size: Size, workers: int) -> Sheet:
    """Return the table."""
    heads = ("read from", "MB / image", "samples", "samples / s", "CPU ms / sample", "GB at start", "middle", "end")
    rows = tuple(
        (
            SOURCES[r.source], figure(r.stored_mb, 2), f"{r.samples:,}", figure(r.samples_per_s, 1),
            figure(r.cpu_ms, 1), *(figure(gb) for gb in r.memory_gb),
        )
        for r in readings
    )  # fmt: skip
    return Sheet(f"samples of six cameras and one time at {size[0]}x{size[1]}, {workers} worker processes", heads, rows)


def _open(source: str, index: Path, root: Path, out: Path, size: Size) -> DdadDataset:
    """Open the samples of a root from a source, which is made where it is missing."""
    cache = None
    if source == "cache":
        cache = out / "image_cache"
        write_image_cache(read_index(index), root, cache, size)
    else:
        root, index = _recoded(index, root, out, ".jpg" if source == "jpeg" else ".png")
    return DdadDataset(root=root, index=index, split=ALL_SCENES, image_size=size, frame_ids=(0,), image_cache=cache)


def _recoded(path: Path, root: Path, out: Path, suffix: str) -> tuple[Path, Path]:
    """Return a root with images of this format, and its index: the given one where it has them."""
    index = read_index(path)
    names = [Path(raw.decode()) for raw in index.image_file.tolist()]
    if all(name.suffix == suffix for name in names):
        return root, path
    folder = out / suffix[1:]
    sizes = [(int(height), int(width)) for height, width in index.image_size.tolist()]
    images = track(zip(names, sizes, strict=True), len(names), f"recoding images as {suffix[1:]}", "images")
    for name, size in images:
        copy = folder / name.with_suffix(suffix)
        if not copy.is_file():
            image = cv2.cvtColor(read_image(root / name, size, size), cv2.COLOR_RGB2BGR)
            options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else []
            atomic_write_bytes(copy, cv2.imencode(suffix, image, options)[1].tobytes())
    files = encode_names([name.with_suffix(suffix).as_posix() for name in names])
    recoded = folder / "index.npz"
    save_index(recoded, replace(index, source=replace(index.source, tables={}), image_file=files))
    return folder, recoded


def _read(source: str, dataset: DdadDataset, samples: int, workers: int) -> Reading:
    """Read samples one after the other, as an evaluation does, and drop them."""
    cycle = np.arange(_WARM_UP + samples) % len(dataset)
    loader = make_loader(dataset, indices=cycle.tolist(), workers=workers)
    memory: dict[int, float | None] = {}
    begun, worked, ended = 0.0, 0.0, 0.0
    with ProgressBar(samples, f"reading {source}", unit="samples") as bar:
        for number, _ in enumerate(loader, start=1 - _WARM_UP):
            if number == 0:
                begun, worked = perf_counter(), _processor_s()
            if number in (0, samples // 2, samples):
                memory[number] = _resident_gb()
            if number > 0:
                bar.advance()
            if number == samples:  # workers are still there, and with them their times
                ended, worked = perf_counter() - begun, _processor_s() - worked
    states = (memory[0], memory[samples // 2], memory[samples])
    return Reading(source, _stored_mb(dataset), samples, samples / ended, 1e3 * worked / samples, states)


def _stored_mb(dataset: DdadDataset) -> float:
    names = [raw.decode() for raw in dataset.index.image_file.tolist()]
    cache, size = dataset.image_cache, dataset.image_size
    files = [dataset.root / name if cache is None else copy_path(cache, name, size) for name in names]
    return float(np.mean([file.stat().st_size for file in files])) / 1e6


def _processes() -> list[int]:
    return [os.getpid(), *(child.pid for child in active_children() if child.pid is not None)]


def _processor_s() -> float:
    """Return the processor time of this process and of those that read for it; without /proc, its own."""
    ticks = 0
    for process in _processes():
        stat = Path(f"/proc/{process}/stat")
        if not stat.is_file():
            return float(sum(os.times()[:4]))
        ticks += sum(int(field) for field in stat.read_text().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def _resident_gb() -> float | None:
    """Return the resident memory of this process and of those that read for it, shared pages counted once."""
    total = 0
    for process in _processes():
        rollup = Path(f"/proc/{process}/smaps_rollup")
        if not rollup.is_file():
            return None
        lines = rollup.read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e9
