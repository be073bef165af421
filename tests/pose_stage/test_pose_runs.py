"""Whole runs of stage 1 on a tiny world: train, resume, refine, evaluate."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gsocc.config import load_config
from gsocc.errors import CheckpointError, OutputError
from pose_stage.checkpoint import load_run
from pose_stage.config import PoseRunConfig
from pose_stage.data import training_frames
from pose_stage.evaluate import evaluate_checkpoint
from pose_stage.train import train

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pose"
SMALL = [
    "data.flow_cache=null",
    "data.image_size=[48, 80]",
    "training.warmup_steps=0",
    "training.schedule=constant",
    "training.learning_rate=0.003",
    "training.log_every_steps=1",
    "evaluation.depth_size=[48, 80]",
]


def _config(world: Path, *more: str, name: str = "gsp") -> PoseRunConfig:
    return load_config(CONFIGS / f"synthetic_{name}.yaml", PoseRunConfig, [f"data.root={world}", *SMALL, *more])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / "last" / "model.safetensors")


@pytest.fixture(scope="module")
def run(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of four steps with validation and pictures."""
    folder = tmp_path_factory.mktemp("runs") / "four"
    train(_config(tiny_world, "training.steps=4", "training.val_every_steps=4", "training.panel_every_steps=4"), folder)
    return folder


@pytest.mark.slow
def test_two_steps_lower_the_loss_of_the_frames_they_saw(tiny_world: Path, tmp_path: Path) -> None:
    """One key frame, seen twice: the second look costs less than the first, every term on its own."""
    tokens = tmp_path / "tokens.txt"
    frames = load_config(CONFIGS / "synthetic_gsp.yaml", PoseRunConfig, [f"data.root={tiny_world}", *SMALL])
    tokens.write_text(training_frames(frames).tokens[0] + "\n")
    more = ("training.steps=3", f"data.train_tokens={tokens}", "gsp.mask_out=fixed")
    result = train(_config(tiny_world, *more), tmp_path / "run")
    losses = [record["total"] for record in result.history if record["kind"] == "train"]
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.slow
def test_a_run_leaves_its_terms_pictures_and_a_checkpoint_that_builds_the_network(run: Path) -> None:
    """Terms on their own lines, panels, and `model:` in the configuration beside the weights."""
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"total", "temporal", "cross_view", "smoothness"} <= set(history[0])
    validated = [record for record in history if record["kind"] == "val"]
    assert "objective/validation:cross_view" in validated[0]
    assert list((run / "panels").rglob("*.png"))
    model, config = load_run(run, ["model.pose.readout=network"])
    assert config.model.pose.readout == "network"
    assert set(_weights(run)) == set(model.state_dict())
    gone = ["model.depth.backbone_weights=gone.pth", "model.pose.backbone_weights=gone.pth"]
    model, _ = load_run(run, gone)  # weights that training started from are not needed again
    assert set(_weights(run)) == set(model.state_dict())


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_unbroken_one_does(tiny_world: Path, run: Path, tmp_path: Path) -> None:
    """Two steps, then two more: bit-equal weights, random sides of the overlaps included."""
    broken = tmp_path / "broken"
    same = ("training.val_every_steps=4", "training.panel_every_steps=4")
    train(_config(tiny_world, "training.steps=2", *same), broken)
    train(_config(tiny_world, "training.steps=4", *same), broken, "resume")
    whole, again = _weights(run), _weights(broken)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
def test_refinement_leaves_the_pose_network_alone(tiny_world: Path, run: Path, tmp_path: Path) -> None:
    """Four steps like the run's, then two more: depth moves on, the pose network is that of step four."""
    folder = tmp_path / "refined"
    train(_config(tiny_world, "training.steps=6", "objective.refine_steps=2", name="gsp_refined"), folder)
    before, after = _weights(run), _weights(folder)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"depth_net"}
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert "cross_view" not in last
    with pytest.raises(OutputError, match=r"training.steps"):
        train(_config(tiny_world, "training.steps=8", "objective.refine_steps=2"), folder, "resume")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no_cross_view", "bilinear", "no_mask_out", "mask_out"])
def test_every_baseline_trains_by_its_name(tiny_world: Path, tmp_path: Path, name: str) -> None:
    """The same trainer; the term that differs is there or not."""
    result = train(_config(tiny_world, "training.steps=1", name=name), tmp_path / name)
    assert ("cross_view" in result.history[0]) == (name != "no_cross_view")


@pytest.mark.slow
def test_scores_name_their_protocol_for_both_readouts_and_the_untrained_network(run: Path, tmp_path: Path) -> None:
    """metrics.json says how the motion was read out and from which depth training started."""
    results = evaluate_checkpoint(run, out=tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["protocol"]["readout"] == "geometric"
    assert record["protocol"]["initial_depth_m"] == 4.0
    assert set(record["readouts"]) == {"network", "geometric"}
    assert all(name.count(":") == 1 for name in record["metrics"])
    for name in ("pose/0.1m:scale_ratio_median", "trajectory:ate_m", "depth/nuscenes/80m:abs_rel"):
        assert results["run"].metrics[name] >= 0
    assert record["baselines"]["untrained"]["metrics"] != record["metrics"]
    assert len(results["run"].trajectories) == 1
    assert list((tmp_path / "panels").glob("*.jpg"))


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    """And so is the command that makes one."""
    with pytest.raises(CheckpointError, match=r"train one with `gsocc train pose`"):
        load_run(tmp_path / "nowhere")
