"""Read 2-D semantic label files in the format of the published pseudo labels.

One file per key-frame image, `nuscenes_semantic/samples/<CAM>/<image name without extension>_mask.bin`: raw int8,
row-major, one byte per pixel of the stored image, with the ids of `gsocc.labels.RAW_NAMES` and -1 where the
generator found nothing.
"""

from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from gsocc.errors import DataError
from gsocc.labels import IGNORE, RAW_NAMES, RAW_TO_OCC3D

UNLABELED_RAW = -1
_KNOWN = np.arange(1, len(RAW_NAMES))  # 0 is never written


def semantic_path(semantics_root: Path, image_file: str) -> Path:
    """Return the label file of an image, given by its path below the data root (`samples/<CAM>/<name>.jpg`)."""
    image = PurePosixPath(image_file)
    return semantics_root / image.parent / f"{image.stem}_mask.bin"


def read_semantic_labels(path: Path, image_size: tuple[int, int], unlabelled: int = IGNORE) -> Int64[np.ndarray, "H W"]:
    """Read a label file as Occ3D ids: 0..16, 17 for sky, -1 without a label.

    The published loaders index their table with the raw -1, which wraps to its last entry: about 13 % of all pixels
    are trained as sky there. Here -1 stays -1 and carries no loss, unless `unlabelled` says otherwise.

    Args:
        path: The label file.
        image_size: (H, W) of the stored image.
        unlabelled: What pixels without a label become.

    Raises:
        DataError: Where the file is missing, its size is not that of the image, or it holds an unknown id.
    """
    try:
        raw = np.fromfile(path, dtype=np.int8)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no semantic labels for this image; expected raw int8 files named after the images, "
            "which gsocc label semantics makes (docs/labels.md)"
        ) from error
    height, width = image_size
    if raw.size != height * width:
        raise DataError(
            f"{path}: expected {height * width} bytes, one per pixel of a {height}x{width} (HxW) image, got {raw.size}"
        )
    counts = np.bincount(raw.view(np.uint8), minlength=256)
    counts[_KNOWN] = 0
    counts[UNLABELED_RAW] = 0
    if counts.any():
        unknown = counts.nonzero()[0].astype(np.uint8).view(np.int8)
        raise DataError(
            f"{path}: unknown class ids {unknown.tolist()}; expected -1 or 1..{len(RAW_NAMES) - 1} "
            "(gsocc.labels.RAW_NAMES)"
        )
    table = np.full(256, IGNORE, dtype=np.int64)
    table[: len(RAW_TO_OCC3D)] = RAW_TO_OCC3D
    table[UNLABELED_RAW] = unlabelled
    return table[raw.view(np.uint8)].reshape(height, width)
