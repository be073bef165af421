"""The course of a road and the drive along it: smooth curvature, smooth speed, exact poses at given times."""

from dataclasses import dataclass

import numpy as np

SPACING_M = 0.25  # of the points of a course; linear interpolation between them is exact to 2 mm at a radius of 14 m
TIME_STEP_S = 1.0 / 240.0
TURN_RADIUS_M = 14.0
LANE_OFFSET_M = -1.75  # the ego drives on the right


@dataclass(frozen=True)
class Course:
    """A curve in the plane by arc length.

    Attributes:
        arc_m: (P,) increasing arc length.
        xy: (P, 2) points in the scene's local frame, in metres.
        heading_rad: (P,) direction of travel, unwrapped.
        curvature: (P,) change of heading by metre.
    """

    arc_m: np.ndarray
    xy: np.ndarray
    heading_rad: np.ndarray
    curvature: np.ndarray

    def pose(self, arc_m: np.ndarray | float, offset_m: np.ndarray | float = 0.0) -> np.ndarray:
        """Return (..., 3) x, y and heading at an arc length, `offset_m` to the left of the curve."""
        heading = np.interp(arc_m, self.arc_m, self.heading_rad)
        x = np.interp(arc_m, self.arc_m, self.xy[:, 0]) - np.sin(heading) * offset_m
        y = np.interp(arc_m, self.arc_m, self.xy[:, 1]) + np.cos(heading) * offset_m
        return np.stack(np.broadcast_arrays(x, y, heading), -1)


@dataclass(frozen=True)
class Motion:
    """Arc length over time of something that follows a course.

    Attributes:
        course: The curve.
        times_s: (N,) times.
        arcs_m: (N,) arc length at those times.
        offset_m: Lateral offset to the left.
        reverse: Whether it faces against the direction of the course.
    """

    course: Course
    times_s: np.ndarray
    arcs_m: np.ndarray
    offset_m: float
    reverse: bool = False

    def pose(self, time_s: float) -> np.ndarray:
        """Return x, y and heading at a time."""
        arc = np.interp(time_s, self.times_s, self.arcs_m)
        pose = self.course.pose(arc, self.offset_m)
        return pose + np.array([0.0, 0.0, np.pi]) if self.reverse else pose


def course_from_curvature(arc_m: np.ndarray, curvature: np.ndarray, heading_rad: float) -> Course:
    """Integrate a curvature profile; the point of arc length 0 becomes the origin."""
    step = np.diff(arc_m, prepend=arc_m[0])
    middle = np.concatenate([[0.0], 0.5 * (curvature[1:] + curvature[:-1])])
    heading = np.cumsum(middle * step)
    zero = int(np.argmin(np.abs(arc_m)))
    heading = heading - heading[zero] + heading_rad
    between = np.concatenate([[heading[0]], 0.5 * (heading[1:] + heading[:-1])])
    xy = np.cumsum(np.stack([np.cos(between), np.sin(between)], -1) * step[:, None], 0)
    return Course(arc_m, xy - xy[zero], heading, curvature)


def winding_course(rng: np.random.Generator, start_m: float, end_m: float, radius_m: tuple[float, float]) -> Course:
    """Return a course that bends left and right in turn, with short straights between the bends.

    Args:
        rng: Source of randomness.
        start_m: First arc length (negative: the road begins behind the ego).
        end_m: Last arc length.
        radius_m: Smallest and largest radius of the bends.
    """
    arc = np.arange(np.floor(start_m / SPACING_M), np.ceil(end_m / SPACING_M) + 1) * SPACING_M
    curvature = np.zeros(len(arc))
    position, heading = start_m, 0.0
    side = 1.0 if rng.random() < 0.5 else -1.0
    while position < end_m:
        position += rng.uniform(2.0, 10.0)
        length, radius = rng.uniform(28.0, 45.0), rng.uniform(*radius_m)
        curvature[(arc >= position) & (arc < position + length)] = side / radius
        heading += side * length / radius
        position += length
        side = -side if rng.random() < 0.8 or abs(heading) > 0.7 else side
        side = -np.sign(heading) if abs(heading) > 0.9 else side
    return course_from_curvature(arc, _smooth(curvature, 8.0), rng.uniform(-np.pi, np.pi))


