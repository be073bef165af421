"""Gather what a ray meets: its samples, with their alphas, and the voxels that each of them takes its values from.

This is the first half of rendering a ray, the same forward and backward. The second, in `gsocc.kernels.ray_march`,
knows neither grids nor samplers. As in `gsocc.kernels.ray_geometry`, numba inlines what takes arrays.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from gsocc.kernels.arrays import F32, F64, I32
from gsocc.kernels.ray_geometry import FAST, Grid, Ray, face, nearest, position, span, surround
from gsocc.kernels.ray_rules import NEUS, SATURATING_SUM, Rule, alpha_of

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)

T, DELTA, ALPHA, LIGHT, VALUE, COS = range(6)
"""Columns of a sample: depth in metres; its length along the ray in metres; alpha; the light that reaches it, or where
alphas add up the share that is filled before it; what the rule reads."""

SAMPLE = 6


class Sampling(NamedTuple):
    """Where samples lie.

    Attributes:
        cells: One sample per voxel, in the middle of the ray's stretch there; otherwise those of the table.
        near: First t in metres.
        far: Last t in metres.
        min_move: Samples of the table that moved at most this many voxels along every axis are skipped; 0 skips none.
    """

    cells: bool
    near: float
    far: float
    min_move: float


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def most_samples(grid: Grid, sampling: Sampling, table: F64) -> int:
    """Return how many samples a ray has at most, with one for the rest."""
    return (grid.nx + grid.ny + grid.nz if sampling.cells else table.shape[1]) + 1


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def light_after(rule: Rule, light: np.float32, alpha: np.float32) -> np.float32:
    """Return the light left behind a sample, or where alphas add up the share filled by then."""
    if rule.code == SATURATING_SUM:
        return _ONE if light + alpha > _ONE else light + alpha  # NaN passes
    return light * (_ONE - alpha)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _closed(rule: Rule, light: np.float32) -> bool:
    """Return whether nothing behind counts."""
    if rule.code == SATURATING_SUM:
        return bool(light >= _ONE)
    return bool(light <= rule.t_min)


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def _cosine(ray: Ray, values: F32, voxels: I32, shares: F32, begin: int, end: int) -> np.float32:
    """Return the product of the unit direction and the interpolated gradient, channels 1 to 3 of the values."""
    total = _ZERO
    for corner in range(begin, end):
        voxel = voxels[corner]
        along = np.float32(ray.ux) * values[1, voxel] + np.float32(ray.uy) * values[2, voxel]
        total += shares[corner] * (along + np.float32(ray.uz) * values[3, voxel])
    return total


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def _admit(
    rule: Rule, keep_empty: bool, light: np.float32, t: float, delta: float, value: np.float32, cos: np.float32,
    samples: F32, count: int,
) -> bool:  # fmt: skip
    """Fill in sample `count`; return whether it stays."""
    alpha = alpha_of(rule, value, cos, np.float32(delta))
    row = np.uint32(count)
    samples[row, T], samples[row, DELTA], samples[row, ALPHA] = t, delta, alpha
    samples[row, LIGHT], samples[row, VALUE], samples[row, COS] = light, value, cos
    return not alpha < rule.alpha_min and (keep_empty or alpha != _ZERO)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _moved(ray: Ray, grid: Grid, t: float, before: float, distance: float) -> bool:
    """Return whether the positions at two depths are farther apart than the distance along any axis.

    Of a contracted grid the distance is one of 2 / n of each axis, which is the voxel unless the axis runs between
    the outermost centres.
    """
    x, y, z = position(ray, t, grid)
    u, v, w = position(ray, before, grid)
    less = 1.0 if grid.ends else 0.0
    return (
        abs(x - u) * grid.nx > distance * (grid.nx - less)
        or abs(y - v) * grid.ny > distance * (grid.ny - less)
        or abs(z - w) * grid.nz > distance * (grid.nz - less)
    )


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def _first_index(table: F64, t: float) -> int:
    """Return the index of the first depth of the table that is at least t."""
    low, high = 0, table.shape[1]
    while low < high:
        middle = (low + high) // 2
        if table[0, middle] < t:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _add_rest(grid: Grid, t: float, light: np.float32, samples: F32, voxels: I32, shares: F32, count: int) -> int:
    """Add a sample at t that takes all that is left, and shows nothing of any voxel; return the new count."""
    size = 8 if grid.trilinear else 1
    for corner in range(count * size, (count + 1) * size):
        voxels[corner], shares[corner] = 0, _ZERO
    # An alpha of 2 fills any ray, an empty one too, and so has no gradient.
    samples[count, T], samples[count, DELTA], samples[count, ALPHA], samples[count, LIGHT] = t, 0.0, 2.0, light
    samples[count, VALUE], samples[count, COS] = 0.0, 0.0
    return count + 1


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def _gather_table(
    ray: Ray, grid: Grid, rule: Rule, sampling: Sampling, table: F64, values: F32, keep_empty: bool,
    samples: F32, voxels: I32, shares: F32,
) -> int:  # fmt: skip
    size = 8 if grid.trilinear else 1
    index, end, leave = 0, table.shape[1], np.inf
    if grid.inner == 0.0:
        enter, leave = span(ray, grid, 0.5 if grid.trilinear and not grid.border else 0.0, sampling.near, np.inf)
        index = _first_index(table, enter)
    light = _ZERO if rule.code == SATURATING_SUM else _ONE
    count, last_met, closed = 0, False, False
    while index < end and table[0, index] <= leave and not closed:
        t = table[0, index]
        last_met = sampling.min_move == 0.0 or index == 0
        last_met = last_met or _moved(ray, grid, t, table[0, index - 1], sampling.min_move)
        if last_met:
            x, y, z = position(ray, t, grid)
            if grid.trilinear:
                value = surround(x, y, z, grid, values, voxels, shares, 8 * count)
            else:
                voxel = nearest(x, y, z, grid)
                voxels[count], shares[count], value = voxel, _ONE, values[0, voxel]
            cos = _ZERO
            if rule.code == NEUS:
                cos = _cosine(ray, values, voxels, shares, count * size, (count + 1) * size)
            delta = table[1, index] * ray.speed
            if _admit(rule, keep_empty, light, t, delta, value, cos, samples, count):
                light = light_after(rule, light, samples[count, ALPHA])
                count += 1
                closed = _closed(rule, light)
        index += 1
    wants_rest = rule.code == SATURATING_SUM and rule.first > _ZERO and not closed
    if wants_rest and end > 0 and not (last_met and index == end):
        count = _add_rest(grid, table[0, end - 1], light, samples, voxels, shares, count)
    return count


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def _gather_cells(
    ray: Ray, grid: Grid, rule: Rule, sampling: Sampling, values: F32, keep_empty: bool,
    samples: F32, voxels: I32, shares: F32,
) -> int:  # fmt: skip
    t, t1 = span(ray, grid, 0.0, sampling.near, sampling.far)
    light = _ZERO if rule.code == SATURATING_SUM else _ONE
    i, step_i, next_x, every_x = face(ray.ox, ray.dx, t, grid.nx)
    j, step_j, next_y, every_y = face(ray.oy, ray.dy, t, grid.ny)
    k, step_k, next_z, every_z = face(ray.oz, ray.dz, t, grid.nz)
    count, closed = 0, False
    while t < t1 and not closed:
        leave = min(min(next_x, next_y), min(next_z, t1))
        if leave > t:
            voxel = np.uint32((i * grid.ny + j) * grid.nz + k)
            at = np.uint32(count)
            voxels[at], shares[at], cos = voxel, _ONE, _ZERO
            if rule.code == NEUS:
                cos = _cosine(ray, values, voxels, shares, count, count + 1)
            middle, delta = 0.5 * (t + leave), (leave - t) * ray.speed
            if _admit(rule, keep_empty, light, middle, delta, values[0, voxel], cos, samples, count):
                light = light_after(rule, light, samples[count, ALPHA])
                count += 1
                closed = _closed(rule, light)
            t = leave
        if next_x <= next_y and next_x <= next_z:
            i, next_x = i + step_i, next_x + every_x
        elif next_y <= next_z:
            j, next_y = j + step_j, next_y + every_y
        else:
            k, next_z = k + step_k, next_z + every_z
        if i < 0 or j < 0 or k < 0 or i >= grid.nx or j >= grid.ny or k >= grid.nz:
            break
    if rule.code == SATURATING_SUM and rule.first > _ZERO and not closed:
        count = _add_rest(grid, sampling.far, light, samples, voxels, shares, count)
    return count


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def gather(
    ray: Ray, grid: Grid, rule: Rule, sampling: Sampling, table: F64, values: F32, keep_empty: bool,
    samples: F32, voxels: I32, shares: F32,
) -> int:  # fmt: skip
    """Write the samples of a ray, up to where it ends, and the lists of their voxels; return the number of samples.

    Args:
        ray: From `ray_of`.
        grid: Where the voxels are.
        rule: How values become alpha.
        sampling: Where samples lie.
        table: (2, S) depths, ascending, and what each stands for, in t; unless `sampling.cells`.
        values: (L, N) what the rule reads: one channel, or for NEUS four.
        keep_empty: Also keep samples of alpha 0, which have a gradient though no weight.
        samples: (`most_samples`, SAMPLE), written.
        voxels: (`most_samples` * 8,) flat indices of the voxels of each sample, eight or one apiece, written.
        shares: Of a sample's value, likewise.
    """
    if sampling.cells:
        return _gather_cells(ray, grid, rule, sampling, values, keep_empty, samples, voxels, shares)
    return _gather_table(ray, grid, rule, sampling, table, values, keep_empty, samples, voxels, shares)
