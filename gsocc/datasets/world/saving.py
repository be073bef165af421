"""Files of a world that every format has: images, arrays, and 2-D classes as the published generator writes them.

Files are written in place, not atomically: a world counts only once its `world.json` is there.
"""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from gsocc.labels import FREE, IGNORE, NUM_OCC3D_LABELS, OCC3D_ID, RAW_TO_OCC3D

ImageFormat = Literal["jpg", "png"]
_ENCODING: dict[str, tuple[int, ...]] = {
    "jpg": (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "png": (),
}


def save_image(path: Path, image: np.ndarray) -> None:
    """Write an image, (H, W, 3) RGB or (H, W), as its suffix says: jpg (quality 95, full chroma) or png."""
    pixels = image[..., ::-1] if image.ndim == 3 else image
    _, data = cv2.imencode(path.suffix, pixels, _ENCODING[path.suffix[1:]])
    save_bytes(path, data.tobytes())


def save_classes(path: Path, labels: np.ndarray) -> None:
    """Write the Occ3D classes of an image as `*_mask.bin`: int8 raw ids of the published 2-D labels, row by row."""
    save_bytes(path, _RAW_OF_OCC3D[labels].tobytes())


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an npy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=False)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def save_bytes(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _raw_of_occ3d() -> np.ndarray:
    """Return the inverse of `RAW_TO_OCC3D` as int8; classes that the 2-D labels do not know become -1."""
    raw = np.full(NUM_OCC3D_LABELS, IGNORE, np.int8)
    for value in range(1, len(RAW_TO_OCC3D)):
        raw[RAW_TO_OCC3D[value]] = value
    return raw


_RAW_OF_OCC3D = _raw_of_occ3d()
assert _RAW_OF_OCC3D[FREE] == 16 and _RAW_OF_OCC3D[OCC3D_ID["manmade"]] == 11
