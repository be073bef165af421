"""Resized copies of a data set's images, for those that are dear to decode, as PNG is, which has no smaller decode."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from gsocc.datasets.images import BadImageError, read_image
from gsocc.datasets.index import SurroundIndex
from gsocc.errors import DataError
from gsocc.files import atomic_write_bytes
from gsocc.progress import track

Size = tuple[int, int]

_ABSENT = "there is no copy of this image"
_OLD = "the copy is older than its image"


def write_image_cache(index: SurroundIndex, root: Path, cache: Path, size: Size, *, workers: int = 2) -> int:
    """Write every image of an index at another size, lossless; what is there and not older than its source stays.

    Args:
        index: Names the images.
        root: The folder that they lie below.
        cache: Folder of the copies, of all sizes.
        size: (H, W) of the copies.
        workers: Number of threads.

    Returns:
        How many were written.

    Raises:
        BadImageError: Where an image cannot be decoded whole.
        OutputError: Where the disk is full or read-only.
    """
    names = [raw.decode() for raw in index.image_file.tolist()]
    sizes = [(int(height), int(width)) for height, width in index.image_size.tolist()]
    with ThreadPoolExecutor(workers) as pool:
        written = pool.map(partial(_write, root, cache, size), names, sizes)
        return sum(track(written, label="resizing images", unit="images", total=len(names)))


def read_cached_image(
    root: Path, cache: Path, image_file: str, size: Size, dataset: str = "ddad"
) -> UInt8[np.ndarray, "H W 3"]:
    """Read the copy of an image: what `read_image` made of it.

    The image itself may be gone; where it is there, its copy must not be older.

    Args:
        root: The folder that images lie below.
        cache: Folder of the copies, of all sizes.
        image_file: Path of the image below the root.
        size: (H, W) of the copies.
        dataset: Name of the data set, for messages.

    Raises:
        BadImageError: Where the copy cannot be decoded whole.
        DataError: Where there is none, it is older than the image, or it has another size than its folder says.
    """
    path = copy_path(cache, image_file, size)
    problem = _problem(path, root / image_file)
    if problem:
        raise DataError(f"{path}: {problem}; write them: gsocc index {dataset} ROOT --cache {size[0]}x{size[1]}")
    try:
        return read_image(path, size, size)
    except BadImageError:
        raise
    except DataError as error:
        raise DataError(f"{path}: the copy has another size than its folder says; remove and write it again") from error


def stale_copies(index: SurroundIndex, root: Path, cache: Path) -> dict[Size, tuple[int, int]]:
    """Return how many images lack a copy, and how many copies are older than their images, by the size of copies."""
    names = [raw.decode() for raw in index.image_file.tolist()]
    counts = {}
    for size in cached_sizes(cache):
        problems = [_problem(copy_path(cache, name, size), root / name) for name in names]
        counts[size] = (problems.count(_ABSENT), problems.count(_OLD))
    return counts


def cached_sizes(cache: Path) -> list[Size]:
    """Return the sizes (H, W) that there are copies of, by the names of the folders."""
    found = [re.fullmatch(r"(\d+)x(\d+)", path.name) for path in cache.iterdir()] if cache.is_dir() else []
    return sorted((int(match[1]), int(match[2])) for match in found if match)


def copy_path(cache: Path, image_file: str, size: Size) -> Path:
    """Return where the copy of an image lies, given by its path below the data root."""
    return (cache / f"{size[0]}x{size[1]}" / image_file).with_suffix(".png")


def _problem(copy: Path, image: Path) -> str:
    """Return what is wrong with a copy that its contents do not show, or nothing."""
    try:
        written_ns = copy.stat().st_mtime_ns
    except FileNotFoundError:
        return _ABSENT
    try:
        return _OLD if image.stat().st_mtime_ns > written_ns else ""
    except FileNotFoundError:
        return ""


def _write(root: Path, cache: Path, size: Size, name: str, stored: Size) -> bool:
    source, copy = root / name, copy_path(cache, name, size)
    if not _problem(copy, source):
        return False
    image = cv2.cvtColor(read_image(source, stored, size), cv2.COLOR_RGB2BGR)
    atomic_write_bytes(copy, cv2.imencode(".png", image)[1].tobytes())
    return True
