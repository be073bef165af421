"""A second opinion on rays: no walk through the grid, but the intersection of each ray with the box of every voxel."""

import numpy as np
from numpy.typing import NDArray

from gsocc.labels import FREE
from gsocc.structures import VoxelGrid

Array = NDArray[np.float64]


def slab_cast(semantics: NDArray[np.uint8], origin_m: Array, direction: Array, grid: VoxelGrid) -> tuple[int, float]:
    """Return the label that a ray meets first and where it leaves that voxel, or (17, where it leaves the grid)."""
    low, size = np.array(grid.min_m), np.array(grid.voxel_m)
    solid = np.argwhere(semantics != FREE)
    enter, leave = _interval(origin_m, direction, low + solid * size, low + (solid + 1) * size)
    hit = (enter < leave) & (leave > 0)
    if hit.any():
        first = np.flatnonzero(hit)[enter[hit].argmin()]
        return int(semantics[tuple(solid[first])]), float(leave[first])
    enter, leave = _interval(origin_m, direction, low[None], np.array(grid.max_m)[None])
    inside = enter[0] < leave[0] and leave[0] > 0
    return FREE, float(leave[0]) if inside else -1.0


def slab_ray_iou(
    predicted: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    origins_m: Array,
    directions: Array,
    grid: VoxelGrid,
    limit_m: float,
) -> list[float]:
    """Return the IoU of the 17 classes, from sets of rays."""
    rays = [(origin, direction) for origin in origins_m for direction in directions]
    met = [(slab_cast(truth, *ray, grid), slab_cast(predicted, *ray, grid)) for ray in rays]
    met = [(true, found) for true, found in met if true[0] != FREE]
    ious = []
    for c in range(FREE):
        right = sum(t[0] == c and p[0] == c and abs(t[1] - p[1]) < limit_m for t, p in met)
        either = sum(t[0] == c for t, _ in met) + sum(p[0] == c for _, p in met) - right
        ious.append(right / either if either else float("nan"))
    return ious


def _interval(origin: Array, direction: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the distances at which a ray's line enters and leaves boxes; no component may be 0."""
    a, b = (low - origin) / direction, (high - origin) / direction
    return np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
