"""Whole runs on a tiny world: train, resume, evaluate, predict, over one and several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from gsocc.app.score_files import LabelFolder, by_token, score_files
from gsocc.config import load_config
from gsocc.datasets.index import find_index, read_index
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.errors import CheckpointError, UserError
from gsocc.structures.prediction import find_predictions, load_prediction
from occ_stage.checkpoint import load_predictor
from occ_stage.config import OccConfig
from occ_stage.evaluate import evaluate_checkpoint
from occ_stage.predict import predict_checkpoint
from occ_stage.train import train

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "occ" / "synthetic_splat.yaml"
SMALL = [
    "data.image_size=[48, 80]",
    "data.min_travel_m=0",
    "grid.shape=[50, 50, 8]",
    "grid.voxel_m=[1.6, 1.6, 0.8]",
    "renderer.size=[24, 40]",
    "training.steps=6",
    "training.warmup_steps=2",
    "training.workers=0",
    "training.val_every_steps=3",
    "training.panel_every_steps=6",
    "training.log_every_steps=1",
    "evaluation.threshold_samples=2",
]


def _config(world: Path, *more: str) -> OccConfig:
    return load_config(CONFIG, OccConfig, [f"data.root={world}", *SMALL, *more])


@pytest.fixture(scope="module")
def run(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of six steps."""
    folder = tmp_path_factory.mktemp("runs") / "six"
    train(_config(tiny_world), folder)
    return folder


