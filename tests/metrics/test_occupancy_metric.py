import numpy as np
import pytest
import torch
from metric_helpers import TINY_GRID, brute_force_class_ious, random_labels, random_prediction, take

from gsocc.labels import FREE, OCC3D_15, OCC3D_CLASSES, OCC3D_ID
from gsocc.metrics import OccupancyMetric, OccupancySuite, metric_name, split_name
from gsocc.metrics.occupancy import _count, _count_by_bins, check_layout
from gsocc.structures import OccupancyLabels

CAR, ROAD = OCC3D_ID["car"], OCC3D_ID["driveable_surface"]


def _row(semantics: list[int], seen: list[bool]) -> OccupancyLabels:
    row = torch.tensor(semantics, dtype=torch.uint8).reshape(1, -1, 1, 1)
    mask = torch.tensor(seen).reshape(1, -1, 1, 1)
    return OccupancyLabels(row, mask, mask)


def test_six_voxels_solved_by_hand() -> None:
    """Truth car car road free free | unseen; predicted car road road road free | wrong but unseen."""
    labels = _row([CAR, CAR, ROAD, FREE, FREE, CAR], [True] * 5 + [False])
    predicted = _row([CAR, ROAD, ROAD, ROAD, FREE, FREE], [True] * 6).semantics
    metric = OccupancyMetric()
    metric.update(predicted, labels)
    scores = metric.compute()
    assert scores["occ3d/camera:iou"] == pytest.approx(3 / 4)
    assert scores["occ3d/camera/17:iou/car"] == pytest.approx(1 / 2)
    assert scores["occ3d/camera/17:iou/driveable_surface"] == pytest.approx(1 / 3)
    assert scores["occ3d/camera/present:miou"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert scores["occ3d/camera/17:miou"] == pytest.approx((1 / 2 + 1 / 3) / 2)  # 15 absent classes left out
    assert scores["occ3d/camera:precision"] == pytest.approx(3 / 4)
    assert scores["occ3d/camera:recall"] == 1.0


def test_a_class_that_only_the_prediction_holds_counts_as_zero_but_not_among_the_present() -> None:
    """Occ3D's evaluator: nan only where truth and prediction both lack the class."""
    labels = _row([CAR, CAR], [True, True])
    metric = OccupancyMetric()
    metric.update(_row([CAR, OCC3D_ID["bus"]], [True, True]).semantics, labels)
    scores = metric.compute()
    assert scores["occ3d/camera/17:iou/bus"] == 0.0
    assert np.isnan(scores["occ3d/camera/17:iou/truck"])
    assert scores["occ3d/camera/17:miou"] == pytest.approx(0.25)
    assert scores["occ3d/camera/present:miou"] == pytest.approx(0.5)


@pytest.mark.parametrize("mask", ["camera", "camera_lidar", "none"])
def test_random_volumes_score_as_counted_by_sets(mask: str) -> None:
    """A second implementation, in numpy, from sets of voxels."""
    labels = random_labels(3, seed=0)
    predicted = random_prediction(labels, seed=1)
    metric = OccupancyMetric(mask)
    metric.update(predicted, labels)
    scores = metric.compute()
    counted = {
        "camera": labels.mask_camera,
        "camera_lidar": labels.mask_camera & labels.mask_lidar,
        "none": torch.ones_like(labels.mask_camera),
    }[mask].numpy()
    p, t = predicted.numpy()[counted], labels.semantics.numpy()[counted]
    ious = brute_force_class_ious(p, t)
    for name, expected in zip(OCC3D_CLASSES, ious, strict=True):
        assert scores[f"occ3d/{mask}/17:iou/{name}"] == pytest.approx(expected)
    assert scores[f"occ3d/{mask}/17:miou"] == pytest.approx(np.nanmean(ious))
    assert scores[f"occ3d/{mask}/15:miou"] == pytest.approx(np.nanmean([ious[i] for i in OCC3D_15]))
    both, either = ((p != FREE) & (t != FREE)).sum(), ((p != FREE) | (t != FREE)).sum()
    assert scores[f"occ3d/{mask}:iou"] == pytest.approx(both / either)


def test_the_truth_scores_one_everywhere() -> None:
    labels = random_labels(2, seed=2)
    metric = OccupancyMetric()
    metric.update(labels.semantics, labels)
    assert all(v == 1.0 for v in metric.compute().values())


def test_merged_shards_equal_the_whole() -> None:
    """Pooling counts, and not averaging IoUs, makes the score independent of how frames fall on ranks."""
    labels = random_labels(4, seed=3)
    predicted = random_prediction(labels, seed=4)
    whole, first, second = OccupancyMetric(), OccupancyMetric(), OccupancyMetric()
    whole.update(predicted, labels)
    first.update(predicted[:1], take(labels, slice(0, 1)))
    second.update(predicted[1:], take(labels, slice(1, 4)))
    assert torch.equal(first.confusion + second.confusion, whole.confusion)
    first.merge_state(second)
    assert first.compute() == whole.compute()


def test_a_label_above_17_is_refused_and_such_truth_not_counted() -> None:
    labels = _row([CAR, 255], [True, True])
    with pytest.raises(ValueError, match=r"0\.\.17, got 18"):
        OccupancyMetric().update(_row([18, 17], [True, True]).semantics, labels)
    metric = OccupancyMetric()
    metric.update(_row([CAR, CAR], [True, True]).semantics, labels)
    assert int(metric.confusion.sum()) == 1


def test_a_prediction_on_another_lattice_is_refused() -> None:
    with pytest.raises(ValueError, match="resample"):
        OccupancyMetric().update(torch.zeros(1, 2, 2, 2, dtype=torch.uint8), _row([CAR], [True]))


def test_what_kernels_would_misread_is_refused() -> None:
    """Compiled loops take memory as it comes; types and shapes are checked before, as the shape checker may be off."""
    volume = torch.zeros(1, 2, 2, 2, dtype=torch.uint8)
    mask = volume.bool()
    check_layout(volume, volume, mask)
    with pytest.raises(ValueError, match=r"must be uint8, got torch\.int64"):
        check_layout(volume.long(), volume, mask)
    for truth, counted in ((volume[:, :1], mask), (volume, mask[:, :1]), (volume, volume)):
        with pytest.raises(ValueError, match="must have the shape of predictions"):
            check_layout(volume, truth, counted)


def test_the_compiled_loop_counts_what_bins_on_a_gpu_do() -> None:
    """Labels above 17 included, which share the last row and column."""
    truth, predicted = torch.randint(0, 256, (2, 2, 9, 7, 5), generator=torch.Generator().manual_seed(0)).byte()
    counted = truth % 3 > 0
    counts = _count(predicted % 32, truth % 32, counted)
    assert torch.equal(counts, _count_by_bins(predicted % 32, truth % 32, counted))
    assert int(counts.sum()) == int(counted.sum())


def test_the_suite_names_every_number_with_its_protocol() -> None:
    labels = random_labels(1, seed=5)
    suite = OccupancySuite(TINY_GRID)
    suite.update(labels.semantics, (labels.semantics != FREE).float(), labels)
    scores = suite.compute()
    assert {
        "occ3d/camera:iou",
        "occ3d/camera/17:miou",
        "occ3d/camera/15:miou",
        "occ3d/camera/present:miou",
        "occ3d/camera/16m:above_ground_f1",
        "occ3d/camera/16m/0.8m:above_ground_f1",
        "occ3d/camera:above_ground_f1",
        "occ3d/camera:ground_layer_occupancy",
    } <= set(scores.metrics)
    assert all(split_name(name)[0].startswith("occ3d/camera") for name in scores.metrics)
    assert len(scores.ground_layers) == TINY_GRID.shape[2]
    suite.reset()
    assert int(suite.counters[0].confusion.sum()) == 0


@pytest.mark.parametrize("bad", ["miou", ":miou", "occ3d:", "a:b:c", "occ3d/camera: iou"])
def test_a_number_without_a_protocol_has_no_name(bad: str) -> None:
    with pytest.raises(ValueError, match="protocol"):
        split_name(bad)


def test_metric_name_joins_and_checks() -> None:
    assert metric_name("occ3d/camera", "iou") == "occ3d/camera:iou"
    with pytest.raises(ValueError, match="colons"):
        metric_name("occ3d:camera", "iou")
