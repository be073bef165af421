"""Volume rendering, fused: the samples of each ray are gathered, composited, and differentiated, pixel by pixel."""

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, F64, I32, Flags
from gsocc.kernels.ray_gather import (
    ALPHA,
    COS,
    DELTA,
    LIGHT,
    SAMPLE,
    VALUE,
    Sampling,
    T,
    gather,
    light_after,
    most_samples,
)
from gsocc.kernels.ray_geometry import FAST, Grid, ray_of
from gsocc.kernels.ray_rules import NEUS, SATURATING_SUM, Rule, pull_back
from gsocc.kernels.row_lists import add_to_rows, dot_list, sum_rows

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _weight(rule: Rule, alpha: np.float32, light: np.float32) -> np.float32:
    """Return the share of the ray that stops at a sample."""
    if rule.code == SATURATING_SUM:
        return light_after(rule, light, alpha) - light
    return alpha * light


@njit(parallel=True, cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def march(
    order: I32, cameras: F64, width: int, grid: Grid, rule: Rule, sampling: Sampling, table: F64,
    values: F32, rows: F32, threads: int, out_features: F32, out_depth: F32, out_opacity: F32,
) -> None:  # fmt: skip
    """Render every pixel of every view.

    Args:
        order: (P,) in which pixels are visited; threads take equal runs of it.
        cameras: (V, 3, 5) as `gsocc.kernels.ray_geometry.ray_of` reads them.
        width: Columns of the image.
        grid: Where the voxels are.
        rule: How values become weights.
        sampling: Where samples lie.
        table: (2, S) depths and lengths of samples, unless they follow cells.
        values: (L, N) what the rule reads.
        rows: (N, Cp) features.
        threads: Number of parallel tasks.
        out_features: (V, C, P), written; as are the following.
        out_depth: (V, P), sum(w t).
        out_opacity: (V, P), sum(w).
    """
    views, channels, pixels = out_features.shape
    size = 8 if grid.trilinear else 1
    for thread in prange(threads):
        most = most_samples(grid, sampling, table)
        samples = np.empty((most, SAMPLE), np.float32)
        voxels, shares = np.empty(most * size, np.int32), np.empty(most * size, np.float32)
        sums = np.empty((1, rows.shape[1]), np.float32)
        for view in range(views):
            for place in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                pixel = order[place]
                ray = ray_of(cameras, view, pixel, width)
                count = gather(ray, grid, rule, sampling, table, values, False, samples, voxels, shares)
                opacity, depth = _ZERO, _ZERO
                for index in range(count):
                    weight = _weight(rule, samples[index, ALPHA], samples[index, LIGHT])
                    opacity += weight
                    depth += weight * samples[index, T]
                    for corner in range(index * size, (index + 1) * size):
                        shares[corner] *= weight
                sum_rows(sums, 0, shares, rows, voxels, count * size)
                for channel in range(channels):
                    out_features[view, channel, pixel] = sums[0, channel]
                out_depth[view, pixel] = depth
                out_opacity[view, pixel] = opacity


@njit(parallel=True, cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def march_backward(
    order: I32, cameras: F64, width: int, grid: Grid, rule: Rule, sampling: Sampling, table: F64,
    values: F32, rows: F32, grad_features: F32, grad_depth: F32, grad_opacity: F32,
    grad_rows: F32, grad_values: F32, grad_slopes: F32, grad_inv_s: F64, touched: Flags,
) -> None:  # fmt: skip
    """Accumulate the gradients of `march`, each task into its own buffers.

    The first arguments, down to rows, are those of `march`. grad_features (V, C, P), grad_depth and grad_opacity (V, P)
    come in. Added to are grad_rows (tasks, N, Cp), grad_values (tasks, N) for the first channel of the values, and for
    NEUS grad_slopes (tasks, 3, N) for the others and grad_inv_s (tasks,); touched (tasks, N) is set wherever.
    """
    views, channels, pixels = grad_features.shape
    threads = grad_rows.shape[0]
    size = 8 if grid.trilinear else 1
    for thread in prange(threads):
        most = most_samples(grid, sampling, table)
        samples = np.empty((most, SAMPLE), np.float32)
        voxels, shares = np.empty(most * size, np.int32), np.empty(most * size, np.float32)
        dots, weights = np.empty(most * size, np.float32), np.empty(most * size, np.float32)
        grad = np.zeros((1, rows.shape[1]), np.float32)
        mine = grad_rows[thread]
        for view in range(views):
            for place in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                pixel = order[place]
                ray = ray_of(cameras, view, pixel, width)
                count = gather(ray, grid, rule, sampling, table, values, True, samples, voxels, shares)
                for channel in range(channels):
                    grad[0, channel] = grad_features[view, channel, pixel]
                grad_d, grad_o = grad_depth[view, pixel], grad_opacity[view, pixel]
                for corner in range(count * size):
                    dots[corner] = _ZERO
                dot_list(dots, grad, 0, rows, voxels, count * size)
                behind = _ZERO
                for index in range(count - 1, -1, -1):
                    alpha, light = samples[index, ALPHA], samples[index, LIGHT]
                    worth, weight = grad_o + grad_d * samples[index, T], _weight(rule, alpha, light)
                    for corner in range(index * size, (index + 1) * size):
                        worth += shares[corner] * dots[corner]
                        weights[corner] = weight * shares[corner]
                    if rule.code != SATURATING_SUM:
                        slope = (_ONE - alpha) * light * worth - behind
                        behind += weight * worth
                    elif light + alpha > _ONE:
                        # w = S_k - S_{k-1}: what samples before fill, the one that reaches 1 no longer can.
                        slope = _ZERO
                        behind = worth
                    else:
                        slope = worth - behind
                    by_value, by_cos, by_inv_s = pull_back(
                        rule, samples[index, VALUE], samples[index, COS], samples[index, DELTA], slope
                    )
                    for corner in range(index * size, (index + 1) * size):
                        voxel = np.uint32(voxels[corner])
                        grad_values[thread, voxel] += shares[corner] * by_value
                        touched[thread, voxel] = True
                    if rule.code == NEUS:
                        grad_inv_s[thread] += by_inv_s
                        for corner in range(index * size, (index + 1) * size):
                            share, voxel = shares[corner] * by_cos, voxels[corner]
                            grad_slopes[thread, 0, voxel] += share * np.float32(ray.ux)
                            grad_slopes[thread, 1, voxel] += share * np.float32(ray.uy)
                            grad_slopes[thread, 2, voxel] += share * np.float32(ray.uz)
                add_to_rows(mine, voxels, weights, count * size, grad, 0)
