"""`gsocc bench train`: whole steps of a tiny network, without data."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gsocc.app.benchmark.train import ENTRANTS, TrainRow, synthetic_batch, training_sheet
from gsocc.app.commands import bench
from gsocc.app.paths import CONFIGS
from gsocc.config import load_config
from gsocc.errors import UserError
from gsocc.files import read_json
from occ_stage.config import OccConfig

TINY = [
    "data.image_size=[32,48]",
    "renderer.size=[8,12]",
    "grid.shape=[16,16,8]",
    "grid.voxel_m=[5.0,5.0,0.8]",
    "model.pyramid_width=8",
    "model.lift_channels=4",
]


def tiny() -> OccConfig:
    return load_config(CONFIGS / "occ" / "synthetic_splat.yaml", OccConfig, TINY)


def test_a_step_is_timed_with_every_renderer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "train.json"
    bench.train(changes=TINY, device="cpu", repeats=1, json=out, markdown=tmp_path / "page.md")
    report = read_json(out)
    assert [row["renderer"] for row in report["rows"]] == list(ENTRANTS["cpu"])
    assert (report["grid"], report["size"], report["images"]) == ("8x16x16", "8x12", "32x48")
    for row in report["rows"]:
        assert row["error"] is None
        assert row["step_s"] > 0.0
        assert row["renderer_s"] > 0.0
    rows = {row["renderer"]: row for row in report["rows"]}
    against = {one["renderer"]: one["step"] for one in report["ratios"]}
    assert against["volume"] == rows["volume"]["step_s"] / rows["splat_cpu_cached"]["step_s"]
    assert "splat_cpu_cached" in capsys.readouterr().out
    assert "| volume_cpu_cells |" in (tmp_path / "page.md").read_text()


def test_a_renderer_that_refuses_is_a_row_that_says_so(tmp_path: Path) -> None:
    out = tmp_path / "train.json"
    changes = [*TINY, "renderer.options.cache_max_gb=0.000001"]
    names = ["splat_cpu_cached", "splat_cpu"]
    bench.train(changes=changes, renderer=names, device="cpu", repeats=1, json=out)
    cached, plain = read_json(out)["rows"]
    assert cached["step_s"] is None
    assert "cache_max_gb" in cached["error"]
    assert plain["step_s"] > 0.0


def test_the_made_up_batch_is_what_a_dataset_gives() -> None:
    """Three images of six cameras, the rig moving half a metre each way, labels of classes that the network has."""
    config = tiny()
    batch = synthetic_batch(config)
    assert batch.images.shape == (1, 3, 6, 3, 32, 48)
    assert batch.semantic_labels is not None
    assert batch.semantic_labels.shape == (1, 6, 8, 12)
    assert len(batch.semantic_labels.unique()) > 3
    assert 0.0 <= batch.images.min() < batch.images.max() <= 1.0
    torch.testing.assert_close(batch.cam_motion[0, 1, 0] @ batch.cam_motion[0, 2, 0], torch.eye(4))
    batch.rig.validate()


def test_the_share_is_that_of_the_renderer() -> None:
    sheet = training_sheet([TrainRow("splat_cpu", 2.0, 0.5, 0.25, 3.0, 1.0), TrainRow("volume", 5.0)], tiny())
    assert sheet.rows[0][:3] == ("splat_cpu", "2.000", "1.00x")
    assert sheet.rows[0][6] == "25%"
    assert sheet.rows[1][2] == "2.50x"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"renderer": ["splat_gsplat"]}, "--renderer: expected one of splat_cpu_cached, .* on cpu, got 'splat_gsplat'"),
        ({"device": "tpu"}, "--device: expected cpu or cuda, got 'tpu'"),
        ({"threads": 10_000}, "--threads: numba may use"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        bench.train(**{"device": "cpu", **arguments})
