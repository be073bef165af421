"""Prediction folders of other systems: what is scored, and what is refused before anything is written."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from gsocc.app.commands.eval_predictions import choose_protocols, predictions
from gsocc.app.score_files import LabelFolder, by_token, check_frames, expected_frames
from gsocc.datasets.index import find_index, read_index
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.errors import DataError, UserError
from gsocc.files import read_json
from gsocc.labels import FREE
from gsocc.metrics import RayIouMetric
from gsocc.metrics.ray_iou import lidar_origins


def _perturbed(semantics: np.ndarray, seed: int) -> np.ndarray:
    """Return labels of which a tenth of the occupied voxels is gone and as many others appeared."""
    rng = np.random.default_rng(seed)
    changed = semantics.copy()
    changed[(semantics != FREE) & (rng.random(semantics.shape) < 0.1)] = FREE
    changed[rng.random(semantics.shape) < 0.002] = 4
    return changed


@pytest.fixture(scope="module")
def foreign(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of `<token>.npz` with `pred`, as other systems write it, for the validation key frames."""
    folder = tmp_path_factory.mktemp("foreign")
    index = read_index(find_index(tiny_world))
    for row in index.split_rows("val").tolist():
        truth = np.load(tiny_world / "gts" / index.scene(row) / index.token(row) / "labels.npz")["semantics"]
        np.savez_compressed(folder / f"{index.token(row)}.npz", pred=_perturbed(truth, row).astype(np.int64))
    return folder


def _run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(predictions)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _second_opinion(world: Path, folder: Path) -> dict[str, float]:
    """Return scores from sets of voxels in plain numpy."""
    index = read_index(find_index(world))
    true, predicted, seen = [], [], []
    for path in sorted(folder.glob("*.npz")):
        scene = next(index.scene(row) for row in range(len(index)) if index.token(row) == path.stem)
        labels = np.load(world / "gts" / scene / path.stem / "labels.npz")
        true.append(labels["semantics"])
        predicted.append(np.load(path)["pred"])
        seen.append((labels["mask_camera"] & labels["mask_lidar"]).astype(bool))
    t, p, both = np.stack(true), np.stack(predicted), np.stack(seen)
    ious = []
    for class_id in (c for c in range(17) if c not in (0, 12)):
        union = (((t == class_id) | (p == class_id)) & both).sum()
        if union:
            ious.append((((t == class_id) & (p == class_id)) & both).sum() / union)
    solid = ((t != FREE) & (p != FREE)).sum() / ((t != FREE) | (p != FREE)).sum()
    return {"occ3d/camera_lidar/15:miou": float(np.mean(ious)), "occ3d/none:iou": float(solid)}


def test_foreign_files_score_as_counted_by_hand_and_by_rays(tiny_world: Path, foreign: Path, tmp_path: Path) -> None:
    """Both means against numpy, RayIoU against the metric fed from the index here."""
    out = tmp_path / "scores.json"
    text = _run(
        str(foreign), "--labels", str(tiny_world / "gts"), "--out", str(out), "--no-baselines",
        "--protocol", "occ3d/camera_lidar/15,occ3d/none,occ3d/ray/17,occ3d/ray/15,occ3d/selfocc",
    )  # fmt: skip
    record = read_json(out)
    scores = record["predictors"]["predicted"]
    for name, value in _second_opinion(tiny_world, foreign).items():
        assert scores[name] == pytest.approx(value, rel=1e-12), name
    index = read_index(find_index(tiny_world))
    rays, reader = RayIouMetric(), KeyFrameReader(index, tiny_world)
    for path in foreign.glob("*.npz"):
        frame = reader.read(path.stem)
        labels = np.load(tiny_world / "gts" / frame.scene / path.stem / "labels.npz")["semantics"]
        origins = lidar_origins(
            torch.from_numpy(frame.scene_lidar_to_ego), torch.from_numpy(frame.scene_ego_to_global), frame.number
        )
        predicted = torch.from_numpy(np.load(path)["pred"].astype(np.uint8))[None]
        rays.update(predicted, torch.from_numpy(labels)[None], [origins])
    assert scores["occ3d/ray/17:rayiou"] == pytest.approx(rays.compute()["occ3d/ray/17:rayiou"], rel=1e-12)
    assert set(record["protocols"]) >= {"occ3d/ray/15", "occ3d/selfocc"}
    assert "occ3d/camera_lidar/15:miou" in text
    assert all(name.startswith("occ3d/") for name in re.findall(r"\S*miou\b", text))


Damage = Callable[[Path], None]


def _remove(folder: Path) -> None:
    sorted(folder.glob("*.npz"))[0].unlink()


def _add(folder: Path) -> None:
    (folder / "ffff.npz").write_bytes(sorted(folder.glob("*.npz"))[0].read_bytes())


def _double(folder: Path) -> None:
    path = sorted(folder.glob("*.npz"))[0]
    (folder / "again").mkdir()
    (folder / "again" / path.name).write_bytes(path.read_bytes())


