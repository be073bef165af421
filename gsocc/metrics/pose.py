"""Ego motion against truth: single motions, and the paths that they add up to."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torchmetrics import Metric

from gsocc.geometry.se3 import invert_rigid
from gsocc.geometry.twist import motion_to_twist, rotation_angle, twist_to_motion
from gsocc.metrics.names import metric_name
from gsocc.structures.trajectory import Trajectory

MOTION_SCORES: tuple[str, ...] = (
    "frames",
    "moving_frames",
    "scale_ratio_median",
    "scale_ratio_q1",
    "scale_ratio_q3",
    "scale_ratio_iqr",
    "speed_correlation",
    "translation_error_m",
    "constant_speed_error_m",
    "direction_error_deg",
    "rotation_error_deg",
    "no_rotation_error_deg",
)
_NAME_BYTES = 64
_SECOND_TOLERANCE_S = 0.1  # key frames are half a second apart to within some hundredths


class _RowMetric(Metric):
    """A metric whose states are tables, one row per observation, gathered from all ranks."""

    full_state_update = False

    def add_table(self, name: str, columns: int, dtype: torch.dtype) -> None:
        """Declare a table."""
        self.add_state(name, default=[], dist_reduce_fx="cat")
        self._tables = {**getattr(self, "_tables", {}), name: (columns, dtype)}

    def append(self, name: str, rows: Tensor) -> None:
        """Add rows to a table of this rank."""
        getattr(self, name).append(rows)

    def table(self, name: str) -> Tensor:
        """Return a table: of this rank, and within `compute` of all ranks."""
        columns, dtype = self._tables[name]
        state = getattr(self, name)
        # Between ranks a list is gathered to one tensor.
        parts = [state] if isinstance(state, Tensor) else state
        return torch.cat([torch.zeros(0, columns, dtype=dtype, device=self.device), *parts])

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather from all ranks; one that has seen nothing takes part with an empty table, not with none."""
        for name, (columns, dtype) in self._tables.items():
            if not self._is_synced and not len(getattr(self, name)):
                self.append(name, torch.zeros(0, columns, dtype=dtype, device=self.device))
        super().sync(*args, **kwargs)


class EgoMotionMetric(_RowMetric):
    """How well single motions are predicted: metric scale, speed, direction, rotation, beside what is trivial.

    A median ratio near 1 alone says nothing: a network that always predicts the mean speed has it too. Correlation,
    spread and the error of a constant speed (the mean of the truth) stand beside it for that reason.

    ======================  ==========================================================================================
    scale_ratio_*           |t_pred| / |t_true| over motions of at least `min_travel_m`: median, quartiles, q3 - q1
    speed_correlation       Pearson's, of |t_pred| with |t_true|, over all motions
    translation_error_m     mean of ||t_pred| - |t_true|| over all motions
    constant_speed_error_m  the same where |t_pred| is the mean of |t_true|
    direction_error_deg     mean angle between t_pred and t_true, over motions of at least `min_travel_m`
    rotation_error_deg      mean angle of R_pred R_true^-1 over all motions
    no_rotation_error_deg   the same where R_pred is the identity
    frames, moving_frames   how many motions there are, and how many of at least `min_travel_m`
    ======================  ==========================================================================================

    Names: `pose/0.1m:scale_ratio_median` and so on. NaN where nothing was counted. The state is one row per motion,
    so results do not depend on how motions fall on ranks.
    """

    def __init__(self, min_travel_m: float = 0.1) -> None:
        super().__init__()
        if min_travel_m <= 0:
            raise ValueError(f"EgoMotionMetric: min_travel_m must be positive, got {min_travel_m}")
        self.min_travel_m = min_travel_m
        self.protocol = f"pose/{min_travel_m:g}m"
        self.add_table("rows", 5, torch.float64)

    def update(
        self,
        predicted: Float[Tensor, "B F 4 4"],
        true: Float[Tensor, "B F 4 4"],
        valid: Bool[Tensor, "B F"] | None = None,
    ) -> None:
        """Add the motions of one batch.

        Args:
            predicted: `ego_motion` from the key frame to each of F neighbours.
            true: The same in truth.
            valid: False where a neighbour does not exist.
        """
        keep = torch.ones(true.shape[:2], dtype=torch.bool, device=true.device) if valid is None else valid
        p, t = predicted[keep].double(), true[keep].double()  # (N, 4, 4)
        rows = torch.stack(
            [
                p[:, :3, 3].norm(dim=-1),
                t[:, :3, 3].norm(dim=-1),
                _angle_between(p[:, :3, 3], t[:, :3, 3]),
                rotation_angle(p[:, :3, :3] @ t[:, :3, :3].transpose(-1, -2)),
                rotation_angle(t),
            ],
            -1,
        )
        self.append("rows", rows)

    def compute(self) -> dict[str, float]:
        """Return every score under its full name."""
        rows = self.table("rows")
        predicted_m, true_m, direction, rotation, true_rotation = rows.unbind(-1)
        moving = true_m >= self.min_travel_m
        ratio = predicted_m[moving] / true_m[moving]
        quartiles = [math.nan] * 3
        if len(ratio):
            quartiles = ratio.quantile(ratio.new_tensor([0.25, 0.5, 0.75])).tolist()
        values = (
            len(rows),
            len(ratio),
            quartiles[1],
            quartiles[0],
            quartiles[2],
            quartiles[2] - quartiles[0],
            _correlation(predicted_m, true_m),
            float((predicted_m - true_m).abs().mean()),
            float((true_m - true_m.mean()).abs().mean()),
            math.degrees(float(direction[moving].mean())),
            math.degrees(float(rotation.mean())),
            math.degrees(float(true_rotation.mean())),
        )
        names = (metric_name(self.protocol, name) for name in MOTION_SCORES)
        return {name: float(value) for name, value in zip(names, values, strict=True)}


