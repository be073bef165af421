from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gsocc.app.commands import eval_predictions, view
from gsocc.errors import DataError, UserError
from gsocc.files import read_json
from gsocc.structures import OCC3D_GRID, VoxelGrid
from gsocc.structures.prediction import OccupancyPrediction, prediction_path, save_prediction
from gsocc.structures.semantic_files import read_semantics

SCENE, TOKENS = "scene-0001", ("ffff", "0000")


def _labels(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    semantics = np.full(OCC3D_GRID.shape, 17, np.uint8)
    semantics[..., 2] = 11
    semantics[rng.random(OCC3D_GRID.shape) < 0.002] = 4
    seen = (rng.random(OCC3D_GRID.shape) < 0.3).astype(np.uint8)
    return {"semantics": semantics, "mask_camera": seen, "mask_lidar": seen}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two key frames whose prediction is the truth; the one with the later name was taken first."""
    root = tmp_path_factory.mktemp("predictions")
    predictions, gts = root / "predictions", root / "gts"
    for number, token in enumerate(TOKENS):
        labels = _labels(number)
        (gts / SCENE / token).mkdir(parents=True)
        np.savez_compressed(gts / SCENE / token / "labels.npz", **labels)
        prediction = OccupancyPrediction(
            token=token,
            scene=SCENE,
            timestamp_s=float(number),
            grid=OCC3D_GRID,
            semantics=labels["semantics"],
            camera_names=("CAM_FRONT",),
            intrinsics=np.eye(3, dtype=np.float32)[None],
            cam_to_ego=np.eye(4, dtype=np.float32)[None],
            image_size=(9, 16),
        )
        save_prediction(prediction_path(predictions, SCENE, token), prediction)
    return predictions, gts


def _run(function: object, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(function)  # type: ignore[type-var]
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_truth_as_prediction_scores_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, gts = folders
    out = tmp_path / "scores.json"
    text = _run(eval_predictions.predictions, str(predictions), "--gts", str(gts), "--out", str(out))
    assert "2 key frames" in text
    assert "occ3d/camera/present:" in text
    scores = read_json(out)
    assert scores["frames"] == 2
    assert scores["predictors"]["predicted"]["occ3d/camera/present:miou"] == 1.0
    plane = scores["predictors"]["ground_plane"]
    assert plane["occ3d/camera:precision"] == 1.0
    assert plane["occ3d/camera:recall"] < 1.0
    assert plane["ground_layers"][2]["occupancy"] == 1.0


def test_a_prediction_on_another_grid_is_refused(tmp_path: Path) -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), (2, 2, 2), (1.0, 1.0, 1.0))
    small = OccupancyPrediction(
        token=TOKENS[0],
        scene=SCENE,
        timestamp_s=0.0,
        grid=grid,
        semantics=np.zeros(grid.shape, np.uint8),
        camera_names=(),
        intrinsics=np.zeros((0, 3, 3), np.float32),
        cam_to_ego=np.zeros((0, 4, 4), np.float32),
        image_size=(1, 1),
    )
    save_prediction(tmp_path / "p.npz", small)
    with pytest.raises(DataError, match="not on the Occ3D lattice"):
        read_semantics(tmp_path / "p.npz")


def test_a_snapshot_needs_no_display(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("open3d", reason="pictures of scenes need Open3D", exc_type=ImportError)
    monkeypatch.delenv("DISPLAY", raising=False)
    predictions, gts = folders
    out = tmp_path / "out.png"
    arguments = [str(predictions), "--gts", str(gts), "--snapshot", str(out), "--width", "320"]
    text = _run(view.occ, *arguments, "--show", "prediction", "--show", "error", "--view", "top")
    assert "wrote" in text
    picture = cv2.imread(str(out))
    assert picture.shape[1] == 320
    assert picture.std() > 10


def test_frames_are_stepped_through_in_time_and_a_number_beyond_is_refused(folders: tuple[Path, Path]) -> None:
    frames = view._frames([folders[0]], None)
    assert [frame()[0].token for frame in frames] == list(TOKENS)
    with pytest.raises(UserError, match=r"expected 0\.\.1, got 7"):
        view.occ([folders[0]], frame=7)
