"""`gsocc bench differences`: the world it measures on, and its table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsocc.app.benchmark import differences
from gsocc.app.benchmark.differences import (
    CASES,
    MOTION,
    OTHER_NETWORK,
    SHOWN,
    Bench,
    Difference,
    MotionDifference,
    motion_differences,
    world_with_gaps,
)
from gsocc.app.benchmark.differences_table import MARKS, merged, sheet
from gsocc.app.benchmark.tables import markdown, read_sheet, write_markdown
from gsocc.app.commands import bench
from gsocc.app.demo_datasets import NUSCENES
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.errors import UserError
from gsocc.labels import IGNORE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "differences.md"


def test_labels_get_gaps_and_all_else_stays(tiny_world: Path, tmp_path: Path) -> None:
    """As large a share as in the published labels, 13.5 %, within what blocks of 12 pixels leave to chance."""
    copy = tmp_path / "gaps"
    world_with_gaps(tiny_world, copy)
    options = {"split": "all", "image_size": (48, 80), "parts": {"semantics"}, "frame_ids": (0,)}
    before, after = (NuScenesDataset(root=root, **options) for root in (tiny_world, copy))
    missing = []
    for number in range(len(before)):
        whole, gaps = before[number], after[number]
        assert whole.semantic_labels is not None
        assert gaps.semantic_labels is not None
        kept = gaps.semantic_labels != IGNORE
        assert (gaps.semantic_labels == whole.semantic_labels)[kept].all()
        assert (gaps.images == whole.images).all()
        missing.append(1 - kept.float().mean().item())
    assert np.mean(missing) == pytest.approx(0.135, abs=0.03)


def test_scores_stand_with_half_of_their_range_over_seeds() -> None:
    """0.1 and 0.3 are 0.2, give or take 0.1."""
    off = [{"mIoU": 0.1, "IoU": 0.5, "AbsRel": 0.2}, {"mIoU": 0.3, "IoU": 0.5, "AbsRel": 0.2}]
    row = Difference("unmasked_warp", "splat", 1.25, 0.5, off, {"mIoU": 0.4, "IoU": 0.5, "AbsRel": 0.2}, off[:1])
    motion = MotionDifference("pose_batch_statistics", translation_m=0.012, rotation_deg=0.3, travel_m=0.5)
    page = markdown([sheet([row], [motion], 10, 2)])
    assert "| unmasked_warp | splat | 1.250 | 0.500 | 0.200 ± 0.100 / 0.400 / 0.100 |" in page
    assert "- pose_batch_statistics: training mode moves predicted motion by 1.2 cm and 0.30 degrees" in page


def _row(switch: str, score: float) -> Difference:
    scores = [{"mIoU": score, "IoU": score, "AbsRel": score}]
    return Difference(switch, "splat", 1.0, 1.0, scores, scores[0], scores)


def test_rows_that_are_measured_again_replace_their_own_and_no_others(tmp_path: Path) -> None:
    """In the order of the switches, remarks too; what the page says around the table stays."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin bench differences -->\n<!-- end bench differences -->\nafter\n")
    order = ["unmasked_warp", "tie_noise", "jitter_per_image", "pose_batch_statistics", "jittered_pose_images"]
    still = MotionDifference("jittered_pose_images", 0.01, 0.1, 0.5)
    first = sheet([_row("jitter_per_image", 0.1), _row("unmasked_warp", 0.2)], [still], 10, 1)
    assert merged(first, page, order) == first
    write_markdown(page, MARKS, "A command.\n\n" + markdown([first]))
    drifting = MotionDifference("pose_batch_statistics", 0.02, 0.2, 0.5)
    second = sheet([_row("tie_noise", 0.3), _row("unmasked_warp", 0.4)], [drifting], 10, 1)
    both = merged(second, page, order)
    assert [row[0] for row in both.rows] == ["unmasked_warp", "tie_noise", "jitter_per_image"]
    assert [row[-1] for row in both.rows] == ["0.400 / 0.400 / 0.400", "0.300 / 0.300 / 0.300", "0.100 / 0.100 / 0.100"]
    assert [remark.split(":")[0] for remark in both.remarks] == ["pose_batch_statistics", "jittered_pose_images"]
    write_markdown(page, MARKS, markdown([both]))
    assert read_sheet(page, MARKS) == both
    assert page.read_text().startswith("before\n")
    with pytest.raises(UserError, match="same --steps and --seeds"):
        merged(sheet([_row("tie_noise", 0.3)], [], 20, 1), page, order)


def test_a_switch_that_makes_another_network_has_no_score_with_the_weights_of_the_first() -> None:
    """A dash where there is nothing to say."""
    scores = [{"mIoU": 0.1, "IoU": 0.1, "AbsRel": 0.1}]
    row = Difference("flow_channel_opacity", "splat, no labels", None, None, scores, None, scores)
    assert sheet([row], [], 10, 1).rows[0][2:5] == ("-", "-", "0.100 / - / 0.100")
    assert {"flow_channel_opacity"} == OTHER_NETWORK


def test_the_table_of_the_page_has_what_was_measured_for_every_switch() -> None:
    """One row or one remark each."""
    found = read_sheet(PAGE, MARKS)
    assert found is not None
    assert {row[0] for row in found.rows} == set(CASES)
    assert {remark.split(":")[0] for remark in found.remarks} == set(MOTION)


def test_a_page_that_cannot_take_the_rows_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """Its table is of 120 steps and two seeds."""
    with pytest.raises(UserError, match=r"cannot take rows of 'switches of the releases, 7 steps, seed 0'"):
        bench.differences(switch=["tie_noise"], steps=7, seeds=1, out=tmp_path / "runs", markdown=PAGE)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_switch_is_named_with_those_there_are() -> None:
    """Before anything is trained."""
    with pytest.raises(UserError, match="--switch: expected one of unlabelled_as_sky"):
        bench.differences(switch=["nothing"])


@pytest.mark.slow
def test_a_network_is_trained_once_and_measured_with_its_switch_and_without(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step on the tiny world; another bench on the same folder finds the runs and says the same."""
    monkeypatch.setattr(differences, "NUSCENES", replace(NUSCENES, prepare=lambda *_: None))
    rows, stamps = [], []
    for _ in range(2):
        rows.append(Bench(tmp_path, tiny_world, tmp_path / "absent", 1, 1).measure("stale_background"))
        stamps.append({p: p.stat().st_mtime_ns for p in tmp_path.rglob("model.safetensors")})
    assert rows[0] == rows[1]
    assert stamps[0] == stamps[1]
    assert {path.relative_to(tmp_path).parts[0] for path in stamps[0]} == {"splat-off-0", "splat-stale_background-0"}
    assert rows[0].off[0].keys() == SHOWN.keys()
    assert rows[0].off[0] == rows[0].switched  # it acts in training alone
    assert rows[0].loss_ratio != 1.0
    assert -1.0 <= rows[0].gradient_cosine < 1.0
    motion = motion_differences(tmp_path, tiny_world, 1)
    assert [one.switch for one in motion] == list(MOTION)
    assert all(one.translation_m > 0 and one.rotation_deg >= 0 and one.travel_m > 0 for one in motion)
