"""Occ3D label files: what is read and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsocc.datasets.occ3d import read_occ3d
from gsocc.errors import DataError

SHAPE = (200, 200, 16)


def write(path: Path, **changes: Any) -> Path:
    arrays = {
        "semantics": np.full(SHAPE, 17, dtype=np.uint8),
        "mask_lidar": np.zeros(SHAPE, dtype=np.uint8),
        "mask_camera": np.ones(SHAPE, dtype=np.uint8),
    }
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_any_integer_type_is_read(tmp_path: Path, dtype: type) -> None:
    labels = read_occ3d(write(tmp_path / "labels.npz", semantics=np.full(SHAPE, 3, dtype=dtype)))
    assert (labels.semantics == 3).all() and labels.mask_camera.all() and not labels.mask_lidar.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"semantics": np.full(SHAPE, 18, dtype=np.uint8)}, r"semantics must lie in 0\.\.17, got ids 18\.\.18"),
        ({"semantics": np.full(SHAPE, -1, dtype=np.int8)}, r"got ids -1\.\.-1"),
        ({"semantics": np.full(SHAPE, 1.0)}, "semantics must hold integers, got float64"),
        ({"mask_camera": np.full(SHAPE, 255, dtype=np.uint8)}, r"mask_camera must lie in 0\.\.1"),
        ({"mask_lidar": np.zeros((16, 200, 200), dtype=np.uint8)}, r"mask_lidar must be \(200, 200, 16\), got \(16,"),
        ({"mask_camera": None}, "lacks mask_camera and holds mask_lidar, semantics"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "labels.npz", **changes)
    with pytest.raises(DataError, match=rf"labels\.npz: .*{message}"):
        read_occ3d(path)


def test_missing_damaged_and_pickled_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    with pytest.raises(DataError, match="no Occ3D labels for this key frame"):
        read_occ3d(path)
    whole = write(tmp_path / "whole.npz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="expected a whole npz archive"):
        read_occ3d(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="expected a whole npz archive"):
        read_occ3d(path)
    np.savez(path, semantics=np.array([{}], dtype=object), mask_lidar=np.zeros(1), mask_camera=np.zeros(1))
    with pytest.raises(DataError, match="without pickled objects"):
        read_occ3d(path)
