"""Resized copies of a data set's images, for those that are dear to decode, as PNG is, which has no smaller decode."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from gsocc.datasets.images import read_image
from gsocc.datasets.index import SurroundIndex
from gsocc.errors import DataError
from gsocc.files import atomic_write_bytes
from gsocc.progress import track

Size = tuple[int, int]


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


def read_cached_image(cache: Path, image_file: str, size: Size) -> UInt8[np.ndarray, "H W 3"]:
    """Read the copy of an image, given by its path below the data root: what `read_image` made of it.

    Raises:
        BadImageError: Where the copy cannot be decoded whole.
        DataError: Where there is none.
    """
    path = copy_path(cache, image_file, size)
    if not path.is_file():
        raise DataError(
            f"{path}: there is no copy of this image; write them: gsocc index ddad ROOT --cache {size[0]}x{size[1]}"
        )
    return read_image(path, size, size)


def copy_path(cache: Path, image_file: str, size: Size) -> Path:
    """Return where the copy of an image lies, given by its path below the data root."""
    return (cache / f"{size[0]}x{size[1]}" / image_file).with_suffix(".png")


def _write(root: Path, cache: Path, size: Size, name: str, stored: Size) -> bool:
    source, copy = root / name, copy_path(cache, name, size)
    if copy.is_file() and copy.stat().st_mtime_ns >= source.stat().st_mtime_ns:
        return False
    image = cv2.cvtColor(read_image(source, stored, size), cv2.COLOR_RGB2BGR)
    atomic_write_bytes(copy, cv2.imencode(".png", image)[1].tobytes())
    return True
