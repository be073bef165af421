"""Cast rays through a volume of labels, voxel by voxel (Amanatides and Woo 1987), and count what they meet."""

import math

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F64, I64, U8

_OUTSIDE = np.int64(-1)


@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _first_border(at: float, voxel: int, step: float) -> float:
    """Return the distance along the ray to the first border of a voxel across an axis."""
    if step == 0.0:
        return math.inf
    return (voxel + (1 if step > 0.0 else 0) - at) / step


@njit(cache=True, nogil=True, error_model="numpy")
def cast(
    volume: U8, free: int, x: float, y: float, z: float, dx: float, dy: float, dz: float
) -> tuple[np.int64, float]:
    """Follow one ray to the first voxel that is not free.

    The origin's own voxel counts, and is found by cutting off its fraction; so an origin less than a voxel below the
    lower face starts inside. Of borders at equal distance that of the last axis is crossed first.

    Args:
        volume: (X, Y, Z) labels.
        free: The label of empty space.
        x: Origin in voxels.
        y: Likewise.
        z: Likewise.
        dx: Voxels crossed along x per unit of distance.
        dy: Likewise along y.
        dz: Likewise along z.

    Returns:
        voxel: Flat index of the voxel met; without one that of the last voxel before the ray leaves; -1 where the ray
            never enters the volume.
        distance: Where the ray leaves that voxel; -1 where it never enters.
    """
    size_x, size_y, size_z = volume.shape
    i, j, k = int(x), int(y), int(z)
    step_i, step_j, step_k = (1 if dx >= 0 else -1), (1 if dy >= 0 else -1), (1 if dz >= 0 else -1)
    next_x, next_y, next_z = _first_border(x, i, dx), _first_border(y, j, dy), _first_border(z, k, dz)
    wide_x = math.inf if dx == 0.0 else abs(1.0 / dx)
    wide_y = math.inf if dy == 0.0 else abs(1.0 / dy)
    wide_z = math.inf if dz == 0.0 else abs(1.0 / dz)
    found, distance = _OUTSIDE, -1.0
    while True:
        inside = 0 <= i < size_x and 0 <= j < size_y and 0 <= k < size_z
        if inside:
            found = (np.int64(i) * size_y + j) * size_z + k
            solid = volume[i, j, k] != free
        elif found >= 0:
            return found, distance
        elif (
            ((i < 0) if step_i < 0 else (i >= size_x))
            or ((j < 0) if step_j < 0 else (j >= size_y))
            or ((k < 0) if step_k < 0 else (k >= size_z))
        ):
            return _OUTSIDE, -1.0  # every further step leads away
        if next_x < next_y and next_x < next_z:
            ahead = next_x
            i += step_i
            next_x += wide_x
        elif next_y < next_z and next_y <= next_x:
            ahead = next_y
            j += step_j
            next_y += wide_y
        else:
            ahead = next_z
            k += step_k
            next_z += wide_z
        if ahead == math.inf:
            return found, distance  # a ray without direction
        if inside:
            distance = max(ahead, 0.0)
            if solid:
                return found, distance


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def cast_rays(volume: U8, free: int, origins: F64, directions: F64, labels: U8, distances: F64) -> None:
    """Cast every direction from every origin.

    Args:
        volume: (X, Y, Z) labels.
        free: The label of empty space.
        origins: (K, 3) in voxels.
        directions: (R, 3) voxels per unit of distance.
        labels: (K, R), written: what each ray meets, `free` where nothing.
        distances: (K, R), written: where the ray leaves the voxel it met, or the volume; -1 where it never enters.
    """
    flat = volume.reshape(-1)
    rays = directions.shape[0]
    for task in prange(origins.shape[0] * rays):
        o, r = task // rays, task % rays
        found, distance = cast(
            volume, free, origins[o, 0], origins[o, 1], origins[o, 2],
            directions[r, 0], directions[r, 1], directions[r, 2],
        )  # fmt: skip
        labels[o, r] = free if found < 0 else flat[found]
        distances[o, r] = distance


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def count_rays(predicted: U8, truth: U8, free: int, origins: F64, directions: F64, limits: F64, counts: I64) -> None:
    """Count, by class, the rays that meet something in the truth, and those of them that the prediction stops too.

    A prediction is cast only where the truth is hit: other rays are not counted.

    Args:
        predicted: (X, Y, Z) labels.
        truth: (X, Y, Z) labels.
        free: The label of empty space, above all classes.
        origins: (K, 3) in voxels.
        directions: (R, 3) voxels per unit of distance.
        limits: (D,) distances; a ray is right where both labels agree and the distances differ by less.
        counts: (tasks, 2 + D, free), added to: rays by true class, by predicted class, and right within each limit.
            Each task owns a row, so that nothing races.
    """
    tasks, rays = counts.shape[0], directions.shape[0]
    all_rays = origins.shape[0] * rays
    true_flat, predicted_flat = truth.reshape(-1), predicted.reshape(-1)
    for task in prange(tasks):
        for ray in range(all_rays * task // tasks, all_rays * (task + 1) // tasks):
            o, r = ray // rays, ray % rays
            x, y, z = origins[o, 0], origins[o, 1], origins[o, 2]
            dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
            at, true_distance = cast(truth, free, x, y, z, dx, dy, dz)
            if at < 0 or true_flat[at] == free:
                continue
            label = true_flat[at]
            counts[task, 0, label] += 1
            at, distance = cast(predicted, free, x, y, z, dx, dy, dz)
            if predicted_flat[at] == free:
                continue
            counts[task, 1, predicted_flat[at]] += 1
            if predicted_flat[at] == label:
                for n in range(limits.shape[0]):
                    if abs(distance - true_distance) < limits[n]:
                        counts[task, 2 + n, label] += 1
