"""Read Occ3D-nuScenes labels: `gts/<scene>/<token>/labels.npz`."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from gsocc.errors import DataError
from gsocc.files import read_npz
from gsocc.labels import FREE
from gsocc.structures import OCC3D_GRID, OccupancyLabels

_KEYS = ("semantics", "mask_camera", "mask_lidar")


def occ3d_path(gts_root: Path, scene: str, token: str) -> Path:
    """Return where the labels of a key frame lie."""
    return gts_root / scene / token / "labels.npz"


def read_occ3d(path: Path) -> OccupancyLabels:
    """Read the labels and masks of one key frame, (200, 200, 16) indexed [x, y, z] on `OCC3D_GRID`.

    The masks are given as stored. The published systems replace the camera mask by the intersection of both, which
    is a choice of their metric and made there.

    Raises:
        DataError: Where the file is missing, of another format or shape, or holds an id outside 0..17.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no Occ3D labels for this key frame; expected gts/<scene>/<token>/labels.npz from Occ3D-nuScenes"
        )
    arrays = read_npz(path)
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise DataError(
            f"{path}: is not an Occ3D label file: it lacks {', '.join(missing)} and holds {', '.join(sorted(arrays))}; "
            "other occupancy sets (OpenOcc, SurroundOcc) number their classes differently and are not read"
        )
    semantics, camera, lidar = (_checked(path, key, arrays[key]) for key in _KEYS)
    masks = [torch.from_numpy(mask.view(np.bool_)) for mask in (camera, lidar)]  # nothing but 0 and 1, as was checked
    return OccupancyLabels(torch.from_numpy(semantics), masks[0], masks[1])


def _checked(path: Path, key: str, values: np.ndarray) -> UInt8[np.ndarray, "X Y Z"]:
    if values.shape != OCC3D_GRID.shape:
        raise DataError(f"{path}: {key} must be {OCC3D_GRID.shape}, got {values.shape}; is it an Occ3D-nuScenes file?")
    if values.dtype.kind not in "iub":
        raise DataError(f"{path}: {key} must hold integers, got {values.dtype}; is it an Occ3D-nuScenes file?")
    highest = FREE if key == "semantics" else 1
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > highest:
        raise DataError(f"{path}: {key} must lie in 0..{highest}, got ids {low}..{high}; unknown ids are not guessed")
    return np.ascontiguousarray(values, dtype=np.uint8)
