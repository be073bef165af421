import pytest
import torch
from metric_helpers import random_labels

from gsocc.labels import FREE
from gsocc.metrics import OccupancyMetric, ThresholdSweep
from gsocc.structures import OccupancyLabels


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
