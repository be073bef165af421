import numpy as np
import pytest
import torch
from metric_helpers import brute_force_class_ious, random_labels, random_prediction, take

from gsocc.labels import OCC3D_15, OCC3D_ID
from gsocc.metrics import OccupancyMetric, PerRankOccupancyMetric
from gsocc.structures import OccupancyLabels

CAR, ROAD = OCC3D_ID["car"], OCC3D_ID["driveable_surface"]


def _frames(rows: list[list[int]]) -> OccupancyLabels:
    semantics = torch.tensor(rows, dtype=torch.uint8)[:, :, None, None]
    seen = torch.ones_like(semantics, dtype=torch.bool)
    return OccupancyLabels(semantics, seen, seen)


def test_two_ranks_solved_by_hand_differ_from_the_pooled_counts() -> None:
    """Car: rank 0 has frames 0 and 2 with 4 of 4 right, rank 1 frame 1 with 0 of 1; 2/3 x 1 + 1/3 x 0, pooled 4/5."""
    truth = _frames([[CAR, CAR, ROAD], [CAR, ROAD, ROAD], [CAR, CAR, ROAD]])
    predicted = _frames([[CAR, CAR, ROAD], [17, ROAD, ROAD], [CAR, CAR, ROAD]]).semantics
    flawed, pooled = PerRankOccupancyMetric(ranks=2), OccupancyMetric("camera_lidar")
    flawed.update(predicted, truth)
    pooled.update(predicted, truth)
    assert flawed.compute()["occ3d/camera_lidar/15/per_rank/2ranks:iou/car"] == pytest.approx(2 / 3)
    assert pooled.compute()["occ3d/camera_lidar/17:iou/car"] == pytest.approx(4 / 5)


def test_one_rank_that_lacks_a_class_makes_the_score_nan() -> None:
    """Two cars on rank 0, none on rank 1: the release's mean has no number for cars."""
    flawed = PerRankOccupancyMetric(ranks=2)
    truth = _frames([[CAR, ROAD], [ROAD, ROAD]])
    flawed.update(truth.semantics, truth)
    scores = flawed.compute()
    assert np.isnan(scores["occ3d/camera_lidar/15/per_rank/2ranks:iou/car"])
    assert np.isnan(scores["occ3d/camera_lidar/15/per_rank/2ranks:miou"])
    assert scores["occ3d/camera_lidar/15/per_rank/2ranks:iou/driveable_surface"] == 1.0


@pytest.mark.parametrize("batches", [[19], [1] * 19, [4, 4, 4, 4, 3]])
def test_eight_ranks_score_as_counted_apart_however_frames_are_batched(batches: list[int]) -> None:
    """A second implementation: sets of voxels of frames r, r + 8, ...; ranks 0 to 2 have three frames, the rest two."""
    labels = random_labels(19, seed=7)
    predicted = random_prediction(labels, seed=8)
    metric = PerRankOccupancyMetric()
    first = 0
    for size in batches:
        part = slice(first, first + size)
        metric.update(predicted[part], take(labels, part))
        first += size
    expected = np.zeros(17)
    for rank in range(8):
        seen = (labels.mask_camera & labels.mask_lidar)[rank::8].numpy()
        ious = brute_force_class_ious(predicted[rank::8].numpy()[seen], labels.semantics[rank::8].numpy()[seen])
        expected += np.array(ious) * len(seen) / 19
    scores = metric.compute()
    assert scores["occ3d/camera_lidar/15/per_rank:miou"] == pytest.approx(expected[list(OCC3D_15)].mean())
    metric.reset()
    metric.update(predicted[:1], take(labels, slice(0, 1)))
    assert metric.frames.tolist() == [1] + [0] * 7


def test_frames_are_ranked_by_their_places_whatever_order_they_come_in() -> None:
    """Scenes dealt to processes whole, or a list in another order, give the same made-up GPUs."""
    labels = random_labels(10, seed=9)
    predicted = random_prediction(labels, seed=10)
    dealt, shuffled = PerRankOccupancyMetric(ranks=4), PerRankOccupancyMetric(ranks=4)
    dealt.update(predicted, labels)
    for part in (slice(7, 10), slice(0, 7)):
        shuffled.update(predicted[part], take(labels, part), range(part.start, part.stop))
    assert torch.equal(dealt.confusion, shuffled.confusion)
    assert shuffled.frames.tolist() == [3, 3, 2, 2]
    with pytest.raises(ValueError, match="places of 10 frames, got 1"):
        dealt.update(predicted, labels, [0])


def test_no_frames_have_no_score() -> None:
    metric = PerRankOccupancyMetric()
    labels = random_labels(0, seed=0)
    metric.update(labels.semantics, labels)
    assert np.isnan(metric.compute()["occ3d/camera_lidar/15/per_rank:miou"])


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        PerRankOccupancyMetric(ranks=0)
    with pytest.raises(ValueError, match="OCC3D_15"):
        PerRankOccupancyMetric(classes=(1, 2))
