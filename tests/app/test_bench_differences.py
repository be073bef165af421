"""`gsocc bench differences`: the world it measures on, and its table."""

from pathlib import Path

import numpy as np
import pytest

from gsocc.app.benchmark.differences import Difference, motion_line, sheet, world_with_gaps
from gsocc.app.benchmark.tables import markdown
from gsocc.app.commands import bench
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.errors import UserError
from gsocc.labels import IGNORE


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
    motion = {"translation_m": 0.012, "rotation_deg": 0.3, "travel_m": 0.5}
    page = markdown([sheet([row], 10, 2, motion)])
    assert "| unmasked_warp | splat | 1.250 | 0.500 | 0.200 ± 0.100 / 0.400 / 0.100 |" in page
    assert motion_line(motion) in page
    assert "1.2 cm and 0.30 degrees" in page


def test_an_unknown_switch_is_named_with_those_there_are() -> None:
    """Before anything is trained."""
    with pytest.raises(UserError, match="--switch: expected one of unlabelled_as_sky"):
        bench.differences(switch=["nothing"])
