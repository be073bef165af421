import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsocc.errors import DataError
from gsocc.structures import VoxelGrid
from gsocc.structures.prediction import (
    OccupancyPrediction,
    find_predictions,
    load_prediction,
    prediction_path,
    save_prediction,
)

GRID = VoxelGrid((-2.0, -1.6, -1.0), (10, 8, 6), (0.4, 0.4, 0.4))


def _prediction(seed: int = 0) -> OccupancyPrediction:
    rng = np.random.default_rng(seed)
    return OccupancyPrediction(
        token="3e8750f3",
        scene="scene-0103",
        timestamp_s=1533151603.5,
        grid=GRID,
        semantics=rng.integers(0, 18, GRID.shape, dtype=np.uint8),
        occupancy=rng.random(GRID.shape, dtype=np.float32),
        camera_names=("CAM_FRONT", "CAM_BACK"),
        intrinsics=np.tile(np.eye(3, dtype=np.float32), (2, 1, 1)),
        cam_to_ego=np.tile(np.eye(4, dtype=np.float32), (2, 1, 1)),
        image_size=(9, 16),
        depth_m=rng.random((2, 4, 6), dtype=np.float32) * 80,
        semantic_images=rng.integers(0, 18, (2, 4, 6), dtype=np.uint8),
        image_files=("samples/CAM_FRONT/a.jpg", "samples/CAM_BACK/a.jpg"),
        meta={"checkpoint": "runs/x/best", "threshold": 0.5, "protocols": ["occ3d/camera"]},
    )


def test_a_prediction_returns_as_it_was_written(tmp_path: Path) -> None:
    """Labels exactly, probabilities to half a step of 1/255, depth to half a float16 step (1/4096 relative)."""
    written = _prediction()
    path = prediction_path(tmp_path, written.scene, written.token)
    save_prediction(path, written)
    read = load_prediction(path)
    assert (read.semantics == written.semantics).all()
    assert read.occupancy is not None
    assert read.depth_m is not None
    np.testing.assert_allclose(read.occupancy, written.occupancy, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(read.depth_m, written.depth_m, rtol=1 / 2048)
    for name in ("token", "scene", "timestamp_s", "grid", "camera_names", "image_size", "image_files", "meta"):
        assert getattr(read, name) == getattr(written, name), name
    assert read.rig.num_views == 2


def test_the_optional_parts_may_be_absent(tmp_path: Path) -> None:
    bare = replace(_prediction(), occupancy=None, depth_m=None, semantic_images=None, image_files=(), meta={})
    save_prediction(tmp_path / "p.npz", bare)
    read = load_prediction(tmp_path / "p.npz")
    assert read.occupancy is None
    assert read.depth_m is None
    assert read.semantic_images is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"semantics": np.full(GRID.shape, 18, np.uint8)}, r"labels 0\.\.17, got 18"),
        ({"occupancy": np.full(GRID.shape, np.nan, np.float32)}, r"occupancy must lie in \[0, 1\]"),
        ({"camera_names": ("CAM_FRONT",)}, r"intrinsics must have shape \(1, 3, 3\), got \(2, 3, 3\)"),
        ({"image_files": ("one.jpg",)}, "image_files must have shape"),
    ],
)
def test_contradictions_are_not_written(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save_prediction(tmp_path / "p.npz", replace(_prediction(), **change))
    assert not (tmp_path / "p.npz").exists()


def test_other_files_are_refused_with_their_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, semantics=np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(DataError, match=r"labels\.npz: is not a prediction file"):
        load_prediction(path)
    with pytest.raises(DataError, match="no such prediction file"):
        load_prediction(tmp_path / "absent.npz")
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match=r"labels\.npz"):
        load_prediction(path)


def test_a_newer_format_and_damaged_meta_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    semantics = np.zeros((2, 2, 2), np.uint8)
    np.savez(path, meta=np.array(json.dumps({"format": "gsocc-occupancy/9"})), semantics=semantics)
    with pytest.raises(DataError, match="expected format gsocc-occupancy/1, got gsocc-occupancy/9"):
        load_prediction(path)
    np.savez(path, meta=np.array("no json"), semantics=semantics)
    with pytest.raises(DataError, match="meta must be JSON"):
        load_prediction(path)
    np.savez(path, meta=np.array(json.dumps({"format": "gsocc-occupancy/1"})), semantics=semantics)
    with pytest.raises(DataError, match="lacks 'grid'"):
        load_prediction(path)


def test_files_are_found_in_folders_and_half_written_ones_are_not(tmp_path: Path) -> None:
    for scene, token in (("scene-b", "2"), ("scene-a", "1")):
        save_prediction(prediction_path(tmp_path, scene, token), _prediction())
    (tmp_path / "scene-a" / ".0123-tmp.npz").write_bytes(b"")
    names = [p.name for p in find_predictions([tmp_path])]
    assert names == ["1.npz", "2.npz"]
    with pytest.raises(DataError, match="no such file"):
        find_predictions([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no prediction"):
        find_predictions([tmp_path / "empty"])
