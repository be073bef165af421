"""The demo at the smallest size that still goes the whole way."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from gsocc.app.demo import ABOVE, ABS_REL, IOU, MIOU, DemoPlan, demo_checks, run_demo


@pytest.mark.slow
def test_the_demo_goes_from_nothing_to_a_report(tmp_path: Path) -> None:
    """World, two trainings, scores beside baselines, pictures, report; every promised key is there."""
    plan = DemoPlan(scenes=2, val_scenes=1, keyframes=3, image_size=(48, 80), steps=3)
    run_demo(tmp_path / "demo", tmp_path / "world", plan, Console(file=io.StringIO()))
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert {"device", "seconds_total", "peak_memory_gb", "systems", "baselines"} <= set(report)
    systems = {row["name"]: row for row in report["systems"]}
    assert {name: row["renderer"] for name, row in systems.items()} == {"splat": "splat_cpu", "volume": "volume_cpu"}
    for row in systems.values():
        assert {"pose", "steps", "seconds_per_step", "render_seconds", "metrics"} <= set(row)
        assert {IOU, MIOU, ABOVE, ABS_REL, "ground_layers"} <= set(row["metrics"])
        assert row["steps"] == 3
    names = {row["name"] for row in report["baselines"]}
    assert names == {"all_free", "all_occupied", "ground_plane", "untrained", "label_prior"}
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(list((tmp_path / "demo" / "pictures").glob("*.png"))) == 2


def _report(splat_iou: float) -> dict[str, object]:
    metrics = {IOU: 0.5, MIOU: 0.05, ABOVE: 0.0, ABS_REL: 0.5}
    ours = {IOU: splat_iou, MIOU: 0.25, ABOVE: 0.3, ABS_REL: 0.3}
    layers = [{"z_m": 0.0, "occupancy": 0.9}, {"z_m": 0.4, "occupancy": 0.2}]
    system = {"name": "splat", "metrics": ours, "ground_layers": layers, "seconds_per_step": 0.3}
    baselines = [{"name": n, "metrics": {**metrics, ABOVE: 0.05}} for n in ("ground_plane", "all_occupied")]
    return {"systems": [system], "baselines": baselines, "seconds_total": 300.0, "peak_memory_gb": 2.0}


def test_a_claim_that_is_missed_is_reported_as_missed() -> None:
    """0.47 against a plane of 0.5: within a tenth, but not better than it."""
    checks = {check["claim"]: check["passed"] for check in demo_checks(_report(0.47))}
    assert checks["geometry IoU, against 0.9 of the flat plane's"]
    assert not checks["geometry IoU, against the flat plane's (the goal)"]
    assert sum(not passed for passed in checks.values()) == 1
