import numpy as np
import pytest
import torch
from metric_helpers import TINY_GRID, random_labels, random_prediction, take

from gsocc.labels import FREE, OCC3D_ID
from gsocc.metrics import AboveGroundMetric, GroundLayersMetric, all_occupied, ground_layer_scores, ground_plane
from gsocc.metrics.above_ground import dilate, ground_layer
from gsocc.structures import OCC3D_GRID, OccupancyLabels, VoxelGrid

CAR, ROAD = OCC3D_ID["car"], OCC3D_ID["driveable_surface"]


def _free() -> torch.Tensor:
    return torch.full((1, *TINY_GRID.shape), FREE, dtype=torch.uint8)


def _seen(semantics: torch.Tensor) -> OccupancyLabels:
    mask = torch.ones_like(semantics, dtype=torch.bool)
    return OccupancyLabels(semantics, mask, mask)


def _brute_force(
    predicted: torch.Tensor, labels: OccupancyLabels, range_m: float, tolerance_m: float
) -> tuple[float, float]:
    """Return precision and recall from the distances between all pairs of voxel centres."""
    centers = TINY_GRID.centers_m().numpy()
    counted = labels.mask_camera.numpy() & (centers[..., 2] >= 0.2)
    right = found = n_predicted = n_true = 0
    for p, t, seen in zip(predicted.numpy(), labels.semantics.numpy(), counted, strict=True):
        predicted_at, true_at = centers[(p != FREE) & seen], centers[(t != FREE) & seen]
        close = np.linalg.norm(predicted_at[:, None] - true_at[None], axis=-1) <= tolerance_m + 1e-4
        p_in, t_in = (np.hypot(*c[:, :2].T) <= range_m for c in (predicted_at, true_at))
        right, n_predicted = right + close.any(1)[p_in].sum(), n_predicted + p_in.sum()
        found, n_true = found + close.any(0)[t_in].sum(), n_true + t_in.sum()
    return right / n_predicted, found / n_true


