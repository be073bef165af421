"""Scores without labels: solved by hand, counted twice, and held against the true scores on the synthetic world."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gsocc.datasets.index import find_index, read_index
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.labels import FREE, OCC3D_ID
from gsocc.metrics import ScanMetric, StaticConsistency
from gsocc.structures import OCC3D_GRID, VoxelGrid
from gsocc.structures.key_frame import KeyFrame

LINE = VoxelGrid((0.0, 0.0, 0.0), (10, 1, 1), (1.0, 1.0, 1.0))
ROAD, WALL, CAR = OCC3D_ID["driveable_surface"], OCC3D_ID["manmade"], OCC3D_ID["car"]


def _frame(
    origin: tuple[float, float, float], points: list[tuple[float, float, float]] | None = None,
    *, token: str = "b", previous: str = "", ego: np.ndarray | None = None,
) -> KeyFrame:  # fmt: skip
    lidar = np.eye(4)
    lidar[:3, 3] = origin
    scan = None if points is None else np.array(points, dtype=np.float64)
    return KeyFrame(token, "scene", previous, 0, lidar[None], (np.eye(4) if ego is None else ego)[None], scan)


def _line(*occupied: int, label: int = WALL) -> torch.Tensor:
    volume = torch.full((1, 10, 1, 1), FREE, dtype=torch.uint8)
    volume[0, list(occupied)] = label
    return volume


def test_one_ray_along_ten_voxels_solved_by_hand() -> None:
    """From 0.5 to a return at 6.5 m: voxels 0 to 5 are passed, 6 holds the return; predicted are 3 and 6.

    The first predicted voxel spans 3..4, 3 m from the LiDAR at its middle, where 6 m were measured.
    """
    metric = ScanMetric(LINE)
    metric.update(_line(3, 6), [_frame((0.5, 0.5, 0.5), [(6.5, 0.5, 0.5)])])
    scores = metric.compute()
    assert metric.voxels.tolist() == [6, 1, 1, 1]
    assert scores["lidar/scan:free_violation"] == pytest.approx(1 / 6)
    assert scores["lidar/scan:hit_recall"] == 1.0
    assert scores["lidar/scan:iou"] == pytest.approx(1 / 2)
    assert scores["lidar/scan:ray_error_m"] == pytest.approx(3.0)
    assert scores["lidar/scan:ray_abs_rel"] == pytest.approx(0.5)
    assert scores["lidar/scan:ray_within_1m"] == 0.0


def test_a_ray_that_meets_nothing_ends_where_it_leaves_the_volume() -> None:
    """The volume ends at 10 m, the return lay at 6.5 m: 3.5 m too far."""
    metric = ScanMetric(LINE)
    metric.update(_line(), [_frame((0.5, 0.5, 0.5), [(6.5, 0.5, 0.5)])])
    assert metric.compute()["lidar/scan:ray_error_m"] == pytest.approx(3.5)


def test_returns_from_the_vehicle_and_those_outside_are_told_apart() -> None:
    """A return at 2 m is the vehicle's own; one at 15 m lies outside, but its ray has passed the whole line."""
    metric = ScanMetric(LINE)
    metric.update(_line(6), [_frame((0.5, 0.5, 0.5), [(2.0, 0.5, 0.5), (15.0, 0.5, 0.5)])])
    assert metric.voxels.tolist() == [10, 1, 0, 0]
    assert math.isnan(metric.compute()["lidar/scan:ray_abs_rel"])


def test_a_ray_that_grazes_the_ground_does_not_call_it_empty() -> None:
    """Down to a point in the lowest layer: voxels of that layer before it hold ground too and stay unknown."""
    grid = VoxelGrid((0.0, 0.0, 0.0), (10, 1, 2), (1.0, 1.0, 1.0))
    metric = ScanMetric(grid)
    volume = torch.full((1, 10, 1, 2), FREE, dtype=torch.uint8)
    volume[..., 0] = ROAD
    metric.update(volume, [_frame((0.5, 0.5, 1.9), [(9.5, 0.5, 0.1)])])
    scores = metric.compute()
    assert scores["lidar/scan:free_violation"] == 0.0
    assert scores["lidar/scan:hit_recall"] == 1.0


def _second_opinion(solid: np.ndarray, frame: KeyFrame) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """Return passed and returned voxels by walking along every ray in steps of a centimetre."""
    passed, returned = set(), set()
    assert frame.points_ego is not None
    low = np.array(OCC3D_GRID.min_m)
    points = frame.points_ego[np.linalg.norm(frame.points_ego[:, :2], axis=-1) >= 2.5]
    for point in points:
        end = np.floor((point - low) / 0.4).astype(int)
        steps = np.arange(0, 1, 0.01 / np.linalg.norm(point - frame.origin_m))
        walked = np.floor((frame.origin_m + steps[:, None] * (point - frame.origin_m) - low) / 0.4).astype(int)
        inside = ((walked >= 0) & (walked < solid.shape)).all(-1)
        falls = point[2] < frame.origin_m[2]
        for voxel in np.unique(walked[inside], axis=0):
            if not (voxel == end).all() and not (falls and voxel[2] == end[2]):
                passed.add(tuple(voxel.tolist()))
        if ((end >= 0) & (end < solid.shape)).all():
            returned.add(tuple(end.tolist()))
    return passed - returned, returned


