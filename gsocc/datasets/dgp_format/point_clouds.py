"""Point clouds as DGP stores them: npz with one array `data`, plain or with named columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from gsocc.errors import DataError
from gsocc.files import read_npz

_AXES = ("X", "Y", "Z")


def read_points(path: Path, point_format: Sequence[str | int] = ()) -> Float64[np.ndarray, "N 3"]:
    """Read the positions of a point cloud in the frame of its sensor, in metres.

    Args:
        path: The npz file.
        point_format: What its columns hold, by name or by number of the format's enum; without it x, y, z come first.

    Raises:
        DataError: Where the file is missing or damaged, a coordinate has no column, or one is not finite.
    """
    if path.suffix != ".npz":
        raise DataError(f"{path}: expected point clouds as npz, which DDAD has, got {path.suffix or 'no ending'}")
    try:
        arrays = read_npz(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: the point cloud is missing; copy the scene again") from error
    if "data" not in arrays:
        raise DataError(f"{path}: expected an array called data, got {', '.join(sorted(arrays)) or 'none'}")
    points = _positions(arrays["data"], column_names(point_format), path)
    bad = ~np.isfinite(points).all(-1)
    if bad.any():
        raise DataError(
            f"{path}: {int(bad.sum())} of {len(points)} points are not finite, the first at row {int(bad.argmax())}; "
            "copy the file again or repair it"
        )
    return points


def column_names(point_format: Sequence[str | int]) -> list[str]:
    """Return column names in capitals; 0, 1 and 2 are x, y and z where the format's enum is written as numbers."""
    known = dict(enumerate(_AXES))
    return [known.get(entry, str(entry)) if isinstance(entry, int) else entry.upper() for entry in point_format]


def _positions(data: np.ndarray, names: list[str], path: Path) -> Float64[np.ndarray, "N 3"]:
    if data.dtype.names is not None:
        fields = {name.upper(): name for name in data.dtype.names}
        missing = [axis for axis in _AXES if axis not in fields]
        if missing:
            raise DataError(f"{path}: expected columns X, Y, Z, got {', '.join(data.dtype.names)}")
        return np.stack([data[fields[axis]] for axis in _AXES], -1).astype(np.float64)
    if data.ndim != 2 or data.shape[1] < len(_AXES):
        raise DataError(f"{path}: expected data of shape (points, at least 3), got {data.shape}")
    if not names:
        return np.ascontiguousarray(data[:, :3], dtype=np.float64)
    missing = [axis for axis in _AXES if axis not in names]
    if missing or len(names) != data.shape[1]:
        raise DataError(
            f"{path}: the scene says that columns are {', '.join(names)}, but data has {data.shape[1]} of them"
            + (f" and {', '.join(missing)} cannot be found" if missing else "")
        )
    return np.stack([data[:, names.index(axis)] for axis in _AXES], -1).astype(np.float64)