@pytest.mark.parametrize("tolerance_m", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("range_m", [1.0, 16.0])
def test_scores_agree_with_distances_between_all_pairs(range_m: float, tolerance_m: float) -> None:
    labels = random_labels(2, seed=0)
    sparse = torch.rand(labels.semantics.shape, generator=torch.Generator().manual_seed(1)) < 0.8
    labels.semantics[sparse] = FREE
    predicted = random_prediction(labels, seed=2)
    predicted[torch.rand(predicted.shape, generator=torch.Generator().manual_seed(3)) < 0.8] = FREE
    metric = AboveGroundMetric(range_m, tolerance_m, TINY_GRID)
    metric.update(predicted, labels)
    f1, precision, recall = metric.compute().values()
    expected = _brute_force(predicted, labels, range_m, tolerance_m)
    assert (precision, recall) == pytest.approx(expected)
    assert f1 == pytest.approx(2 * expected[0] * expected[1] / sum(expected))


def test_a_voxel_two_steps_off_counts_with_tolerance_only() -> None:
    """0.8 m is two voxels along an axis; a step of (2, 1, 0) is 0.89 m and already too far."""
    truth, straight, diagonal = _free(), _free(), _free()
    truth[0, 4, 4, 4] = CAR
    straight[0, 6, 4, 4] = CAR
    diagonal[0, 6, 5, 4] = CAR
    for predicted, tolerance_m, expected in [(straight, 0.0, 0.0), (straight, 0.8, 1.0), (diagonal, 0.8, 0.0)]:
        metric = AboveGroundMetric(16.0, tolerance_m, TINY_GRID)
        metric.update(predicted, _seen(truth))
        assert next(iter(metric.compute().values())) == expected


def test_the_ground_neither_helps_nor_matches() -> None:
    """A flat plane scores 0, even where an object stands 0.4 m above it and the tolerance is 0.8 m."""
    truth = _free()
    truth[..., 2] = ROAD
    truth[0, 4, 4, 3] = CAR
    metric = AboveGroundMetric(16.0, 0.8, TINY_GRID)
    metric.update(ground_plane(TINY_GRID).batch(1)[0], _seen(truth))
    assert next(iter(metric.compute().values())) == 0.0


def test_the_range_cuts_no_pair_apart() -> None:
    """The true voxel at 1.8 m lies outside of 1.5 m, the predicted one at 1.4 m inside and within 0.8 m of it."""
    truth, predicted = _free(), _free()
    truth[0, 0, 4, 4] = CAR  # x = -1.8
    predicted[0, 1, 4, 4] = CAR  # x = -1.4
    metric = AboveGroundMetric(1.5, 0.8, TINY_GRID)
    metric.update(predicted, _seen(truth))
    assert metric.compute()["occ3d/camera/1.5m/0.8m:above_ground_precision"] == 1.0
    assert int(metric.true) == 0


def test_nothing_predicted_scores_zero_and_nothing_anywhere_is_undefined() -> None:
    truth = _free()
    truth[0, 4, 4, 4] = CAR
    metric = AboveGroundMetric(grid=TINY_GRID)
    metric.update(_free(), _seen(truth))
    assert metric.compute()["occ3d/camera/16m:above_ground_f1"] == 0.0
    empty = AboveGroundMetric(grid=TINY_GRID)
    empty.update(_free(), _seen(_free()))
    assert np.isnan(empty.compute()["occ3d/camera/16m:above_ground_f1"])


def test_everything_occupied_finds_all_and_is_right_by_share() -> None:
    labels = random_labels(1, seed=4)
    metric = AboveGroundMetric(None, 0.0, TINY_GRID)
    metric.update(all_occupied(TINY_GRID).batch(1)[0], labels)
    scores = metric.compute()
    seen = labels.mask_camera[..., 3:]
    share = float((labels.semantics[..., 3:] != FREE)[seen].double().mean())
    assert scores["occ3d/camera:above_ground_recall"] == 1.0
    assert scores["occ3d/camera:above_ground_precision"] == pytest.approx(share)


def test_merged_shards_equal_the_whole() -> None:
    labels = random_labels(3, seed=5)
    predicted = random_prediction(labels, seed=6)
    whole, first, second = (AboveGroundMetric(1.2, 0.8, TINY_GRID) for _ in range(3))
    whole.update(predicted, labels)
    first.update(predicted[:2], take(labels, slice(0, 2)))
    second.update(predicted[2:], take(labels, slice(2, 3)))
    first.merge_state(second)
    assert first.compute() == whole.compute()


def test_dilation_of_a_point_is_the_ball_on_the_lattice() -> None:
    """Within two voxels of a lattice point lie 33 lattice points: 1 + 6 + 12 + 8 + 6."""
    point = torch.zeros(1, 9, 9, 9, dtype=torch.bool)
    point[0, 4, 4, 4] = True
    assert int(dilate(point, 0.8, (0.4, 0.4, 0.4)).sum()) == 33
    assert int(dilate(point, 0.8, (0.8, 0.8, 0.4)).sum()) == 9  # 1 + 4 sideways, 4 up and down


def test_dilation_wider_than_the_volume_fills_it() -> None:
    point = torch.zeros(1, 3, 2, 1, dtype=torch.bool)
    point[0, 0, 0, 0] = True
    assert dilate(point, 5.0, (0.4, 0.4, 0.4)).all()


def test_the_ground_of_the_occ3d_lattice_is_its_third_layer() -> None:
    """Layers start at -1.0, -0.6 and -0.2 m; z = 0 lies in the third."""
    assert ground_layer(OCC3D_GRID) == 2
    assert ground_layer(OCC3D_GRID, -0.8) == 0
    assert ground_layer(VoxelGrid((0.0, 0.0, 0.0), (1, 1, 1), (1.0, 1.0, 1.0))) == 0
    with pytest.raises(ValueError, match="misses"):
        ground_layer(VoxelGrid((0.0, 0.0, 1.0), (1, 1, 1), (1.0, 1.0, 1.0)))


def test_layers_average_over_bare_and_seen_ground_only() -> None:
    """Of four columns one is bare road; one has a car on it, one is unseen, one is not ground."""
    truth = torch.full((1, 2, 2, 6), FREE, dtype=torch.uint8)
    truth[..., 2] = ROAD
    truth[0, 0, 1, 4] = CAR
    truth[0, 1, 1, 2] = CAR
    labels = _seen(truth)
    labels.mask_camera[0, 1, 0, 2] = False
    labels.mask_camera[0, 0, 0, :2] = False  # what lies under the surface is never seen, and still averaged
    occupancy = torch.zeros(1, 2, 2, 6)
    occupancy[0, 0, 0] = torch.tensor([0.9, 0.8, 0.7, 0.2, 0.1, 0.0])
    occupancy[0, 1, 1] = 0.5
    semantics = torch.where(occupancy >= 0.5, ROAD, FREE).to(torch.uint8)
    metric = GroundLayersMetric(VoxelGrid((0.0, 0.0, -1.0), (2, 2, 6), (0.4, 0.4, 0.4)))
    metric.update(occupancy, semantics, labels)
    rows = metric.compute()
    assert [row["z_m"] for row in rows] == pytest.approx([-0.8, -0.4, 0.0, 0.4, 0.8, 1.2])
    assert [row["occupancy"] for row in rows] == pytest.approx([0.9, 0.8, 0.7, 0.2, 0.1, 0.0])
    assert [row["occupied_share"] for row in rows] == [1, 1, 1, 0, 0, 0]
    scores = ground_layer_scores(rows)
    assert scores["occ3d/camera:ground_layer_occupancy"] == pytest.approx(0.7)
    assert scores["occ3d/camera:ground_layer_above_occupancy"] == pytest.approx(0.2)


def test_a_ground_elsewhere_shows_in_the_name() -> None:
    metric = AboveGroundMetric(16.0, 0.8, TINY_GRID, ground_z_m=-0.8)
    assert metric.protocol == "occ3d/camera/16m/0.8m/z-0.8m"
    assert AboveGroundMetric(None, 0.8, TINY_GRID).protocol == "occ3d/camera/all/0.8m"


@pytest.mark.parametrize("options", [{"range_m": -1.0}, {"tolerance_m": -0.1}])
def test_senseless_ranges_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        AboveGroundMetric(**options)


@pytest.mark.parametrize("tolerance_m", [0.0, 0.8, 1.3])
def test_a_search_from_each_voxel_counts_what_dilated_volumes_do(tolerance_m: float) -> None:
    """Two ways to ask what lies near; the second serves GPUs."""
    labels = random_labels(2, seed=11)
    predicted = random_prediction(labels, seed=12)
    air = torch.rand(2, *predicted.shape, generator=torch.Generator().manual_seed(13)) < 0.9
    labels.semantics[air[0]], predicted[air[1]] = FREE, FREE
    metric = AboveGroundMetric(1.5, tolerance_m, TINY_GRID)
    arguments = predicted, labels.semantics, labels.mask_camera, 3
    counts = metric._count(*arguments)
    assert torch.equal(counts, metric._count_dilated(*arguments))
    assert counts[0] > counts[1] > 0
