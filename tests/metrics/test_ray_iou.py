import math
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_helpers import TINY_GRID, random_labels, random_prediction, take
from ray_helpers import slab_cast, slab_ray_iou
from torch import Tensor

from gsocc.geometry.lidar_rays import lidar_directions, lidar_origins
from gsocc.labels import FREE, OCC3D_15, OCC3D_CLASSES, OCC3D_ID
from gsocc.metrics import RayIouMetric, cast_labels
from gsocc.metrics.ray_iou import LIMITS_M
from gsocc.structures import OCC3D_GRID, VoxelGrid

CAR, ROAD, OTHERS = OCC3D_ID["car"], OCC3D_ID["driveable_surface"], OCC3D_ID["others"]
FRAME = "occ3d_labels/gts/scene-1077/29796060110c4163b07f06eff4af0753/labels.npz"
LINE = VoxelGrid(min_m=(0.0, 0.0, 0.0), shape=(10, 1, 1), voxel_m=(0.4, 0.4, 0.4))
PLATES = VoxelGrid(min_m=(-1e6, -1e6, -1.0), shape=(1, 1, 8), voxel_m=(2e6, 2e6, 0.4))  # rays cross floors only


def _cast(semantics: Tensor, origin: list[float], direction: list[float], grid: VoxelGrid) -> tuple[int, float]:
    toward = torch.tensor([direction], dtype=torch.float64)
    labels, distances = cast_labels(semantics, torch.tensor([origin], dtype=torch.float64), toward, grid)
    return int(labels), float(distances)


def _line(**labels: int) -> Tensor:
    volume = torch.full((10, 1, 1), FREE, dtype=torch.uint8)
    for place, label in labels.items():
        volume[int(place[1:])] = label
    return volume


def _floor(*layers: tuple[int, int]) -> Tensor:
    volume = torch.full((1, 1, 8), FREE, dtype=torch.uint8)
    for layer, label in layers:
        volume[..., layer] = label
    return volume


def test_the_rays_are_those_of_sparseocc() -> None:
    """Golden values of the released evaluation: 39 pitches, the 1st -45, 10th -5.711, last 12.548 degrees, by 360."""
    rays = lidar_directions()
    assert rays.shape == (14040, 3)
    pitches = torch.asin(rays[::360, 2]).rad2deg()
    assert len(pitches) == 39
    assert pitches[[0, 9, 38]].tolist() == pytest.approx([-45.0, -5.711, 12.548], abs=5e-4)
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(14040, dtype=torch.float64))
    azimuths = torch.atan2(rays[:360, 1], rays[:360, 0]).rad2deg() % 360
    torch.testing.assert_close(azimuths, torch.arange(360, dtype=torch.float64))


def test_a_ray_stops_where_it_leaves_the_first_solid_voxel() -> None:
    """From x = 0.1 along x: the car in voxel 3 spans 1.2..1.6 m, so the exit lies 1.5 m away; the road is hidden."""
    assert _cast(_line(_3=CAR, _7=ROAD), [0.1, 0.2, 0.2], [1.0, 0.0, 0.0], LINE) == (CAR, pytest.approx(1.5))


def test_a_ray_that_starts_in_matter_stops_in_its_own_voxel() -> None:
    """Backwards from x = 1.3, inside voxel 3: its near face lies 0.1 m behind."""
    assert _cast(_line(_3=CAR), [1.3, 0.2, 0.2], [-1.0, 0.0, 0.0], LINE) == (CAR, pytest.approx(0.1))


def test_a_slanted_ray_leaves_through_the_side() -> None:
    """45 degrees from the corner of a row of voxels 0.4 m wide: out at (0.4, 0.4), sqrt(2) x 0.4 m away."""
    slope = math.sqrt(0.5)
    assert _cast(_line(_0=CAR, _1=ROAD), [0.1, 0.0, 0.2], [slope, slope, 0.0], LINE) == (
        CAR,
        pytest.approx(0.3 * math.sqrt(2)),
    )


