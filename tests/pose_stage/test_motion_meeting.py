"""The two stages meet in files: a tiny stage-1 run, its motion file, and stage 2 by way of either."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gsocc.config import load_config
from gsocc.engine import RunDirectory
from gsocc.errors import OutputError
from gsocc.structures import collate
from gsocc.structures.motions import load_motions
from occ_stage.config import OccConfig
from occ_stage.data import training_dataset
from occ_stage.evaluate import evaluate_checkpoint
from occ_stage.motion import open_motion, with_motion
from occ_stage.train import train as train_occ
from pose_stage.config import PoseRunConfig
from pose_stage.predict import predict_motions
from pose_stage.train import train as train_pose

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def stage1(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stage-1 run of two steps at 32x64."""
    folder = tmp_path_factory.mktemp("pose") / "run"
    overrides = [f"data.root={tiny_world}", "data.flow_cache=null", "data.image_size=[32, 64]", "training.steps=2"]
    train_pose(load_config(CONFIGS / "pose" / "synthetic_gsp.yaml", PoseRunConfig, overrides), folder)
    return folder


@pytest.fixture(scope="module")
def motion_file(stage1: Path) -> Path:
    """Return the motion file of that run."""
    predict_motions(stage1, stage1.parent / "motions.npz")
    return stage1.parent / "motions.npz"


def _occ(world: Path, *more: str) -> OccConfig:
    small = [
        "data.image_size=[48, 80]",
        "data.min_travel_m=0",
        "grid.shape=[50, 50, 8]",
        "grid.voxel_m=[1.6, 1.6, 0.8]",
    ]
    small += ["renderer.size=[24, 40]", "training.steps=2", "training.warmup_steps=1", "evaluation.threshold=0.4"]
    return load_config(CONFIGS / "occ" / "synthetic_splat.yaml", OccConfig, [f"data.root={world}", *small, *more])


@pytest.mark.slow
def test_a_file_and_the_checkpoint_it_came_from_move_the_cameras_alike(
    tiny_world: Path, stage1: Path, motion_file: Path
) -> None:
    """One network, one size of image, one answer: bit-equal camera motions, whichever way they come."""
    by_file = _occ(tiny_world, "pose.source=file", f"pose.file={motion_file}")
    by_network = _occ(tiny_world, "pose.source=stage1", f"pose.checkpoint={stage1}")
    file, network = open_motion(by_file), open_motion(by_network)
    assert file is not None
    assert network is not None
    assert file.identity == network.identity
    assert file.identity.startswith("synthetic_gsp@2-")
    assert file.identity.endswith("/geometric")
    dataset = training_dataset(by_file, file)
    batch = collate([dataset[0], dataset[2]])
    assert torch.equal(with_motion(batch, file).cam_motion, with_motion(batch, network).cam_motion)
    assert not torch.equal(with_motion(batch, file).cam_motion, batch.cam_motion)


@pytest.mark.slow
def test_a_motion_file_holds_every_key_frame_of_its_splits(tiny_world: Path, stage1: Path, tmp_path: Path) -> None:
    """3 scenes of 2 key frames, one of them held out; another read-out is another identity."""
    changed = ["model.pose.readout=network", f"data.root={tiny_world}"]
    written = predict_motions(stage1, tmp_path / "val.npz", changed, ["val"])
    assert len(written.tokens) == 2
    assert written.identity.endswith("/network")
    read = load_motions(tmp_path / "val.npz")
    assert read.tokens == written.tokens
    assert np.array_equal(read.ego_motion, written.ego_motion)


@pytest.mark.slow
def test_a_run_and_its_scores_say_whose_motion_they_were_trained_with(
    tiny_world: Path, motion_file: Path, tmp_path: Path
) -> None:
    """In config.yaml, which every checkpoint carries, in metrics.json and above the table of scores."""
    config = _occ(tiny_world, "pose.source=file", f"pose.file={motion_file}")
    train_occ(config, tmp_path / "run")
    identity = load_motions(motion_file).identity
    assert f"identity: {identity}" in (tmp_path / "run" / "checkpoints" / "last" / "config.yaml").read_text()
    result, _ = evaluate_checkpoint(tmp_path / "run", with_baselines=False)
    assert result.pose == f"stage1 {identity}, read from a file"
    assert json.loads((tmp_path / "run" / "eval" / "metrics.json").read_text())["pose"] == result.pose


@pytest.mark.slow
def test_a_run_is_not_resumed_with_other_motion(tiny_world: Path, motion_file: Path, tmp_path: Path) -> None:
    """Ground truth for the second half would make a run that nobody described."""
    train_occ(_occ(tiny_world, "pose.source=file", f"pose.file={motion_file}"), tmp_path / "run")
    with pytest.raises(OutputError, match=r"pose\.source: file -> ground_truth"):
        train_occ(_occ(tiny_world), tmp_path / "run", "resume")
    assert RunDirectory(tmp_path / "run", "").finished()
