"""`gsocc bench eval`: the scoring of predictions, timed, and its counts held against NumPy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gsocc.app.benchmark.evaluation import Rate, evaluation_sheet, make_frames, ray_origins
from gsocc.app.benchmark.evaluation_checks import check_confusion, check_rays, sorted_cast
from gsocc.app.commands import bench
from gsocc.errors import DataError
from gsocc.files import read_json
from gsocc.geometry.lidar_rays import lidar_directions
from gsocc.labels import FREE
from gsocc.metrics import OccupancyMetric, RayIouMetric
from gsocc.structures import OCC3D_GRID


def test_every_way_of_scoring_is_timed_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "eval.json"
    bench.evaluation(frames=2, repeats=1, threads=1, json=out, markdown=tmp_path / "page.md")
    report = read_json(out)
    assert [row["work"].split(",")[0] for row in report["rows"]] == [
        "confusion matrix",
        "confusion matrices of three masks",
        "confusion matrix",
        "RayIoU",
        "all that a report shows of occupancy",
    ]
    assert all(row["frames_per_s"] > 0 and row["cpu_ms"] > 0 for row in report["rows"])
    assert "counts equal those of NumPy" in capsys.readouterr().out
    assert "| RayIoU, 8 origins | 2 |" in (tmp_path / "page.md").read_text()


def test_a_file_that_is_no_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz: no Occ3D labels"):
        bench.evaluation(labels=tmp_path / "none.npz", frames=1, repeats=1, threads=1)


def test_made_up_frames_are_as_full_as_real_ones() -> None:
    """The real label at hand: 39,092 of 640,000 voxels solid, 43,355 seen by cameras."""
    first, second = make_frames(2)
    solid = int((first.labels.semantics != FREE).sum())
    assert 30_000 < solid < 80_000
    assert 25_000 < int(first.labels.mask_camera.sum()) < 70_000
    wrong = (first.predicted != first.labels.semantics).float().mean()
    assert 0.005 < wrong < 0.1
    assert not torch.equal(first.labels.semantics, second.labels.semantics)
    assert torch.equal(first.predicted, make_frames(1)[0].predicted)


def test_counts_that_differ_are_not_timed() -> None:
    frame = make_frames(1)[0]
    confusion = OccupancyMetric()
    confusion.update(frame.predicted, frame.labels)
    check_confusion(confusion, [frame])
    confusion.confusion[3, 4] += 1
    with pytest.raises(ArithmeticError, match="count differently"):
        check_confusion(confusion, [frame])
    rays = RayIouMetric(directions=lidar_directions()[::97])
    rays.update(frame.predicted, frame.labels, [ray_origins(1)])
    check_rays(rays, frame, ray_origins(1))
    rays.counts[2, 11] += 1
    with pytest.raises(ArithmeticError, match="differ by 1 rays"):
        check_rays(rays, frame, ray_origins(1))


def test_sorted_crossings_solved_by_hand() -> None:
    """From the middle of a voxel, 0.2 m to its face: a wall three voxels on ends at 0.2 + 3 x 0.4 m."""
    semantics = np.full(OCC3D_GRID.shape, FREE, np.uint8)
    semantics[103] = 15
    origin = np.array([0.2, 0.2, 0.8])
    labels, distances = sorted_cast(semantics, origin, np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    assert labels.tolist() == [15, FREE]
    assert distances.tolist() == pytest.approx([1.4, 40.2])


def test_the_table_says_what_the_validation_split_costs() -> None:
    """6,019 frames of 2 ms are 12 s, of 100 ms 10 minutes, however many a busy machine gets done in a second."""
    sheet = evaluation_sheet([Rate("a", 2, 5.0, 2.0), Rate("b", 2, 5.0, 100.0)])
    assert [row[-1] for row in sheet.rows] == ["12 s", "10.0 min"]