def test_a_ray_that_meets_nothing_ends_where_it_leaves_the_grid() -> None:
    assert _cast(_line(), [0.1, 0.2, 0.2], [1.0, 0.0, 0.0], LINE) == (FREE, pytest.approx(3.9))


@pytest.mark.parametrize("direction", [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
def test_a_ray_that_never_enters_the_grid_has_no_distance(direction: list[float]) -> None:
    """From 2 m before the grid, away from it, along its face, and without a direction."""
    assert _cast(_line(_0=CAR), [-2.0, 0.2, 0.2], direction, LINE) == (FREE, -1.0)


def test_a_ray_may_enter_from_outside() -> None:
    assert _cast(_line(_2=CAR), [-2.0, 0.2, 0.2], [1.0, 0.0, 0.0], LINE) == (CAR, pytest.approx(3.2))


def test_an_origin_just_below_the_floor_starts_in_the_lowest_layer() -> None:
    """The release cuts the fraction off, so -0.5 voxel is voxel 0."""
    assert _cast(_floor((0, ROAD)), [0.0, 0.0, -1.2], [0.0, 0.0, 1.0], PLATES) == (ROAD, pytest.approx(0.6))


@pytest.mark.parametrize("grid", [TINY_GRID, VoxelGrid((-1.0, -2.0, -0.5), (7, 9, 5), (0.3, 0.5, 0.2))])
def test_the_walk_finds_what_intersection_with_every_voxel_finds(grid: VoxelGrid) -> None:
    """An independent caster without a walk; origins inside and outside, directions of any sign, voxels of any shape."""
    rng = np.random.default_rng(0)
    semantics = rng.integers(0, 17, grid.shape).astype(np.uint8)
    semantics[rng.random(grid.shape) < 0.9] = FREE
    middle, extent = (np.array(grid.min_m) + grid.max_m) / 2, np.array(grid.max_m) - grid.min_m
    inside, outside = (
        0.98 * (rng.random((6, 3)) - 0.5),
        rng.choice([-0.8, 0.8], (6, 3)) * (0.9 + 0.2 * rng.random((6, 3))),
    )
    origins = middle + extent * np.concatenate([inside, outside])
    toward = rng.normal(size=(40, 3))
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    labels, distances = cast_labels(*(torch.from_numpy(a) for a in (semantics, origins, toward)), grid)
    expected = [[slab_cast(semantics, o, d, grid) for d in toward] for o in origins]
    assert labels.tolist() == [[label for label, _ in row] for row in expected]
    np.testing.assert_allclose(distances, [[away for _, away in row] for row in expected], rtol=1e-12)
    assert {-1.0} < set(np.round(distances.flatten().tolist(), 3))  # some miss the grid, some do not


def test_a_floor_one_voxel_too_low_solved_by_hand() -> None:
    """At pitch -atan(1/k) the exits differ by 0.4 sqrt(1 + k^2): below 1 m for k = 1, 2; below 2 m to 4; 4 m to 9.

    Nineteen pitches look down: those ten, and nine more before the horizon.
    """
    metric = RayIouMetric(PLATES)
    origin = torch.tensor([[0.0, 0.0, 1.84]], dtype=torch.float64)
    metric.update(_floor((0, ROAD))[None], _floor((1, ROAD))[None], [origin])
    down = int((lidar_directions()[::360, 2] < 0).sum())
    assert down == 19
    assert metric.counts[:, ROAD].tolist() == [down * 360, down * 360, 2 * 360, 4 * 360, 9 * 360]
    scores = metric.compute()
    table = [n / (2 * down - n) for n in (2, 4, 9)]
    names = [f"occ3d/ray/17:rayiou{limit}" for limit in ("_1m", "_2m", "_4m", "", "_2m/driveable_surface")]
    assert [scores[name] for name in names] == pytest.approx([*table, sum(table) / 3, table[1]])


def test_rays_that_the_truth_lets_through_are_not_counted() -> None:
    """A roof that only the prediction has costs nothing; one that only the truth has costs every ray upwards."""
    origin = [torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)]
    metric = RayIouMetric(PLATES)
    metric.update(_floor((0, ROAD), (7, CAR))[None], _floor((0, ROAD))[None], origin)
    assert metric.compute()["occ3d/ray/17:rayiou"] == 1.0
    metric.reset()
    metric.update(_floor((0, ROAD))[None], _floor((0, ROAD), (7, CAR))[None], origin)
    scores = metric.compute()
    assert scores["occ3d/ray/17:rayiou_4m/car"] == 0.0
    assert scores["occ3d/ray/17:rayiou"] == 0.5
    assert math.isnan(scores["occ3d/ray/17:rayiou_1m/bus"])


def test_fifteen_classes_leave_out_others_and_other_flat() -> None:
    """Perfect floor, a roof of `others` that is missed: 1/2 over two classes, 1 over the one that is left."""
    metric = RayIouMetric(PLATES)
    truth = _floor((0, ROAD), (7, OTHERS))[None]
    metric.update(_floor((0, ROAD))[None], truth, [torch.zeros(1, 3, dtype=torch.float64)])
    scores = metric.compute()
    assert scores["occ3d/ray/17:rayiou"] == 0.5
    assert scores["occ3d/ray/15:rayiou"] == 1.0
    assert "occ3d/ray/15:rayiou_1m/others" not in scores
    assert len(scores) == 2 * 4 + 3 * (17 + 15)


def test_random_volumes_score_as_counted_by_sets_of_rays() -> None:
    """The whole metric a second time: rays against every voxel's box, intersections and unions of sets."""
    labels = random_labels(1, seed=3)
    predicted = random_prediction(labels, seed=5)
    air = torch.rand(2, *labels.semantics.shape, generator=torch.Generator().manual_seed(4)) < 0.8
    labels.semantics[air[0]], predicted[air[1]] = FREE, FREE
    origins = torch.tensor([[0.01, -0.02, 0.03], [1.31, 0.9, -0.8]], dtype=torch.float64)
    rays = lidar_directions()[7::97] + 1e-9  # no component is 0
    metric = RayIouMetric(TINY_GRID, limits_m=(0.5,), directions=rays)
    metric.update(predicted, labels, [origins])
    expected = slab_ray_iou(
        predicted[0].numpy(), labels.semantics[0].numpy(), origins.numpy(), rays.numpy(), TINY_GRID, 0.5
    )
    scores = metric.compute()
    found = [scores[f"occ3d/ray/17:rayiou_0.5m/{name}"] for name in OCC3D_CLASSES]
    assert found == pytest.approx(expected, nan_ok=True)
    assert scores["occ3d/ray/15:rayiou"] == pytest.approx(np.nanmean([expected[i] for i in OCC3D_15]))
    assert 0 < np.nanmean(expected) < 1


def test_frames_and_parts_add_up_to_the_whole() -> None:
    labels = random_labels(3, seed=1)
    predicted = random_prediction(labels, seed=2)
    origins = [torch.zeros(n, 3, dtype=torch.float64) for n in (1, 0, 2)]
    whole, parts = RayIouMetric(TINY_GRID), RayIouMetric(TINY_GRID)
    whole.update(predicted, labels, origins)
    parts.update(predicted[:1], take(labels, slice(0, 1)), origins[:1])
    parts.update(predicted[1:], take(labels, slice(1, 3)).semantics, origins[1:])
    assert torch.equal(whole.counts, parts.counts)
    assert int(whole.counts[0].sum()) == 3 * 14040  # volumes are half full: no ray gets through


def test_what_does_not_fit_is_refused() -> None:
    metric, origin = RayIouMetric(TINY_GRID), torch.zeros(1, 3, dtype=torch.float64)
    labels = random_labels(1, seed=1)
    with pytest.raises(ValueError, match="resample"):
        metric.update(labels.semantics[:, :5], labels.semantics[:, :5], [origin])
    with pytest.raises(ValueError, match="origins of 1 frames, got 2"):
        metric.update(labels.semantics, labels, [origin, origin])
    with pytest.raises(ValueError, match=r"true labels must be 0\.\.17, got 255"):
        metric.update(labels.semantics, torch.full_like(labels.semantics, 255), [origin])
    with pytest.raises(ValueError, match="limits_m"):
        RayIouMetric(limits_m=())


def _drive(frames: int, step_m: float) -> tuple[Tensor, Tensor]:
    """Return LiDAR and ego poses of a straight drive along the global y axis; the LiDAR sits at (1, 0, 1.8)."""
    lidar = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    lidar[:, :3, 3] = torch.tensor([1.0, 0.0, 1.8], dtype=torch.float64)
    ego = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    ego[:, :2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)  # ego x is global y
    ego[:, 1, 3] = torch.arange(frames, dtype=torch.float64) * step_m + 1000.0
    return lidar, ego


def test_origins_are_the_scenes_lidar_places_in_the_frames_own_axes() -> None:
    """Seen from frame 2 of a drive of 5 m per frame, the LiDAR was at x = -9, -4, 1, 6, 11."""
    origins = lidar_origins(*_drive(5, 5.0), frame=2)
    assert origins[:, 0].tolist() == pytest.approx([-9.0, -4.0, 1.0, 6.0, 11.0])
    torch.testing.assert_close(origins[:, 1:], torch.tensor([[0.0, 1.8]], dtype=torch.float64).expand(5, 2))


def test_of_many_origins_eight_are_taken_and_far_ones_left_out() -> None:
    """From frame 0, 41 frames 2 m apart: x = 1, 3, ..., 37 are below 39 m; 19 places at round(18 n / 7)."""
    origins = lidar_origins(*_drive(41, 2.0), frame=0)
    picked = [0, 3, 5, 8, 10, 13, 15, 18]
    assert origins[:, 0].tolist() == pytest.approx([1.0 + 2 * n for n in picked])
    assert len(lidar_origins(*_drive(3, 100.0), frame=1)) == 1
    with pytest.raises(ValueError, match=r"frame must lie in 0\.\.2, got 3"):
        lidar_origins(*_drive(3, 1.0), frame=3)


def test_a_real_label_scores_one_against_itself_and_its_rays_end_where_boxes_say(real_data_root: Path) -> None:
    """Occ3D frame with 39,092 solid voxels: 60 random rays from the LiDAR's usual place, against every voxel's box."""
    path = real_data_root / FRAME
    if not path.is_file():
        pytest.skip(f"no Occ3D label at {path}")
    with np.load(path, allow_pickle=False) as data:
        semantics = data["semantics"]
    truth = torch.from_numpy(semantics)
    origin = torch.tensor([[0.94, 0.01, 1.84]], dtype=torch.float64)
    metric = RayIouMetric()
    metric.update(truth[None], truth[None], [origin])
    scores = metric.compute()
    assert scores["occ3d/ray/17:rayiou"] == 1.0
    assert int(metric.counts[0].sum()) > 7000  # half of the rays
    rays = lidar_directions()[torch.randperm(14040, generator=torch.Generator().manual_seed(0))[:60]] + 1e-9
    labels, distances = cast_labels(truth, origin, rays)
    expected = [slab_cast(semantics, origin[0].numpy(), ray, OCC3D_GRID) for ray in rays.numpy()]
    assert labels[0].tolist() == [label for label, _ in expected]
    np.testing.assert_allclose(distances[0], [away for _, away in expected], rtol=1e-9)


def test_a_prediction_pushed_back_loses_at_one_metre_before_it_loses_at_four(real_data_root: Path) -> None:
    """The real label moved 1.2 m up: floors are met 1.2 m further off at least, so 1 m suffers most."""
    path = real_data_root / FRAME
    if not path.is_file():
        pytest.skip(f"no Occ3D label at {path}")
    with np.load(path, allow_pickle=False) as data:
        truth = torch.from_numpy(data["semantics"])
    moved = torch.full_like(truth, FREE)
    moved[..., 3:] = truth[..., :-3]
    metric = RayIouMetric()
    metric.update(moved[None], truth[None], [torch.tensor([[0.94, 0.01, 1.84]], dtype=torch.float64)])
    scores = metric.compute()
    one, two, four = (scores[f"occ3d/ray/17:rayiou_{limit:g}m"] for limit in LIMITS_M)
    assert one < two <= four < 1.0
