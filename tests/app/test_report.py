import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gsocc.app.report import check_report, print_table, write_report
from gsocc.app.stage1_report import COLUMNS, depth_protocol_of, stage1_row
from gsocc.errors import DataError
from gsocc.metrics.names import describe_protocol
from gsocc.viewer.drawing import save_png


def _report() -> dict[str, Any]:
    layers = [{"z_m": z, "occupancy": p, "occupied_share": p} for z, p in ((-0.4, 0.9), (0.0, 0.97), (0.4, 0.2))]
    metrics = {
        "occ3d/camera:iou": 0.52,
        "occ3d/camera/present:miou": 0.25,
        "occ3d/camera/17:iou/car": 0.09,
        "occ3d/camera/17:iou/bicycle": float("nan"),
        "occ3d/camera/16m:above_ground_f1": 0.24,
        "depth/nuscenes/80m:abs_rel": 0.3,
        "depth/nuscenes/80m:abs_rel/CAM_FRONT": 0.29,
        "depth/nuscenes/80m/median:abs_rel": 0.28,
    }
    return {
        "device": "2 cores",
        "seconds_total": 600.0,
        "peak_memory_gb": 3.1,
        "title": "A <street> & more",
        "systems": [
            {
                "name": "splat",
                "renderer": "splat_cpu",
                "pose": "ground truth",
                "steps": 700,
                "seconds_per_step": 0.31,
                "render_seconds": 0.03,
                "metrics": metrics,
                "ground_layers": layers,
            }
        ],
        "baselines": [
            {"name": "ground_plane", "metrics": {"occ3d/camera:iou": 0.62, "depth/nuscenes/80m:abs_rel": 0.5}},
            {"name": "all_free", "metrics": {"occ3d/camera:iou": np.float64(0.0)}},
        ],
        "checks": [{"claim": "IoU", "required": "0.56", "got": "0.52", "passed": False}],
    }


def _stage1_row(name: str, ratio: float) -> dict[str, Any]:
    """Return a row as an evaluation gives it; one figure does not exist."""
    metrics: dict[str, float | None] = {column.metric: 0.5 for column in COLUMNS}
    metrics |= {"pose/0.1m:scale_ratio_median": ratio, "pose/0.1m:speed_correlation": float("nan")}
    metrics |= {"pose/0.1m:frames": 72.0, "pose/0.1m:moving_frames": 70.0}
    return stage1_row(name, 4.0, "geometric", metrics, steps=300, seconds_per_step=0.2)


def test_depth_goes_under_the_protocol_of_its_data_set() -> None:
    """DDAD is scored to 200 m, and once more without the own car; options of a protocol are not the protocol."""
    metrics: dict[str, float | None] = {
        "depth/ddad/200m/median:abs_rel": 0.3,
        "depth/ddad/200m:abs_rel": 0.4,
        "depth/ddad/200m/self_mask:abs_rel": 0.2,
    }
    assert depth_protocol_of(metrics) == "depth/ddad/200m"
    assert depth_protocol_of([]) == "depth/nuscenes/80m"
    row = stage1_row("gsp", None, "geometric", metrics)
    found = [row[key] for key in ("depth_abs_rel", "depth_abs_rel_scaled", "depth_abs_rel_visible", "depth_ratio")]
    assert found == [0.4, 0.3, 0.2, None]
    report = _report()
    report["systems"][0]["metrics"] = {"depth/ddad/200m:abs_rel": 0.4}
    report["baselines"] = []
    names = {name for _, name, _, _ in check_report(report).key_columns}
    assert "depth/ddad/200m:a1" in names
    assert not any("nuscenes" in name for name in names)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


def test_json_holds_every_figure_and_null_for_what_does_not_exist(tmp_path: Path) -> None:
    write_report(tmp_path, _report())
    read = json.loads((tmp_path / "report.json").read_text())
    assert {"device", "seconds_total", "peak_memory_gb", "systems", "baselines"} <= set(read)
    system = read["systems"][0]
    assert {"name", "renderer", "pose", "steps", "seconds_per_step", "render_seconds", "metrics"} <= set(system)
    assert system["metrics"]["occ3d/camera:iou"] == 0.52
    assert system["metrics"]["occ3d/camera/17:iou/bicycle"] is None
    assert system["metrics"]["ground_layers"][1] == {"z_m": 0.0, "occupancy": 0.97, "occupied_share": 0.97}
    assert system["ground_layers"] == system["metrics"]["ground_layers"]
    assert [b["name"] for b in read["baselines"]] == ["ground_plane", "all_free"]


