import math

import numpy as np
import pytest
import torch

from gsocc.metrics import DEPTH_SCORES, DepthMetric

CAMERAS = ("CAM_FRONT", "CAM_BACK")


def _depths(batch: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    true_m = torch.rand(batch, 2, 5, 7, generator=rng) * 100  # some beyond 80 m
    true_m[torch.rand(true_m.shape, generator=rng) < 0.4] = 0.0
    factor = torch.rand(true_m.shape, generator=rng) * 2
    return (true_m + 1) * factor, true_m


def _numpy_scores(predicted: np.ndarray, true: np.ndarray, median: bool) -> list[float]:
    """Return the scores of one image as the published evaluators write them."""
    valid = (true > 0.1) & (true < 80)
    p, t = np.clip(predicted[valid].astype(np.float64), 0.1, 80), true[valid].astype(np.float64)
    if median:
        p = np.clip(predicted[valid].astype(np.float64) * (np.median(t) / np.median(p)), 0.1, 80)
    worst = np.maximum(p / t, t / p)
    return [
        float(np.mean(np.abs(p - t) / t)),
        float(np.mean((p - t) ** 2 / t)),
        float(np.sqrt(np.mean((p - t) ** 2))),
        float(np.sqrt(np.mean((np.log(p) - np.log(t)) ** 2))),
        *(float((worst < 1.25**k).mean()) for k in (1, 2, 3)),
    ]


def test_twice_too_far_is_solved_by_hand() -> None:
    """At 10 m, 20 m is predicted: AbsRel 1, SqRel 10, RMSE 10, log error ln 2; the median puts it right."""
    metric = DepthMetric(("CAM_FRONT",))
    metric.update(torch.full((1, 1, 2, 2), 20.0), torch.full((1, 1, 2, 2), 10.0))
    scores = metric.compute()
    expected = [1.0, 10.0, 10.0, math.log(2), 0.0, 0.0, 0.0]
    for name, value in zip(DEPTH_SCORES, expected, strict=True):
        assert scores[f"depth/nuscenes/80m:{name}"] == pytest.approx(value), name
    assert scores["depth/nuscenes/80m/median:abs_rel"] == pytest.approx(0, abs=1e-12)
    assert scores["depth/nuscenes/80m/median:a1"] == 1.0
    assert scores["depth/nuscenes/80m:scale_ratio"] == pytest.approx(0.5)


@pytest.mark.parametrize("median", [False, True])
def test_scores_agree_with_numpy_image_by_image(median: bool) -> None:
    predicted, true = _depths(3, seed=0)
    metric = DepthMetric(CAMERAS)
    metric.update(predicted, true)
    scores = metric.compute()
    protocol = "depth/nuscenes/80m/median" if median else "depth/nuscenes/80m"
    table = np.array(
        [[_numpy_scores(predicted[b, v].numpy(), true[b, v].numpy(), median) for v in range(2)] for b in range(3)]
    ).mean(0)  # (V, 7)
    for column, name in enumerate(DEPTH_SCORES):
        assert scores[f"{protocol}:{name}"] == pytest.approx(table[:, column].mean())
        for view, camera in enumerate(CAMERAS):
            assert scores[f"{protocol}:{name}/{camera}"] == pytest.approx(table[view, column])


def test_the_mean_is_taken_per_camera_first() -> None:
    """One camera with two images of AbsRel 1 and one with one image of 0 average to 0.5, not to 2/3."""
    true = torch.full((2, 2, 3, 3), 10.0)
    predicted = true.clone()
    predicted[:, 0] = 20.0
    true[1, 1] = 0.0  # the second image of the second camera has no truth and does not count
    metric = DepthMetric(CAMERAS)
    metric.update(predicted, true)
    scores = metric.compute()
    assert scores["depth/nuscenes/80m:abs_rel"] == pytest.approx(0.5)
    assert metric.images.tolist() == [2, 1]


def test_a_camera_that_never_has_truth_is_left_out() -> None:
    true = torch.full((1, 2, 3, 3), 10.0)
    true[:, 1] = 0.0
    metric = DepthMetric(CAMERAS)
    metric.update(true + 1, true)
    scores = metric.compute()
    assert scores["depth/nuscenes/80m:abs_rel"] == pytest.approx(0.1)
    assert math.isnan(scores["depth/nuscenes/80m:abs_rel/CAM_BACK"])


def test_limits_are_strict_for_truth_and_clamp_the_prediction() -> None:
    true = torch.tensor([[[[0.1, 80.0, 40.0]]]])
    metric = DepthMetric(("CAM_FRONT",))
    metric.update(torch.tensor([[[[5.0, 5.0, 1e4]]]]), true)
    assert metric.compute()["depth/nuscenes/80m:abs_rel"] == pytest.approx(
        1.0
    )  # 80 against 40, the others do not count


def test_shards_of_any_split_score_the_same() -> None:
    predicted, true = _depths(4, seed=1)
    whole, one, two = (DepthMetric(CAMERAS) for _ in range(3))
    whole.update(predicted, true)
    one.update(predicted[:1], true[:1])
    two.update(predicted[1:], true[1:])
    one.merge_state(two)
    assert one.compute() == pytest.approx(whole.compute(), rel=1e-12)


def test_a_smaller_prediction_is_resized_bilinearly() -> None:
    """A constant stays constant, whatever the size."""
    metric = DepthMetric(("CAM_FRONT",))
    metric.update(torch.full((1, 1, 3, 4), 12.0), torch.full((1, 1, 9, 16), 10.0))
    assert metric.compute()["depth/nuscenes/80m:abs_rel"] == pytest.approx(0.2)


def test_wrong_views_limits_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 views"):
        DepthMetric(CAMERAS).update(torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2))
    with pytest.raises(ValueError, match="min_m < max_m"):
        DepthMetric(CAMERAS, min_m=80.0, max_m=0.1)
    with pytest.raises(ValueError, match="distinct"):
        DepthMetric(("A", "A"))
