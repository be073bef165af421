"""Stage 2 trains on real frames: the photometric loss of two consecutive nuScenes key frames falls."""

import json
from pathlib import Path

import pytest

from gsocc.config import load_config
from gsocc.datasets.nuscenes import build_index
from occ_stage.config import OccConfig
from occ_stage.train import train

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "occ" / "nuscenes_mini_pair.yaml"


@pytest.mark.slow
def test_photometric_loss_of_a_real_pair_falls_by_a_third(real_data_root: Path, tmp_path: Path) -> None:
    """Self-supervised by reprojection alone; it fits two frames, so it shows that everything fits together, no more."""
    root = real_data_root / "nuscenes_mini_subset"
    index = build_index(root, "v1.0-mini", tmp_path / "index.npz")
    overrides = [f"data.root={root}", f"data.index={index}", "training.workers=0", "training.log_every_steps=10"]
    train(load_config(CONFIG, OccConfig, overrides), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["photometric"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < 2 / 3 * losses[0], losses
    assert list((tmp_path / "run" / "panels").rglob("*.png"))