class TrajectoryMetric(_RowMetric):
    """How well motions add up: relative pose error over one second, absolute trajectory error raw and scaled.

    From a key frame to the next one, prediction and truth are both integrated the same way: the mean of the velocity
    (twist per second) towards the later neighbour of the one and towards the earlier neighbour of the other, kept for
    the time between them. Where neighbours are the key frames themselves, that is their exact motion; where they are
    sweeps, it bridges what no image of the pair saw. A gap without any valid motion ends a path and starts another.

    ==================================  ==============================================================================
    trajectory/1s:translation_error_m   mean distance between predicted and true motion over 1 s
    trajectory/1s:rotation_error_deg    mean angle between them
    trajectory:ate_m                    root mean square distance of positions, mean over paths; both paths start at
                                        the same pose and are not aligned otherwise
    trajectory:ate_scaled_m             the same with one scale for all paths, by least squares
    trajectory:scale                    that scale; 1 for a metric prediction
    trajectory:paths, :length_m         number of paths of at least two key frames, their mean true length
    ==================================  ==============================================================================
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_table("rows", 27, torch.float64)
        self.add_table("names", _NAME_BYTES, torch.int64)

    def update(
        self,
        scenes: Sequence[str],
        times_s: Sequence[float],
        predicted: Float[Tensor, "B F 4 4"],
        true: Float[Tensor, "B F 4 4"],
        interval_s: Float[Tensor, "B F"],
        valid: Bool[Tensor, "B F"] | None = None,
    ) -> None:
        """Add key frames, in any order.

        Args:
            scenes: Scene of each key frame.
            times_s: Time of each key frame.
            predicted: `ego_motion` from the key frame to each of F neighbours.
            true: The same in truth.
            interval_s: Time of the neighbour minus that of the key frame: negative for the earlier one.
            valid: False where a neighbour does not exist.

        Raises:
            ValueError: Where a scene's name is longer than 64 bytes.
        """
        valid = torch.ones_like(interval_s, dtype=torch.bool) if valid is None else valid
        usable = valid & (interval_s != 0)
        seconds = torch.where(usable, interval_s, torch.ones_like(interval_s)).double()[..., None]
        velocity = torch.cat([motion_to_twist(m.double()) / seconds for m in (predicted, true)], -1)  # (B, F, 12)
        columns = [torch.tensor(times_s, dtype=torch.float64, device=true.device)[:, None]]
        for side in (usable & (interval_s > 0), usable & (interval_s < 0)):  # towards the later, the earlier neighbour
            count = side.sum(1, keepdim=True)
            columns += [(velocity * side[..., None]).sum(1) / count.clamp(min=1), (count > 0).double()]
        self.append("rows", torch.cat(columns, -1))  # (B, 27)
        self.append("names", torch.stack([_encode(name, true.device) for name in scenes]))

    def trajectories(self) -> list[Trajectory]:
        """Return the paths of at least two key frames, ordered by scene and time, of what this rank has seen."""
        rows, names = self.table("rows").cpu(), self.table("names").cpu()
        by_scene: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            by_scene.setdefault(_decode(name), []).append(number)
        found: list[Trajectory] = []
        for scene, numbers in sorted(by_scene.items()):
            frames = rows[numbers]
            found += _paths(scene, frames[frames[:, 0].argsort()])
        return found

    def compute(self) -> dict[str, float]:
        """Return every score under its full name; NaN where there is no path."""
        paths = self.trajectories()
        scale = trajectory_scale(paths)
        seconds = [_errors_over_a_second(path) for path in paths]
        over_a_second = torch.cat([torch.zeros(0, 2, dtype=torch.float64), *seconds]).mean(0)
        return {
            metric_name("trajectory/1s", "translation_error_m"): float(over_a_second[0]),
            metric_name("trajectory/1s", "rotation_error_deg"): math.degrees(float(over_a_second[1])),
            metric_name("trajectory", "ate_m"): _mean([_position_error_m(path, 1.0) for path in paths]),
            metric_name("trajectory", "ate_scaled_m"): _mean([_position_error_m(path, scale) for path in paths]),
            metric_name("trajectory", "scale"): scale,
            metric_name("trajectory", "paths"): float(len(paths)),
            metric_name("trajectory", "length_m"): _mean([_length_m(path) for path in paths]),
        }


def trajectory_scale(paths: Sequence[Trajectory]) -> float:
    """Return the one factor that brings the predicted positions of all paths nearest to the true ones; NaN without."""
    predicted = torch.cat([torch.zeros(0, 3, dtype=torch.float64), *(path.predicted[:, :3, 3] for path in paths)])
    true = torch.cat([torch.zeros(0, 3, dtype=torch.float64), *(path.true[:, :3, 3] for path in paths)])
    return float((predicted * true).sum() / predicted.square().sum())


def _paths(scene: str, frames: Float64[Tensor, "N 27"]) -> list[Trajectory]:
    """Integrate the key frames of a scene, given in the order of time."""
    cuts, steps = [0], []
    for number, (here, there) in enumerate(pairwise(frames)):
        forward, backward = here[1:14], there[14:27]  # velocities predicted (6) and true (6), and whether they exist
        count = forward[12] + backward[12]
        if count == 0 or there[0] <= here[0]:
            cuts.append(number + 1)
        velocity = (forward[:12] * forward[12] + backward[:12] * backward[12]) / count.clamp(min=1)
        steps.append(twist_to_motion(velocity.view(2, 6) * (there[0] - here[0])))
    found = []
    for first, end in zip(cuts, [*cuts[1:], len(frames)], strict=True):
        pose = torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
        poses = [pose]
        for step in steps[first : end - 1]:
            pose = pose @ invert_rigid(step)
            poses.append(pose)
        if len(poses) > 1:
            predicted, true = torch.stack(poses).unbind(1)
            found.append(Trajectory(scene, frames[first:end, 0], predicted, true))
    return found


def _errors_over_a_second(path: Trajectory) -> Float64[Tensor, "N 2"]:
    """Return (metres, radians) between predicted and true motion, from every key frame that has one a second later."""
    gap = path.times_s[None] - path.times_s[:, None]
    off, later = (gap - 1.0).abs().min(1)
    first = (off <= _SECOND_TOLERANCE_S).nonzero()[:, 0]
    predicted, true = (invert_rigid(p[first]) @ p[later[first]] for p in (path.predicted, path.true))
    error = invert_rigid(true) @ predicted
    return torch.stack([error[:, :3, 3].norm(dim=-1), rotation_angle(error)], -1)


def _position_error_m(path: Trajectory, scale: float) -> float:
    error = path.predicted[:, :3, 3] * scale - path.true[:, :3, 3]
    return float(error.square().sum(-1).mean().sqrt())


def _length_m(path: Trajectory) -> float:
    return float(path.true[:, :3, 3].diff(dim=0).norm(dim=-1).sum())


def _angle_between(a: Float64[Tensor, "N 3"], b: Float64[Tensor, "N 3"]) -> Float64[Tensor, " N"]:
    """Return angles in [0, pi]; a right angle where a vector is zero, which says nothing about direction."""
    angle = torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))
    silent = (a == 0).all(-1) | (b == 0).all(-1)
    return torch.where(silent, torch.full_like(angle, math.pi / 2), angle)


def _correlation(a: Float64[Tensor, " N"], b: Float64[Tensor, " N"]) -> float:
    """Return Pearson's correlation; NaN where one of the two does not vary."""
    if len(a) < 2:
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _encode(name: str, device: torch.device) -> Int64[Tensor, " bytes"]:
    data = name.encode()
    if len(data) > _NAME_BYTES:
        raise ValueError(f"TrajectoryMetric: names of scenes take at most {_NAME_BYTES} bytes, got {name!r}")
    return torch.tensor(list(data.ljust(_NAME_BYTES, b"\0")), device=device)


def _decode(name: Tensor) -> str:
    return bytes(name.to(torch.int64).tolist()).rstrip(b"\0").decode()
