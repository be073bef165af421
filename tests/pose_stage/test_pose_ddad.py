"""Stage 1 trains on DDAD: the recipe is complete, and on three real samples the loss falls."""

import json
from pathlib import Path

import pytest

from gsocc.config import load_config
from gsocc.datasets.ddad import build_index
from pose_stage.config import PoseRunConfig
from pose_stage.evaluate import evaluate_checkpoint
from pose_stage.train import train

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pose"


@pytest.mark.parametrize("recipe", ["ddad.yaml", "ddad_synthetic.yaml"])
def test_the_recipe_reaches_as_far_as_its_evaluation(recipe: str) -> None:
    """Depth is scored to 200 m: what the network can say and what rays follow must not end before."""
    config = load_config(CONFIGS / recipe, PoseRunConfig, [])
    assert config.data.dataset == "ddad" and config.data.self_mask
    assert config.evaluation.max_depth_m == config.model.depth.max_depth_m == config.gsp.max_depth_m == 200.0


@pytest.mark.slow
def test_the_loss_of_three_real_samples_falls_and_depth_is_scored_to_200_m(
    real_data_root: Path, tmp_path: Path
) -> None:
    """Both terms fall on the frames that it sees: everything fits together on real images, no more than that."""
    root = real_data_root / "ddad_scenes" / "test_scene"
    if not root.is_dir():
        pytest.skip("the sample has no DDAD scenes")
    index = build_index(root, tmp_path / "index.npz")
    overrides = [f"data.root={root}", f"data.index={index}", "training.log_every_steps=3", "training.steps=45"]
    overrides.append("evaluation.depth_size=[96, 152]")
    train(load_config(CONFIGS / "ddad_real_trio.yaml", PoseRunConfig, overrides), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    for term in ("temporal", "cross_view"):
        values = [line[term] for line in trained]
        assert sum(values[-3:]) < 0.9 * sum(values[:3]), values
    scores = evaluate_checkpoint(tmp_path / "run", with_baselines=False)["run"].metrics
    assert 0.0 < scores["depth/ddad/200m:abs_rel"] < 1.0