def _rewrite(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(folder: Path) -> None:
        path = sorted(folder.glob("*.npz"))[-1]
        np.savez_compressed(path, pred=change(np.load(path)["pred"]))

    return damage


def _truncate(folder: Path) -> None:
    path = sorted(folder.glob("*.npz"))[0]
    path.write_bytes(path.read_bytes()[:200])


def _rename_array(folder: Path) -> None:
    np.savez_compressed(sorted(folder.glob("*.npz"))[0], semantic=np.zeros(3))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove, "1 of 2 key frames have no prediction"),
        (_add, "1 predictions are of no key frame that is scored"),
        (_double, "second prediction of frame"),
        (_rewrite(lambda p: p[:, :, :15]), r"pred must have shape \(200, 200, 16\)"),
        (_rewrite(lambda p: np.where(p == FREE, 18, p)), r"Occ3D ids 0\.\.17.*got ids"),
        (_rewrite(lambda p: p - 5), "got ids -1"),
        (_rewrite(lambda p: p.astype(np.float32)), "integer class ids, got float32"),
        (_truncate, "expected a whole npz archive"),
        (_rename_array, "is not a prediction file: expected an array pred"),
    ],
    ids=["missing", "extra", "duplicate", "shape", "id above", "id below", "floats", "damaged", "array name"],
)
def test_a_bad_folder_is_refused_and_nothing_is_written(
    tiny_world: Path, foreign: Path, tmp_path: Path, damage: Damage, message: str
) -> None:
    """Whatever is wrong is named, and no scores of the rest are left behind."""
    folder, out = tmp_path / "predictions", tmp_path / "scores.json"
    folder.mkdir()
    for path in foreign.glob("*.npz"):
        (folder / path.name).write_bytes(path.read_bytes())
    damage(folder)
    with pytest.raises(DataError, match=message):
        predictions([folder], tiny_world / "gts", protocol="occ3d/none", split="val", baselines=False, out=out)
    assert not out.exists()


def test_rendered_scores_and_missing_poses_are_refused_by_name(tmp_path: Path, foreign: Path) -> None:
    """Depth needs a renderer; RayIoU needs the places where the LiDAR was."""
    (tmp_path / "gts" / "scene" / "token").mkdir(parents=True)
    with pytest.raises(UserError, match="depth/nuscenes/80m scores rendered images"):
        predictions([foreign], tmp_path / "gts", protocol="depth/nuscenes/80m")
    with pytest.raises(UserError, match="occ3d/ray/17 needs the poses"):
        predictions([foreign], tmp_path / "gts", protocol="occ3d/ray/17")


def test_the_frames_that_are_expected_follow_from_the_split_that_holds_the_files(
    tiny_world: Path, foreign: Path
) -> None:
    """Labels hold training scenes too; files of validation frames alone have to hold those, and all of those."""
    index = read_index(find_index(tiny_world))
    labels = LabelFolder.find(tiny_world)
    files = by_token(list(foreign.glob("*.npz")))
    assert expected_frames(files, labels, index, None, None) == set(files)
    assert expected_frames(labels.scenes, labels, index, None, None) == set(labels.scenes)
    assert expected_frames(files, labels, None, None, None) == set(labels.scenes)
    one = sorted(files)[:1]
    assert expected_frames(files, labels, index, None, one) == set(one)
    with pytest.raises(DataError, match="no Occ3D labels of 1 key frames"):
        expected_frames(files, labels, index, None, ["nowhere"])
    with pytest.raises(UserError, match="--split"):
        expected_frames(files, labels, None, "val", None)
    check_frames(one, files, partial=True)


def test_scores_without_labels_need_no_labels(tiny_world: Path, foreign: Path, tmp_path: Path) -> None:
    """Poses and scans come from the data set; a score that reads labels is refused by name."""
    out = tmp_path / "scores.json"
    predictions([foreign], data=tiny_world, protocol="lidar/scan,static/next", baselines=False, out=out)
    scores = read_json(out)["predictors"]["predicted"]
    assert 0 < scores["lidar/scan:hit_recall"] < 1
    assert 0 < scores["static/next:matched"] <= 1
    with pytest.raises(UserError, match="--labels: expected the folder"):
        predictions([foreign], data=tiny_world, protocol="occ3d/none")


def test_ray_iou_is_left_out_by_name_where_no_poses_are_known() -> None:
    names, left_out = choose_protocols(None, has_poses=False)
    assert left_out == ("occ3d/ray/17", "occ3d/ray/15")
    assert not set(names) & set(left_out)
    assert choose_protocols(None, has_poses=True) == ((*names, *left_out), ())


def test_a_real_label_scores_a_perturbed_copy_as_counted_by_hand(real_data_root: Path, tmp_path: Path) -> None:
    """Frame 27 of scene-1077 of Occ3D; no index beside it, so RayIoU is left out and the table says so."""
    gts = real_data_root / "occ3d_labels" / "gts"
    token = "29796060110c4163b07f06eff4af0753"
    path = gts / "scene-1077" / token / "labels.npz"
    if not path.is_file():
        pytest.skip(f"no Occ3D label at {path}")
    with np.load(path) as labels:
        truth, seen = labels["semantics"], labels["mask_camera"].astype(bool)
    predicted = _perturbed(truth, 1)
    folder, out = tmp_path / "predictions", tmp_path / "scores.json"
    folder.mkdir()
    np.savez_compressed(folder / f"{token}.npz", pred=predicted)
    text = _run(str(folder), "--labels", str(gts), "--out", str(out), "--no-baselines", "--ground-z", "-0.8")
    assert "not scored: occ3d/ray/17, occ3d/ray/15" in text
    scores = read_json(out)["predictors"]["predicted"]
    ious = []
    for class_id in range(17):
        p, t = predicted[seen] == class_id, truth[seen] == class_id
        if (p | t).any():
            ious.append((p & t).sum() / (p | t).sum())
    assert scores["occ3d/camera/17:miou"] == pytest.approx(np.mean(ious), rel=1e-12)
    assert scores["occ3d/camera/16m/z-0.8m:above_ground_f1"] > 0.5
