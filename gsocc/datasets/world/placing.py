"""Putting objects beside a road without letting them overlap."""

from dataclasses import dataclass, field

import numpy as np

from gsocc.datasets.world.blueprints import Blueprint
from gsocc.datasets.world.roads import Course
from gsocc.datasets.world.scene import WorldObject


@dataclass
class Placer:
    """Collects static objects; refuses those that would touch an earlier one or stand too near to a road.

    Attributes:
        courses: The roads.
        half_widths_m: Half width of each road.
        objects: What was placed so far.
    """

    courses: list[Course]
    half_widths_m: list[float]
    objects: list[WorldObject] = field(default_factory=list)
    _footprints: list[np.ndarray] = field(default_factory=list)
    _circles: list[tuple[float, float, float]] = field(default_factory=list)

    def try_place(
        self,
        blueprint: Blueprint,
        pose: np.ndarray,
        *,
        clearance_m: float | None,
        attribute: str = "",
        margin_m: float = 0.1,
        footprint_m: tuple[float, float] | None = None,
    ) -> bool:
        """Place an object and return True, or return False where it does not fit.

        Args:
            blueprint: What.
            pose: x, y and heading.
            clearance_m: Smallest distance to the edge of every road; None for things that stand on the road.
            attribute: nuScenes attribute.
            margin_m: Smallest gap to other objects.
            footprint_m: Length and width on the ground, where it is not that of the whole (a tree's trunk).
        """
        length, width = footprint_m or blueprint.size_m[:2]
        corners = _rectangle(pose, length + margin_m, width + margin_m)
        x, y, _ = (float(v) for v in pose)
        reach = 0.5 * float(np.hypot(length, width)) + margin_m
        if clearance_m is not None and self._road_distance(_outline(corners)) < clearance_m:
            return False
        for other, (cx, cy, radius) in zip(self._footprints, self._circles, strict=True):
            if np.hypot(x - cx, y - cy) < reach + radius and _overlap(corners, other):
                return False
        self.objects.append(WorldObject(blueprint, (x, y, float(pose[2])), attribute))
        self._footprints.append(corners)
        self._circles.append((x, y, reach))
        return True

    def _road_distance(self, points: np.ndarray) -> float:
        """Return the smallest distance of points to the edge of a road; negative on it."""
        nearest = np.inf
        for course, half in zip(self.courses, self.half_widths_m, strict=True):
            squares = ((points[:, None] - course.xy[None, ::2]) ** 2).sum(-1)
            nearest = min(nearest, float(np.sqrt(squares.min())) - half)
        return nearest


def _rectangle(pose: np.ndarray, length: float, width: float) -> np.ndarray:
    """Return the (4, 2) corners of a rectangle."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    local = 0.5 * np.array([[-length, -width], [length, -width], [length, width], [-length, width]])
    return local @ np.array([[c, s], [-s, c]]) + pose[:2]


def _outline(corners: np.ndarray) -> np.ndarray:
    """Return points along the edges of a rectangle."""
    share = np.linspace(0, 1, 5)[:-1, None]
    return np.concatenate([a + share * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)])


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two convex quadrilaterals overlap (separating axes)."""
    for corners in (a, b):
        edges = np.roll(corners, -1, 0) - corners
        for normal in np.stack([-edges[:, 1], edges[:, 0]], -1):
            pa, pb = a @ normal, b @ normal
            if pa.max() <= pb.min() or pb.max() <= pa.min():
                return False
    return True
