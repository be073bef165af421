"""Scores of ego motion on motions and paths that can be worked out by hand."""

import math
import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gsocc.geometry.twist import twist_to_motion
from gsocc.metrics import MOTION_SCORES, EgoMotionMetric, TrajectoryMetric, trajectory_scale
from gsocc.metrics.names import describe_protocol

SPEED_M_S = 4.0
GAP_S = 0.5  # between key frames


def motion(*twist: float) -> Tensor:
    return twist_to_motion(torch.tensor(twist, dtype=torch.float64))


def forward(travel_m: float, yaw_rad: float = 0.0) -> Tensor:
    """Return the matrix that takes points to the frame of a car that drove on: they come nearer."""
    return motion(-travel_m, 0, 0, 0, 0, -yaw_rad)


def scores(predicted: list[Tensor], true: list[Tensor]) -> dict[str, float]:
    metric = EgoMotionMetric()
    metric.update(torch.stack(predicted)[:, None], torch.stack(true)[:, None])
    return {name.removeprefix("pose/0.1m:"): value for name, value in metric.compute().items()}


def test_scores_of_four_motions_worked_out_by_hand() -> None:
    """True lengths 1, 2, 3 and 0.05 m; predicted ones twice, once, half as long, and 0.15 m.

    Ratios over the three that move at least 0.1 m: 2, 1, 0.5. Errors of length: 1, 0, 1.5, 0.1. The mean true length is
    1.5125 m, from which the four are 0.5125, 0.4875, 1.4875 and 1.4625 m away.
    """
    true = [forward(length) for length in (1.0, 2.0, 3.0, 0.05)]
    predicted = [forward(length) for length in (2.0, 2.0, 1.5, 0.15)]
    found = scores(predicted, true)
    assert set(found) == set(MOTION_SCORES)
    assert (found["frames"], found["moving_frames"]) == (4.0, 3.0)
    assert found["scale_ratio_median"] == pytest.approx(1.0)
    assert (found["scale_ratio_q1"], found["scale_ratio_q3"]) == pytest.approx((0.75, 1.5))
    assert found["scale_ratio_iqr"] == pytest.approx(0.75)
    assert found["translation_error_m"] == pytest.approx(2.6 / 4)
    assert found["constant_speed_error_m"] == pytest.approx(3.95 / 4)
    assert found["direction_error_deg"] == pytest.approx(0.0, abs=1e-9)
    a, b = torch.tensor([[2.0, 2.0, 1.5, 0.15], [1.0, 2.0, 3.0, 0.05]], dtype=torch.float64)
    assert found["speed_correlation"] == pytest.approx(float(torch.corrcoef(torch.stack([a, b]))[0, 1]))


def test_angles_are_of_direction_and_rotation() -> None:
    """One motion is predicted sideways (90 degrees off), one turns 3 degrees where the truth turns 1 degree."""
    turn = math.radians(1.0)
    true = [motion(-1, 0, 0, 0, 0, 0), motion(-1, 0, 0, 0, 0, turn)]
    predicted = [motion(0, 1, 0, 0, 0, 0), motion(-1, 0, 0, 0, 0, 0) @ motion(0, 0, 0, 0, 0, 3 * turn)]
    predicted[1] = predicted[1].clone()
    predicted[1][:3, 3] = true[1][:3, 3]
    found = scores(predicted, true)
    assert found["direction_error_deg"] == pytest.approx(45.0)
    assert found["rotation_error_deg"] == pytest.approx(1.0)
    assert found["no_rotation_error_deg"] == pytest.approx(0.5)


def test_a_constant_speed_is_found_out_although_its_median_ratio_is_one() -> None:
    """What a pose network learns when it learns nothing: the ratio looks right, correlation and error tell."""
    true = [forward(length) for length in (0.5, 0.9, 1.0, 1.1, 1.5)]
    found = scores([forward(1.0)] * 5, true)
    assert found["scale_ratio_median"] == pytest.approx(1.0)
    assert math.isnan(found["speed_correlation"])
    assert found["translation_error_m"] == pytest.approx(found["constant_speed_error_m"])


def test_no_translation_has_no_direction() -> None:
    """It would be 0 degrees off by the formula; a right angle is what a random direction is off on average."""
    assert scores([forward(0.0)], [forward(1.0)])["direction_error_deg"] == pytest.approx(90.0)


def test_missing_neighbours_do_not_count_and_nothing_at_all_is_nan() -> None:
    metric = EgoMotionMetric()
    eye = torch.eye(4).expand(2, 2, 4, 4)
    metric.update(eye, eye, torch.zeros(2, 2, dtype=torch.bool))
    found = metric.compute()
    assert found.pop("pose/0.1m:frames") == 0 and found.pop("pose/0.1m:moving_frames") == 0
    assert all(math.isnan(value) for value in found.values())
    with pytest.raises(ValueError, match="min_travel_m must be positive"):
        EgoMotionMetric(min_travel_m=0.0)


