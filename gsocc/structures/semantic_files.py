"""Label volumes from prediction files: this toolkit's, and the `pred` files that other systems write."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from gsocc.errors import DataError
from gsocc.files import read_npz
from gsocc.labels import FREE
from gsocc.structures.prediction import load_prediction
from gsocc.structures.voxel_grid import OCC3D_GRID

FOREIGN_KEY = "pred"
"""The array of a file `<sample token>.npz` as SparseOcc, OccNeRF and GaussianOcc write it."""


@dataclass(frozen=True)
class SemanticVolume:
    """Labels of one key frame on the Occ3D lattice.

    Attributes:
        token: The data set's id of the key frame.
        semantics: Occ3D labels, 0..16 for the classes and 17 for free.
        occupancy: Probability that a voxel is solid, where the file holds it.
    """

    token: str
    semantics: UInt8[np.ndarray, "X Y Z"]
    occupancy: Float[np.ndarray, "X Y Z"] | None = None


def token_of(path: Path) -> str:
    """Return the key frame that a file predicts, without reading its volumes.

    Raises:
        DataError: Where the file is damaged or of neither form.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = set(archive.files) if isinstance(archive, np.lib.npyio.NpzFile) else set()
            header = str(archive["meta"]) if "meta" in names else ""
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: expected a whole npz archive without pickled objects, got: {error}") from error
    if FOREIGN_KEY in names:
        return path.stem
    if {"meta", "semantics"} <= names:
        try:
            return str(json.loads(header)["token"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: meta must be JSON with a token, got {header[:80]!r}") from error
    raise DataError(
        f"{path}: is not a prediction file: expected an array {FOREIGN_KEY} {OCC3D_GRID.shape}, or meta and semantics "
        f"as gsocc writes them, got {', '.join(sorted(names)) or 'no arrays'}"
    )


def read_semantics(path: Path) -> SemanticVolume:
    """Read the labels of a prediction file of either form.

    Raises:
        DataError: Where the file is damaged, lies on another grid or holds ids outside 0..17.
    """
    arrays = read_npz(path)
    if FOREIGN_KEY in arrays:
        return SemanticVolume(path.stem, _checked(path, arrays[FOREIGN_KEY]))
    prediction = load_prediction(path)
    if prediction.grid != OCC3D_GRID:
        raise DataError(f"{path}: lies on {prediction.grid}, not on the Occ3D lattice {OCC3D_GRID}")
    return SemanticVolume(prediction.token, prediction.semantics, prediction.occupancy)


def _checked(path: Path, labels: np.ndarray) -> UInt8[np.ndarray, "X Y Z"]:
    if labels.shape != OCC3D_GRID.shape:
        raise DataError(
            f"{path}: {FOREIGN_KEY} must have shape {OCC3D_GRID.shape} [x, y, z] on the Occ3D lattice, got "
            f"{labels.shape}; resample or transpose it, one file per key frame"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {FOREIGN_KEY} must hold integer class ids, got {labels.dtype}; write the argmax, not scores"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > FREE:
        raise DataError(
            f"{path}: {FOREIGN_KEY} must hold Occ3D ids 0..{FREE} ({FREE} is free), got ids {low}..{high}; unknown ids "
            "are not guessed"
        )
    return np.ascontiguousarray(labels, dtype=np.uint8)
