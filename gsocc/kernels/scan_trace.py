"""Mark the voxels that LiDAR rays pass through and end in (Amanatides and Woo 1987)."""

import math

from numba import njit

from gsocc.kernels.arrays import F64, U8

PASSED, RETURNED = 1, 2


@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _first_border(at: float, voxel: int, step: float) -> float:
    """Return the share of the ray up to the first border of a voxel across an axis."""
    if step == 0.0:
        return math.inf
    return (voxel + (1 if step > 0.0 else 0) - at) / step


@njit(cache=True, nogil=True, error_model="numpy")
def mark_scan(origin: F64, points: F64, state: U8) -> None:
    """Mark what one scan says of a volume: 2 where a point lies, else 1 where a ray passed.

    A ray ends at the voxel of its point. Where it falls, the voxels in the layer of its point are not called passed:
    a ray that grazes the ground runs over several ground voxels before it meets the ground.

    Args:
        origin: (3,) in voxels, inside the volume.
        points: (N, 3) in voxels, inside or not.
        state: (X, Y, Z), zeros; written.
    """
    size_x, size_y, size_z = state.shape
    for n in range(points.shape[0]):
        i, j, k = math.floor(points[n, 0]), math.floor(points[n, 1]), math.floor(points[n, 2])
        if 0 <= i < size_x and 0 <= j < size_y and 0 <= k < size_z:
            state[i, j, k] = RETURNED
    x, y, z = origin[0], origin[1], origin[2]
    for n in range(points.shape[0]):
        dx, dy, dz = points[n, 0] - x, points[n, 1] - y, points[n, 2] - z
        last_i, last_j, last_k = math.floor(points[n, 0]), math.floor(points[n, 1]), math.floor(points[n, 2])
        i, j, k = math.floor(x), math.floor(y), math.floor(z)
        next_x, next_y, next_z = _first_border(x, i, dx), _first_border(y, j, dy), _first_border(z, k, dz)
        wide_x = math.inf if dx == 0.0 else abs(1.0 / dx)
        wide_y = math.inf if dy == 0.0 else abs(1.0 / dy)
        wide_z = math.inf if dz == 0.0 else abs(1.0 / dz)
        while 0 <= i < size_x and 0 <= j < size_y and 0 <= k < size_z:
            if (i == last_i and j == last_j and k == last_k) or min(next_x, next_y, next_z) > 1.0:
                break
            if state[i, j, k] == 0 and not (dz < 0.0 and k == last_k):
                state[i, j, k] = PASSED
            if next_x <= next_y and next_x <= next_z:
                i += 1 if dx > 0.0 else -1
                next_x += wide_x
            elif next_y <= next_z:
                j += 1 if dy > 0.0 else -1
                next_y += wide_y
            else:
                k += 1 if dz > 0.0 else -1
                next_z += wide_z


@njit(cache=True, nogil=True, error_model="numpy")
def first_solid(solid: U8, origin: F64, points: F64, shares: F64) -> None:
    """Find how far along each ray the first solid voxel lies, as a share of the way to its point.

    Args:
        solid: (X, Y, Z), not 0 where there is matter.
        origin: (3,) in voxels, inside the volume.
        points: (N, 3) in voxels; rays go through them and on to the end of the volume.
        shares: (N,), written: the middle of the part of the ray inside the first solid voxel; where there is none,
            where the ray leaves the volume.
    """
    size_x, size_y, size_z = solid.shape
    x, y, z = origin[0], origin[1], origin[2]
    for n in range(points.shape[0]):
        dx, dy, dz = points[n, 0] - x, points[n, 1] - y, points[n, 2] - z
        i, j, k = math.floor(x), math.floor(y), math.floor(z)
        next_x, next_y, next_z = _first_border(x, i, dx), _first_border(y, j, dy), _first_border(z, k, dz)
        wide_x = math.inf if dx == 0.0 else abs(1.0 / dx)
        wide_y = math.inf if dy == 0.0 else abs(1.0 / dy)
        wide_z = math.inf if dz == 0.0 else abs(1.0 / dz)
        entered = 0.0
        while 0 <= i < size_x and 0 <= j < size_y and 0 <= k < size_z:
            left = min(next_x, next_y, next_z)
            if solid[i, j, k] != 0:
                entered = 0.5 * (entered + left)
                break
            entered = left
            if next_x <= next_y and next_x <= next_z:
                i += 1 if dx > 0.0 else -1
                next_x += wide_x
            elif next_y <= next_z:
                j += 1 if dy > 0.0 else -1
                next_y += wide_y
            else:
                k += 1 if dz > 0.0 else -1
                next_z += wide_z
        shares[n] = entered