def drive(
    metric: TrajectoryMetric, count: int, factor: float = 1.0, yaw: float = 0.0, step_s: float = GAP_S, scene: str = "a"
) -> None:
    """Add key frames of a car at constant speed; predictions are `factor` as fast and turn by `yaw` rad/s too much."""
    for number in range(count):
        signs = torch.tensor([-1.0, 1.0]) * step_s
        true = torch.stack([forward(SPEED_M_S * s) for s in signs.tolist()])[None]
        predicted = torch.stack([forward(factor * SPEED_M_S * s, yaw * s) for s in signs.tolist()])[None]
        valid = torch.tensor([[number > 0, number < count - 1]])
        metric.update([scene], [100.0 + number * GAP_S], predicted, true, signs[None], valid)


def test_a_path_of_the_right_shape_is_off_by_its_scale_alone() -> None:
    """Five key frames 2 m apart, predicted 10 % too long: off by 0, 0.2, 0.4, 0.6, 0.8 m; over 1 s by 0.4 m."""
    metric = TrajectoryMetric()
    drive(metric, 5, factor=1.1)
    found = metric.compute()
    assert found["trajectory:ate_m"] == pytest.approx(math.sqrt(1.2 / 5))
    assert found["trajectory:ate_scaled_m"] == pytest.approx(0.0, abs=1e-9)
    assert found["trajectory:scale"] == pytest.approx(1 / 1.1)
    assert found["trajectory/1s:translation_error_m"] == pytest.approx(0.4)
    assert found["trajectory/1s:rotation_error_deg"] == pytest.approx(0.0, abs=1e-9)
    assert (found["trajectory:paths"], found["trajectory:length_m"]) == pytest.approx((1.0, 8.0))


@pytest.mark.parametrize("step_s", [1 / 12, 0.5])
def test_sweeps_and_key_frames_give_the_same_path_at_constant_speed(step_s: float) -> None:
    """A circle of radius 4 m / 0.3: after t seconds the car is at (r sin 0.3 t, r (1 - cos 0.3 t))."""
    metric = TrajectoryMetric()
    drive(metric, 4, yaw=0.3, step_s=step_s)
    (path,) = metric.trajectories()
    assert path.scene == "a"
    radius = SPEED_M_S / 0.3
    for pose, time in zip(path.predicted, (path.times_s - 100.0).tolist(), strict=True):
        expected = torch.tensor([radius * math.sin(0.3 * time), radius * (1 - math.cos(0.3 * time)), 0.0])
        torch.testing.assert_close(pose[:3, 3], expected.double(), atol=1e-5, rtol=0)
    assert metric.compute()["trajectory/1s:rotation_error_deg"] == pytest.approx(math.degrees(0.3), abs=1e-5)


def test_order_of_arrival_does_not_matter_and_scenes_stay_apart() -> None:
    metric = TrajectoryMetric()
    for scene in ("b", "a"):
        drive(metric, 3, scene=scene)
    for table in (metric.rows, metric.names):
        assert isinstance(table, list)
        table.reverse()
    paths = metric.trajectories()
    assert [path.scene for path in paths] == ["a", "b"]
    for path in paths:
        assert path.true[:, 0, 3].tolist() == pytest.approx([0.0, 2.0, 4.0])
    assert trajectory_scale(paths) == pytest.approx(1.0)


def test_a_gap_without_motion_starts_another_path() -> None:
    metric = TrajectoryMetric()
    eye = torch.eye(4).expand(1, 1, 4, 4)
    for time in range(4):
        valid = torch.tensor([[time != 1]])
        metric.update(["a"], [float(time)], eye, eye, torch.ones(1, 1), valid)
    assert [len(path.times_s) for path in metric.trajectories()] == [2, 2]


def test_no_key_frame_gives_no_number_and_long_names_are_refused() -> None:
    metric = TrajectoryMetric()
    found = metric.compute()
    assert found.pop("trajectory:paths") == 0
    assert all(math.isnan(value) for value in found.values())
    eye = torch.eye(4).expand(1, 1, 4, 4)
    with pytest.raises(ValueError, match="at most 64 bytes"):
        metric.update(["x" * 65], [0.0], eye, eye, torch.ones(1, 1))


def test_protocols_are_described_in_words() -> None:
    assert "over motions of at least 0.1 m" in describe_protocol("pose/0.1m")
    assert "one second apart" in describe_protocol("trajectory/1s")


FRAMES = 3  # fewer than the four ranks: one of them has nothing


def _score(frames: range) -> dict[str, float]:
    motions, paths = EgoMotionMetric(), TrajectoryMetric()
    for number in frames:
        generator = torch.Generator().manual_seed(number)
        twists = torch.randn(2, 1, 2, 6, generator=generator, dtype=torch.float64) * 0.3
        predicted, true = twist_to_motion(twists)
        motions.update(predicted, true)
        paths.update(["scene"], [number * GAP_S], predicted, true, torch.tensor([[-GAP_S, GAP_S]]))
    return motions.compute() | paths.compute()


def _rank(rank: int, world: int, store: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.save(_score(range(rank, FRAMES, world)), f"{out}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_agree_with_one(tmp_path: Path, world: int) -> None:
    """Medians, correlations and paths need every motion; which process saw it must not matter."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_rank, args=(rank, world, str(tmp_path / "store"), str(tmp_path / "scores")))
        for rank in range(world)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert worker.exitcode == 0
    whole = _score(range(FRAMES))
    for rank in range(world):
        found = torch.load(tmp_path / f"scores.{rank}", weights_only=True)
        assert found == pytest.approx(whole, rel=1e-12, nan_ok=True)
