"""Export LiDAR depth images: one array per key-frame image, for programs that read files instead of scans."""

import io
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from gsocc.datasets.derived.layout import DerivedLayout, layout_of
from gsocc.datasets.index import SurroundIndex
from gsocc.datasets.lidar import Collisions, Rounding, lidar_depth
from gsocc.datasets.scans import lidar_to_cams, read_key_scan
from gsocc.errors import DataError, OutputError, UserError
from gsocc.files import atomic_write_bytes, read_json, write_json
from gsocc.progress import track

RECORD = "gsocc_depth.json"
_HEADER_BYTES = 128  # of a npy file


@dataclass(frozen=True, kw_only=True)
class DepthRule:
    """How scans become depth images; see `lidar_depth`."""

    rounding: Rounding = "floor"
    collisions: Collisions = "nearest"
    min_depth_m: float = 1.0

    def __post_init__(self) -> None:
        if self.min_depth_m < 0:
            raise UserError(f"least depth: expected at least 0 m, got {self.min_depth_m}")


@dataclass(frozen=True)
class DepthReport:
    """How many depth images an export wrote, and how many were there already."""

    written: int
    kept: int


def released_rule(dataset: str) -> DepthRule:
    """Return how the published depth files of a data set were drawn: without a z-buffer and without a least depth."""
    layout = layout_of(dataset)
    return DepthRule(rounding=layout.released_rounding, collisions=layout.released_collisions, min_depth_m=0.0)


def export_depth(
    index: SurroundIndex,
    root: Path,
    out: Path,
    rows: Sequence[int],
    rule: DepthRule,
    *,
    workers: int = 0,
    overwrite: bool = False,
) -> DepthReport:
    """Write the LiDAR depth of key frames: float32 metres (H, W) of the stored image, 0 where no point fell.

    Each file is whole or absent, and those that are there are kept, so a run that was stopped goes on where it was. A
    record in the folder says by which rule its files were drawn; files older than it are drawn again.

    Args:
        index: The index of the data set.
        root: The folder that the scans lie below.
        out: Folder of the depth images; see `DerivedLayout.depth` for the names below it.
        rows: Key frames, by their rows of the index.
        rule: How scans become images.
        workers: Processes that draw; 0 draws in this one.
        overwrite: Replace files of another rule, or that something else wrote.

    Raises:
        DataError: Where the index was built without LiDAR, or a scan is missing or damaged.
        UserError: Where the folder holds files of another rule or of unknown origin, or the disk has not the space.
        OutputError: Where a file cannot be written.
    """
    if "lidar" in index.source.skipped:
        raise DataError(f"the index was built without LiDAR; build it again: gsocc index {index.source.dataset} {root}")
    task = _Task(index, root, out, list(rows), rule)
    since_ns = _settle_record(task, overwrite)
    missing = [n for n in range(len(task)) if not task.is_done(n, since_ns)]
    _check_space(task, missing)
    task.rows = [task.rows[n] for n in missing]
    written = 0
    batches: DataLoader = DataLoader(task, batch_size=None, num_workers=workers)
    for answer in track(batches, len(missing), "drawing depth", "frames"):
        if isinstance(answer, UserError):
            raise answer
        written += answer
    return DepthReport(written, len(rows) * len(index.cameras) - written)


class _Task(Dataset[int | UserError]):
    """Key frames whose reading writes their depth images; errors come back as values, past PyTorch's own."""

    def __init__(self, index: SurroundIndex, root: Path, out: Path, rows: list[int], rule: DepthRule) -> None:
        self.index, self.root, self.out, self.rows, self.rule = index, root, out, rows, rule
        self.layout: DerivedLayout = layout_of(index.source.dataset)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> int | UserError:
        try:
            return self._write(number)
        except UserError as error:
            return error

    def files(self, number: int) -> list[tuple[Path, tuple[int, int]]]:
        """Return the files of a key frame and the (H, W) of each."""
        row, index = self.rows[number], self.index
        images = index.key_image[row].tolist()
        names = [index.image_file[image].decode() for image in images]
        paths = [
            self.layout.depth(self.out, index.scene(row), camera, name)
            for camera, name in zip(index.cameras, names, strict=True)
        ]
        sizes = [tuple(index.image_size[image].tolist()) for image in images]
        return list(zip(paths, sizes, strict=True))

    def is_done(self, number: int, since_ns: int) -> bool:
        """Return whether the files of a key frame are there, whole, and of the present rule."""
        for path, size in self.files(number):
            try:
                stat = path.stat()
            except OSError:
                return False
            if stat.st_size != _bytes(size) or stat.st_mtime_ns < since_ns:
                return False
        return True

    def _write(self, number: int) -> int:
        row, index, rule = self.rows[number], self.index, self.rule
        images = index.key_image[row].astype(np.int64)
        points = read_key_scan(index, self.root, row)
        to_cams, k = lidar_to_cams(index, row, images), index.intrinsics[index.image_calibration[images]]
        files = self.files(number)
        for view, (path, size) in enumerate(files):
            depth_m = lidar_depth(
                points, to_cams[view : view + 1], k[view : view + 1], size,
                rounding=rule.rounding, collisions=rule.collisions, min_depth_m=rule.min_depth_m,
            )[0]  # fmt: skip
            encoded = io.BytesIO()
            np.save(encoded, depth_m)
            atomic_write_bytes(path, encoded.getvalue())
        return len(files)


def _settle_record(task: _Task, overwrite: bool) -> int:
    """Say in the folder by which rule it is drawn, and return since when, in ns."""
    record = task.out / RECORD
    wanted = {"dataset": task.index.source.dataset, **asdict(task.rule)}
    found = read_json(record) if record.is_file() else None
    if not overwrite:
        if found is not None and found != wanted:
            raise UserError(
                f"{record}: the depth files here were drawn as {_words(found)}, asked for is {_words(wanted)}; choose "
                "another folder by --out, or replace them by --overwrite"
            )
        if found is None and any(path.exists() for n in range(len(task)) for path, _ in task.files(n)):
            raise OutputError(
                f"{task.out}: holds depth files without {RECORD}, so something else wrote them; choose another folder "
                "by --out, or replace them by --overwrite"
            )
    if found is None or overwrite:
        write_json(record, wanted)
    return record.stat().st_mtime_ns


def _check_space(task: _Task, missing: list[int]) -> None:
    needed = sum(_bytes(size) for n in missing for _, size in task.files(n))
    free = shutil.disk_usage(task.out).free
    if needed > free:
        raise OutputError(
            f"{task.out}: {len(missing)} key frames need {needed / 1e9:.1f} GB of depth images, {free / 1e9:.1f} GB "
            "are free; choose another disk by --out, or fewer key frames by --split or --tokens"
        )


def _bytes(size: tuple[int, int]) -> int:
    return _HEADER_BYTES + 4 * size[0] * size[1]


def _words(rule: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in rule.items())