def test_stage_one_stands_beside_its_baselines_with_every_promised_key(tmp_path: Path) -> None:
    """The method, then what its parts are worth; a figure that does not exist is null."""
    rows = [_stage1_row("gsp", 1.02), _stage1_row("no_cross_view", 0.46), _stage1_row("no_mask_out", 0.26)]
    save_png(tmp_path / "p.png", np.full((4, 6, 3), 128, np.uint8))
    picture = ("Paths from above", "Predicted and true.", tmp_path / "p.png")
    page = write_report(tmp_path, _report() | {"stage1": {"rows": rows}}, stage1_pictures=[picture]).read_text()
    read = json.loads((tmp_path / "report.json").read_text())["stage1"]["rows"]
    promised = {"name", "initial_depth_m", "scale_ratio_median", "scale_ratio_iqr", "speed_correlation"}
    promised |= {"translation_error_m", "constant_speed_error_m", "direction_error_deg", "rotation_error_deg"}
    promised |= {"no_rotation_error_deg", "depth_abs_rel", "depth_ratio"}
    assert [row["name"] for row in read] == ["gsp", "no_cross_view", "no_mask_out"]
    assert all(promised <= set(row) for row in read)
    assert read[1]["scale_ratio_median"] == 0.46
    assert read[0]["speed_correlation"] is None
    assert (read[0]["motions"], read[0]["moving"]) == (72, 70)
    assert all(column.words in page.replace("&gt;", ">") for column in COLUMNS)
    assert "Paths from above" in page
    console = Console(width=200, record=True, file=io.StringIO())
    print_table(console, _report() | {"stage1": {"rows": rows}})
    assert "1.02" in (text := console.export_text())
    assert "no cross view" in text


def test_a_report_without_stage_one_does_not_mention_it(tmp_path: Path) -> None:
    page = write_report(tmp_path, _report()).read_text()
    assert "Stage 1" not in page
    assert "stage1" not in json.loads((tmp_path / "report.json").read_text())


def test_a_report_that_was_read_back_is_the_same_report(tmp_path: Path) -> None:
    write_report(tmp_path, _report())
    assert check_report(json.loads((tmp_path / "report.json").read_text())) == check_report(_report())


def test_the_page_is_one_file_and_well_formed(tmp_path: Path) -> None:
    """Nothing is loaded from elsewhere: every source is a data URI; text from outside is escaped."""
    save_png(tmp_path / "p.png", np.full((4, 6, 3), 128, np.uint8))
    picture = ("A frame", "What is <seen>.", tmp_path / "p.png")
    page = write_report(tmp_path, _report(), [picture, picture]).read_text()
    links = _Links()
    links.feed(page)
    assert links.open == []
    assert len(links.found) == 2
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "A &lt;street&gt; &amp; more" in page
    assert "splat_cpu; pose: ground truth; 700 steps" in page
    assert "What is &lt;seen&gt;." in page
    assert "occ3d/camera/16m:above_ground_f1" in page
    assert describe_protocol("occ3d/camera/16m") in page
    assert "not met" in page


def test_the_terminal_shows_predictors_and_the_protocol_of_each_column() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    print_table(console, _report())
    text = console.export_text()
    for expected in (
        "splat_cpu; pose: ground truth; 700 steps",
        "ground_plane",
        "0.520",
        "0.620",
        "occ3d/camera:iou",
        "NOT MET",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": None}, "device"),
        ({"systems": []}, "systems"),
        ({"surprise": 1}, "surprise"),
        ({"baselines": [{"name": "x", "metrics": {"miou": 0.1}}]}, "protocol"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_report(tmp_path / "out", _report() | change)
    assert not (tmp_path / "out").exists()


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.png: no such picture"):
        write_report(tmp_path, _report(), [("t", "c", tmp_path / "absent.png")])
    with pytest.raises(DataError, match="must be one of"):
        write_report(tmp_path, _report(), [("t", "c", tmp_path / "picture.tif")])


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("occ3d/camera/present", "classes that the truth of these frames holds"),
        ("occ3d/camera/16m/0.8m/z-0.8m", "a match counts up to 0.8 m away; the ground taken to lie at z = -0.8 m"),
        ("occ3d/camera/all/0.8m", "at any distance; a match counts up to 0.8 m away"),
        ("occ3d/none", "all voxels, seen or not"),
        ("depth/nuscenes/80m/median", "truth up to 80 m; each image scaled"),
    ],
)
def test_protocols_are_told_in_words(protocol: str, words: str) -> None:
    assert words in describe_protocol(protocol)