def town_course(rng: np.random.Generator, start_m: float, end_m: float) -> tuple[Course, list[tuple[float, float]]]:
    """Return a course with right-angled turns and crossroads, and the side streets that meet it.

    The first crossroads, 42 to 60 m ahead, is a turn.

    Returns:
        course: The main course.
        corners: For each side street the arc length where it leaves the main course and the angle between their
            headings there; two for every crossroads.
    """
    arc = np.arange(np.floor(start_m / SPACING_M), np.ceil(end_m / SPACING_M) + 1) * SPACING_M
    curvature = np.zeros(len(arc))
    bend = rng.uniform(200.0, 400.0) * rng.choice([-1, 1])
    curvature[(arc > start_m) & (arc < -20.0)] = 1.0 / bend
    corners: list[tuple[float, float]] = []
    position, side = rng.uniform(42.0, 60.0), 1.0 if rng.random() < 0.5 else -1.0
    while position < end_m - 40.0:
        if not corners or rng.random() < 0.5:
            # Half a window of smoothing on either side keeps the whole turn between the two corners.
            length = TURN_RADIUS_M * np.pi / 2
            curvature[(arc >= position) & (arc < position + length)] = side / TURN_RADIUS_M
            corners += [(position - 4.0, 0.0), (position + length + 4.0, np.pi)]
            side, position = -side, position + length
        else:
            corners += [(position, np.pi / 2), (position, -np.pi / 2)]
        position += rng.uniform(45.0, 70.0)
    return course_from_curvature(arc, _smooth(curvature, 8.0), rng.uniform(-np.pi, np.pi)), corners


def straight(pose: np.ndarray, turn_rad: float, length_m: float) -> Course:
    """Return a straight course that begins at a pose (x, y, heading), turned."""
    arc = np.arange(0.0, length_m, SPACING_M)
    heading = np.full(len(arc), float(pose[2]) + turn_rad)
    xy = pose[:2] + arc[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    return Course(arc, xy, heading, np.zeros(len(arc)))


def drive(course: Course, rng: np.random.Generator, duration_s: float, speed_mps: tuple[float, float]) -> Motion:
    """Return the ego's motion: gentle changes of speed, slower in bends, and one stop in a drive of 8 s or more.

    A shorter drive slows down once, to a third to a half of its speed. Times run from one second before zero to one
    second after `duration_s`.
    """
    times = np.arange(-1.0, duration_s + 1.0 + TIME_STEP_S, TIME_STEP_S)
    base, phase, period = rng.uniform(*speed_mps), rng.uniform(0, 2 * np.pi), rng.uniform(7.0, 12.0)
    wanted = base * (1 + 0.12 * np.sin(2 * np.pi * times / period + phase))
    stops = duration_s >= 8.0
    slowest, hold = (0.0, rng.uniform(1.5, 2.5)) if stops else (rng.uniform(0.3, 0.5), rng.uniform(0.2, 0.8))
    halt = rng.uniform(0.35, 0.6) * duration_s
    slowing = np.clip((halt - times) / 3.0, 0, 1)
    leaving = np.clip((times - halt - hold) / 3.5, 0, 1)
    gate = np.maximum(slowing, leaving)
    wanted = wanted * (slowest + (1 - slowest) * gate * gate * (3 - 2 * gate))
    limit = np.sqrt(2.3 / np.maximum(np.abs(_smooth(course.curvature, 12.0)), 1e-4))
    arcs = np.zeros(len(times))
    for i in range(1, len(times)):
        cap = np.interp(arcs[i - 1], course.arc_m, limit)
        arcs[i] = arcs[i - 1] + TIME_STEP_S * min(wanted[i], cap)
    return Motion(course, times, arcs - np.interp(0.0, times, arcs), LANE_OFFSET_M)


def _smooth(values: np.ndarray, window_m: float) -> np.ndarray:
    """Average over a window, twice, so that the result has no corners."""
    n = max(round(window_m / SPACING_M / 2), 1)
    kernel = np.convolve(np.full(n, 1 / n), np.full(n, 1 / n))
    padded = np.pad(values, (len(kernel) // 2, len(kernel) - 1 - len(kernel) // 2), mode="edge")
    return np.convolve(padded, kernel, mode="valid")
