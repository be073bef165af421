import numpy as np
import pytest
import torch
from metric_helpers import random_labels

from gsocc.labels import FREE
from gsocc.metrics import OccupancyMetric, ScanMetric, ScanThresholdSweep, ThresholdSweep
from gsocc.structures import OccupancyLabels, VoxelGrid
from gsocc.structures.key_frame import KeyFrame


def _case(seed: int) -> tuple[torch.Tensor, torch.Tensor, OccupancyLabels]:
    labels = random_labels(2, seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    # float32 multiples of 0.05 lie exactly on thresholds: a voxel at the threshold is occupied.
    occupancy = (torch.rand(labels.semantics.shape, generator=rng) * 20).floor() / 20
    occupancy = (occupancy + 0.3 * (labels.semantics != FREE)).clamp(max=1)
    classes = torch.randint(0, 17, labels.semantics.shape, generator=rng, dtype=torch.uint8)
    return occupancy, torch.where(labels.semantics < FREE, labels.semantics, classes), labels


@pytest.mark.parametrize(("criterion", "name"), [("iou", "occ3d/camera:iou"), ("miou", "occ3d/camera/present:miou")])
def test_every_point_of_the_curve_is_the_score_at_that_threshold(criterion: str, name: str) -> None:
    """One pass over histograms against one OccupancyMetric per threshold."""
    occupancy, classes, labels = _case(0)
    sweep = ThresholdSweep(criterion=criterion)
    sweep.update(occupancy, classes, labels)
    choice = sweep.choose()
    for threshold, score in choice.curve:
        metric = OccupancyMetric()
        metric.update(torch.where(occupancy >= threshold, classes, FREE).to(torch.uint8), labels)
        assert metric.compute()[name] == pytest.approx(score), threshold
    assert choice.criterion == name
    assert choice.score == max(score for _, score in choice.curve)
    assert dict(choice.curve)[choice.threshold] == choice.score


def test_separable_probabilities_choose_the_middle_of_the_gap() -> None:
    """Everything between 0.2 and 0.8 is perfect; the middle is the safest of the equals."""
    _, classes, labels = _case(2)
    occupancy = torch.where(labels.semantics != FREE, 0.8, 0.2)
    sweep = ThresholdSweep()
    sweep.update(occupancy, classes, labels)
    choice = sweep.choose()
    assert choice.score == 1.0
    assert choice.threshold == 0.55


def test_shards_add_up() -> None:
    occupancy, classes, labels = _case(4)
    whole, part, rest = ThresholdSweep(), ThresholdSweep(), ThresholdSweep()
    whole.update(occupancy, classes, labels)
    for sweep, i in ((part, slice(0, 1)), (rest, slice(1, 2))):
        cut = OccupancyLabels(labels.semantics[i], labels.mask_camera[i], labels.mask_lidar[i])
        sweep.update(occupancy[i], classes[i], cut)
    part.merge_state(rest)
    assert part.choose() == whole.choose()


def test_frames_without_a_hit_choose_nothing() -> None:
    labels = random_labels(1, seed=6)
    sweep = ThresholdSweep()
    sweep.update(torch.zeros(labels.semantics.shape), labels.semantics.clamp(max=16), labels)
    with pytest.raises(ValueError, match="no threshold hits"):
        sweep.choose()


def test_a_free_class_and_unordered_thresholds_are_refused() -> None:
    labels = random_labels(1, seed=7)
    with pytest.raises(ValueError, match=r"0\.\.16, got 17"):
        ThresholdSweep().update(torch.zeros(labels.semantics.shape), labels.semantics, labels)
    with pytest.raises(ValueError, match="rise"):
        ThresholdSweep(thresholds=(0.5, 0.4))


def test_thresholds_by_lidar_score_what_the_scan_metric_scores() -> None:
    """One pass over histograms of two frames against a `ScanMetric` per threshold: the same counts, no labels."""
    grid = VoxelGrid((0.0, 0.0, 0.0), (8, 6, 4), (1.0, 1.0, 1.0))
    rng = np.random.default_rng(3)
    frames = [_scanned(rng.uniform((4, 0, 0), (8, 6, 4), (40, 3))) for _ in range(2)]
    occupancy = torch.from_numpy(np.floor(rng.random((2, *grid.shape)) * 20) / 20).float()
    sweep = ScanThresholdSweep(grid=grid)
    sweep.update(occupancy, frames)
    choice = sweep.choose()
    for threshold, score in choice.curve:
        metric = ScanMetric(grid)
        metric.update(torch.where(occupancy >= threshold, 4, FREE).to(torch.uint8), frames)
        scores = metric.compute()
        wanted = scores["lidar/scan:hit_recall"] - scores["lidar/scan:free_violation"]
        assert wanted == pytest.approx(score), threshold
    assert choice.criterion == "lidar/scan:hit_recall_less_free_violation"
    assert choice.score == max(score for _, score in choice.curve)


def test_one_ray_chooses_between_what_it_passed_and_where_it_ended() -> None:
    """By hand: four passed voxels of probability 0.3, one with a return of 0.7: all thresholds between are perfect."""
    grid = VoxelGrid((0.0, 0.0, 0.0), (8, 1, 1), (1.0, 1.0, 1.0))
    occupancy = torch.full((1, 8, 1, 1), 0.3)
    occupancy[0, 4] = 0.7
    sweep = ScanThresholdSweep(grid=grid)
    sweep.update(occupancy, [_scanned(np.array([[4.5, 0.5, 0.5]]))])
    assert sweep.counts.sum(1).tolist() == [4, 1]
    choice = sweep.choose()
    assert choice.score == 1.0
    assert 0.3 < choice.threshold <= 0.7


def _scanned(points: np.ndarray) -> KeyFrame:
    """Return a key frame whose LiDAR stands half a metre inside of the grid's corner."""
    lidar = np.eye(4)
    lidar[:3, 3] = 0.5
    return KeyFrame("a", "scene", "", 0, lidar[None], np.eye(4)[None], points)