@pytest.mark.slow
def test_a_run_leaves_configuration_versions_history_pictures_and_weights(run: Path) -> None:
    """Everything that a later reader needs, and a loss of its own per term."""
    for name in ("config.yaml", "versions.json", "metrics.json", "checkpoints/last/model.safetensors"):
        assert (run / name).is_file(), name
    assert list((run / "panels").rglob("*.png"))
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [record for record in history if record["kind"] == "train"]
    assert {"total", "photometric", "semantic", "total_variation"} <= set(trained[0])
    assert trained[-1]["total"] < trained[0]["total"]
    validated = [record for record in history if record["kind"] == "val"]
    assert "objective/validation:total" in validated[0]
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["steps"] == 6


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_unbroken_one_does(tiny_world: Path, run: Path, tmp_path: Path) -> None:
    """Three steps, then three more: bit-equal weights; the schedule belongs to the six steps of the configuration."""
    constant = ["training.schedule=constant"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(_config(tiny_world, *constant), whole)
    train(_config(tiny_world, *constant, "training.steps=3"), broken)
    train(_config(tiny_world, *constant), broken, "resume")
    for folder in (whole, broken):
        assert json.loads((folder / "metrics.json").read_text())["steps"] == 6
    weights = [(f / "checkpoints" / "last" / "model.safetensors").read_bytes() for f in (whole, broken)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_every_number_names_its_protocol_and_stands_beside_baselines(run: Path, tmp_path: Path) -> None:
    """metrics.json holds the run, the threshold and where it was chosen, and five predictors without eyes."""
    result, baselines = evaluate_checkpoint(run, out=tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert set(baselines) == {"all_free", "all_occupied", "ground_plane", "label_prior", "untrained"}
    assert all(name.count(":") == 1 for name in record["metrics"])
    for name in ("occ3d/camera:iou", "occ3d/camera/present:miou", "depth/nuscenes/80m:abs_rel"):
        assert result.metrics[name] >= 0
    assert baselines["all_free"].metrics["occ3d/camera:iou"] == 0
    assert record["threshold_chosen_on"].startswith("training frames")
    assert record["frames"] == result.frames == 2


MANY = (
    "occ3d/camera_lidar/15", "occ3d/camera_lidar/15/per_rank", "occ3d/none/ssc", "occ3d/selfocc", "occ3d/ray/17",
    "lidar/scan", "static/next",
)  # fmt: skip


@pytest.mark.slow
def test_many_protocols_in_one_pass_equal_the_scores_of_the_prediction_files(
    run: Path, tiny_world: Path, tmp_path: Path
) -> None:
    """Two ways to the same numbers: from the network, and from the files that it wrote on the way."""
    protocols = (*MANY, "depth/nuscenes/80m/round", "depth/nuscenes/80m/median")
    overrides = ["evaluation.threshold=0.4"]
    result, _ = evaluate_checkpoint(
        run, overrides, tmp_path, tmp_path / "predictions", with_baselines=False, protocols=protocols
    )
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert set(record["protocols"]) == set(protocols)
    assert {name.split(":")[0] for name in record["metrics"]} == set(protocols)
    labels, index = LabelFolder.find(tiny_world), read_index(find_index(tiny_world))
    files = by_token(find_predictions([tmp_path / "predictions"]))
    reader = KeyFrameReader(index, tiny_world)
    scores = score_files(files, labels, MANY, reader=reader, with_baselines=False)["predicted"].metrics
    assert scores == pytest.approx({name: result.metrics[name] for name in scores}, rel=1e-12, nan_ok=True)


@pytest.mark.slow
def test_depth_alone_needs_no_labels_and_another_data_set_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Occ3D files nor a threshold are read for it."""

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("gsocc.datasets.nuscenes.read_occ3d", refuse)
    result, baselines = evaluate_checkpoint(run, out=tmp_path, protocols=("depth/nuscenes/80m",))
    assert result.threshold is None
    assert result.metrics["depth/nuscenes/80m:abs_rel"] > 0
    assert baselines["ground_plane"].metrics["depth/nuscenes/80m:abs_rel"] > 0
    with pytest.raises(UserError, match="depth of data set ddad, but the run reads nuscenes"):
        evaluate_checkpoint(run, out=tmp_path, protocols=("depth/ddad/200m",))


@pytest.mark.slow
def test_scores_are_the_same_on_one_and_two_ranks(run: Path, tmp_path: Path) -> None:
    """Two frames, one per rank under torchrun, against both in one process: pooled counts, equal numbers."""
    protocols = ("occ3d/camera", "occ3d/camera_lidar/15/per_rank", "occ3d/ray/17", "lidar/scan", "depth/nuscenes/80m")
    overrides = ["evaluation.threshold=0.4"]
    evaluate_checkpoint(run, overrides, out=tmp_path / "one", with_baselines=False, protocols=protocols)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "occ_stage"]
    command += ["eval", str(run), "--out", str(tmp_path / "two"), "--set", "evaluation.threshold=0.4", "--no-baselines"]
    command += ["--protocol", ",".join(protocols)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["frames"] == two["frames"] == 2
    for name, value in one["metrics"].items():
        assert value is None or two["metrics"][name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.slow
def test_predictions_need_no_truth_and_read_back(run: Path, tiny_world: Path, tmp_path: Path) -> None:
    """One file per validation key frame, on the Occ3D lattice, with the images it was made from."""
    files = predict_checkpoint(run, tmp_path, threshold=0.4)
    assert len(files) == 2
    prediction = load_prediction(files[0])
    assert prediction.semantics.shape == (200, 200, 16)
    assert prediction.occupancy is not None
    steps = np.rint(prediction.occupancy * 255)  # stored in steps of 1/255: the one at the threshold may be either
    clear = steps != round(0.4 * 255)
    assert np.array_equal((prediction.semantics != 17)[clear], steps[clear] > 0.4 * 255)
    assert all((tiny_world / name).is_file() for name in prediction.image_files)
    with pytest.raises(UserError, match="no occupancy threshold"):
        predict_checkpoint(run / "checkpoints" / "last", tmp_path / "again")


@pytest.mark.slow
def test_a_checkpoint_of_another_grid_is_refused_with_names(run: Path) -> None:
    """Wrong heights change the decoder's shapes."""
    with pytest.raises(CheckpointError, match="another architecture or grid"):
        load_predictor(run, ["grid.shape=[50, 50, 4]"])


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    """And so is the command that makes one."""
    with pytest.raises(CheckpointError, match=r"nowhere: no such run or checkpoint; train one with `gsocc train occ`"):
        load_predictor(tmp_path / "nowhere")


@pytest.mark.slow
def test_weights_that_training_started_from_are_not_needed_again(run: Path) -> None:
    """A checkpoint holds all of them; ImageNet's file may have been on another machine."""
    load_predictor(run, ["model.backbone_weights=gone.pth"])


@pytest.mark.slow
def test_a_parked_vehicle_teaches_nothing_and_the_run_says_so(tiny_world: Path, tmp_path: Path) -> None:
    """No key frame moves a kilometre between sweeps."""
    with pytest.raises(UserError, match="min_travel_m"):
        train(_config(tiny_world, "data.min_travel_m=1000"), tmp_path / "parked")
