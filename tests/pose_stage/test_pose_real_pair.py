"""Stage 1 trains on real frames: the loss of two consecutive nuScenes key frames falls."""

import json
from pathlib import Path

import pytest

from gsocc.config import load_config
from gsocc.datasets.nuscenes import build_index
from pose_stage.config import PoseRunConfig
from pose_stage.train import train

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pose" / "nuscenes_mini_pair.yaml"


@pytest.mark.slow
def test_the_loss_of_a_real_pair_falls(real_data_root: Path, tmp_path: Path) -> None:
    """Both terms fall on the two frames that it sees: everything fits together on real images, no more than that."""
    root = real_data_root / "nuscenes_mini_subset"
    index = build_index(root, "v1.0-mini", tmp_path / "index.npz")
    overrides = [f"data.root={root}", f"data.index={index}", "training.log_every_steps=10", "training.steps=80"]
    train(load_config(CONFIG, PoseRunConfig, overrides), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    for term in ("temporal", "cross_view"):
        assert trained[-1][term] < 0.9 * trained[0][term], [line[term] for line in trained]
    assert list((tmp_path / "run" / "panels").rglob("*.png"))