def test_a_scan_of_the_world_is_counted_as_by_walking_along_its_rays(tiny_world: Path) -> None:
    """A centimetre's step may jump over a corner that the exact traversal visits: a per cent of the voxels."""
    reader = KeyFrameReader(read_index(find_index(tiny_world)), tiny_world)
    frame = reader.read(reader.index.token(0), with_scan=True)
    assert frame.points_ego is not None
    few = KeyFrame(
        frame.token, frame.scene, "", frame.number, frame.scene_lidar_to_ego, frame.scene_ego_to_global,
        frame.points_ego[:: len(frame.points_ego) // 300],
    )  # fmt: skip
    truth = np.load(tiny_world / "gts" / frame.scene / frame.token / "labels.npz")["semantics"]
    metric = ScanMetric()
    metric.update(torch.from_numpy(truth)[None], [few])
    solid = truth != FREE
    passed, returned = _second_opinion(solid, few)
    expected = [len(passed), sum(solid[v] for v in passed), len(returned), sum(solid[v] for v in returned)]
    assert metric.voxels[[0, 2, 3]].tolist() == pytest.approx([expected[0], expected[2], expected[3]], rel=0.01)
    assert int(metric.voxels[1]) == pytest.approx(expected[1], abs=0.01 * expected[0])


def _moved(x_m: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x_m
    return pose


def test_a_wall_that_stands_still_is_consistent_and_one_that_comes_along_is_not() -> None:
    """The vehicle moves by two voxels: a wall at 6 has to be predicted at 4 afterwards."""
    for there, expected in ((4, 1.0), (6, 0.0)):
        metric = StaticConsistency(LINE)
        metric.update(_line(6), [_frame((0.5, 0.5, 0.5), token="a", ego=_moved(0.0))])
        metric.update(_line(there), [_frame((0.5, 0.5, 0.5), token="b", previous="a", ego=_moved(2.0))])
        assert metric.compute()["static/next:iou"] == expected
        assert metric.compute()["static/next:matched"] == expected


def test_a_turn_and_a_slide_find_the_voxels_that_points_say() -> None:
    """Centres moved one by one as points, in plain numpy, on a lattice with edges of three lengths."""
    grid = VoxelGrid((-2.0, -1.0, -0.5), (8, 6, 5), (0.5, 0.4, 0.3))
    yaw = 0.3
    motion = np.eye(4)
    motion[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    motion[:3, 3] = (0.7, -0.2, 0.1)
    inside, at = StaticConsistency(grid)._places(motion)
    expected = {}
    for voxel in np.ndindex(grid.shape):
        point = np.array(grid.min_m) + (np.array(voxel) + 0.5) * grid.voxel_m
        moved = motion[:3, :3] @ point + motion[:3, 3]
        other = np.floor((moved - grid.min_m) / grid.voxel_m).astype(int)
        if ((other >= 0) & (other < grid.shape)).all():
            expected[voxel] = int(np.ravel_multi_index(tuple(other), grid.shape))
    assert [tuple(v) for v in inside.nonzero().tolist()] == list(expected)
    assert at.tolist() == list(expected.values())


def test_movable_classes_and_strangers_do_not_count() -> None:
    """A car may come along; the first frame of another scene is not compared with the last one of this."""
    metric = StaticConsistency(LINE)
    metric.update(_line(6, label=CAR), [_frame((0.5, 0.5, 0.5), token="a")])
    metric.update(_line(6, label=CAR), [_frame((0.5, 0.5, 0.5), token="b", previous="a", ego=_moved(2.0))])
    metric.update(_line(1), [_frame((0.5, 0.5, 0.5), token="x", previous="w")])
    assert metric.counts.tolist() == [0, 0, 0, 0, 0]
    assert math.isnan(metric.compute()["static/next:iou"])


def test_frames_without_scans_and_foreign_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="came without its scan"):
        ScanMetric(LINE).update(_line(3), [_frame((0.5, 0.5, 0.5))])
    with pytest.raises(ValueError, match="outside of the volume"):
        ScanMetric(LINE).update(_line(3), [_frame((-3.0, 0.5, 0.5), [(6.5, 0.5, 0.5)])])
    for metric in (ScanMetric(), StaticConsistency()):
        with pytest.raises(ValueError, match="expected volumes of shape"):
            metric.update(_line(3), [_frame((0.5, 0.5, 0.5))])
