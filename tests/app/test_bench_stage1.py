"""The benchmark of stage 1: what its table says of hand-made rows, and that finished runs stay finished."""

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from gsocc.app.benchmark.stage1 import benchmark_stage1, markdown, orderings, summaries
from gsocc.app.cli import app
from gsocc.app.stage1_report import COLUMNS, Stage1Row, stage1_row
from gsocc.app.stage1_runs import ABLATION, BY_DATASET, VARIANTS, stage1_config
from gsocc.errors import UserError


def _row(name: str, seed: int, ratio: float, start_m: float = 4.0, readout: str = "geometric") -> dict[str, Any]:
    metrics: dict[str, float | None] = {column.metric: 0.5 for column in COLUMNS}
    metrics |= {"pose/0.1m:scale_ratio_median": ratio, "pose/0.1m:frames": 72, "pose/0.1m:moving_frames": 70}
    return stage1_row(name, start_m, readout, metrics, steps=300, cpu_seconds_per_step=0.2) | {"seed": seed}


def test_seeds_are_summed_up_as_mean_and_range_and_starts_and_readouts_stay_apart() -> None:
    rows = [_row("gsp", 0, 0.9), _row("gsp", 1, 1.2), _row("gsp", 0, 1.0, 20.0), _row("gsp", 0, 1.1, readout="network")]
    lines = summaries(rows)
    assert [(line["initial_depth_m"], line["readout"], line["seeds"]) for line in lines] == [
        (4.0, "geometric", 2),
        (20.0, "geometric", 1),
        (4.0, "network", 1),
    ]
    assert lines[0]["scale_ratio_median"] == {"mean": pytest.approx(1.05), "min": 0.9, "max": 1.2}
    text = markdown(rows)
    assert "1.05 (0.90–1.20)" in text
    assert "| 72 (70) |" in text
    table = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1, "a bar in a heading must not make a column"


def test_half_and_twice_the_truth_are_equally_far_from_it() -> None:
    """Seed 0: 0.9 against 0.46. Seed 1: 1.5 (log 0.405) against 0.7 (log 0.357), which is nearer."""
    rows = [_row("gsp", 0, 0.9), _row("no_cross_view", 0, 0.46), _row("gsp", 1, 1.5), _row("no_cross_view", 1, 0.7)]
    assert math.log(1.5) > -math.log(0.7)
    (one,) = orderings(rows)
    assert (one["than"], one["better"], one["seeds"]) == ("no_cross_view", 1, 2)
    assert "gsp is nearer to metric scale than no_cross_view in 1 of 2 seeds" in markdown(rows)


def test_a_figure_that_does_not_exist_is_a_dash() -> None:
    assert "| – |" in markdown([_row("gsp", 0, 1.0) | {"depth_abs_rel": None}])


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_run_that_starts_where_it_is_told(name: str, tmp_path: Path) -> None:
    """And refines within its steps, however few they are."""
    config = stage1_config(name, tmp_path, start_m=20.0, seed=3, steps=10)
    assert config.model.depth.initial_depth_m == 20.0
    assert (config.training.seed, config.training.steps) == (3, 10)
    assert config.objective.refine_steps == (2 if name == "gsp_refined" else 0)
    assert config.model.depth.flow == (name == "gsp_flow_depth")


@pytest.mark.parametrize("dataset", BY_DATASET)
def test_the_parts_of_the_method_are_told_apart(dataset: str, tmp_path: Path) -> None:
    """Every two variants differ in what they train, not in name only."""
    named = [stage1_config(name, tmp_path, dataset=dataset) for name in BY_DATASET[dataset]]
    assert {config.data.dataset for config in named} == {dataset}
    configs = [config.model_dump(exclude={"name"}) for config in named]
    assert all(a != b for i, a in enumerate(configs) for b in configs[:i])
    assert set(ABLATION) <= set(VARIANTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--variant", "gps"], "--variant: expected one of no_cross_view"), (["--start-m", "0.5"], "between 1 and 80")],
)
def test_what_cannot_be_trained_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["bench", "stage1", *arguments])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_and_another_one_is(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights keep their time stamp; a third step is another run."""
    monkeypatch.setattr("gsocc.app.benchmark.stage1.prepare_world", lambda *_: None)
    world = Path(shutil.copytree(tiny_world, tmp_path / "world"))  # optical flow is kept in it
    weights = tmp_path / "out" / "gsp_from_4m_seed0" / "checkpoints" / "last" / "model.safetensors"
    stamps = []
    for steps in (2, 2, 3):
        rows = benchmark_stage1(tmp_path / "out", world, ["gsp"], [4.0], 1, steps, Console(file=io.StringIO()))
        stamps.append(weights.stat().st_mtime_ns)
        assert {row["readout"] for row in rows} == {"geometric", "network"}
        assert all(Stage1Row(**{k: v for k, v in row.items() if k != "seed"}).steps == steps for row in rows)
    assert stamps[0] == stamps[1] != stamps[2]
    record = json.loads((tmp_path / "out" / "stage1.json").read_text())
    assert record["summaries"][0]["seeds"] == 1
    assert (tmp_path / "out" / "stage1.md").read_text().startswith("| variant |")
