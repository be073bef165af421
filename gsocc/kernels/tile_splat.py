"""Splat projected Gaussians tile by tile, and the exact gradient of it.

Gaussians come sorted by depth within each view. A tile owns its pixels and the tiles' lists are filled in depth order,
so that nothing races and nothing is sorted again. Within a tile the loop runs over Gaussians, and for each over the
pixels inside its ellipse on every row: no kernel is evaluated where it would count as zero. fastmath is limited as in
`gsocc.kernels.list_blend`.
"""

import math

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, I32, I64, Flags, Scalar
from gsocc.kernels.buffers import touch
from gsocc.kernels.rows import add_row, dot_rows

TILE = 16
"""Edge of a tile in pixels: its light and sums stay in the first-level cache."""

_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_FAST = {"contract", "reassoc"}


@njit(cache=True, nogil=True, inline="always")
def _columns(
    dy: Scalar, a: Scalar, b: Scalar, c: Scalar, mean_u: Scalar, two_sigma_max: Scalar, low: int, high: int
) -> tuple[int, int]:
    """Return the columns [start, stop) in [low, high) inside the ellipse on the row at distance dy, widened a hair."""
    half_b = b * dy
    disc = half_b * half_b - a * (c * dy * dy - two_sigma_max)
    if disc <= 0.0:
        return 0, 0
    root = math.sqrt(disc) / a + 1e-3
    middle = mean_u - half_b / a - 0.5
    start = math.ceil(max(middle - root, low - 1.0))
    stop = math.floor(min(middle + root, high + 1.0)) + 1
    return max(start, low), min(stop, high)


@njit(cache=True, nogil=True, inline="always")
def _bounds(tile: int, tiles: I64, height: int, width: int) -> tuple[int, int, int, int, int]:
    """Return view, first and last row, first and last column of a tile."""
    view = tile // (tiles[1] * tiles[2])
    place = tile - view * tiles[1] * tiles[2]
    row, column = (place // tiles[2]) * TILE, (place % tiles[2]) * TILE
    return view, row, min(row + TILE, height), column, min(column + TILE, width)


@njit(parallel=True, cache=True, nogil=True)
def measure(ids: I32, conics: F32, opacities: F32, alpha_min: Scalar, two_sigma_max: F32, reach: F32) -> None:
    """Work out how far each Gaussian reaches.

    Args:
        ids: (M,) index into opacities.
        conics: (M, 3) in 1/px^2.
        opacities: (N,)
        alpha_min: Alpha that counts as zero.
        two_sigma_max: (M,) twice the exponent at which alpha falls below alpha_min, -1 if it always is; written.
        reach: (M, 2) half extents in pixels along u and v, written.
    """
    for m in prange(ids.shape[0]):
        opacity = opacities[ids[m]]
        if opacity < alpha_min:
            two_sigma_max[m] = np.float32(-1.0)
            continue
        if not opacity <= 1.0:  # NaN must be drawn, so that it is seen
            opacity = _ONE
        limit = 2.0 * math.log(opacity / alpha_min) + 1e-4
        a, b, c = float(conics[m, 0]), float(conics[m, 1]), float(conics[m, 2])
        scale = limit / max(a * c - b * b, 1e-30)
        two_sigma_max[m] = limit
        reach[m, 0] = math.sqrt(scale * c) + 1e-3
        reach[m, 1] = math.sqrt(scale * a) + 1e-3


@njit(parallel=True, cache=True, nogil=True)
def bin_tiles(
    view_start: I64, means2d: F32, two_sigma_max: F32, reach: F32, height: int, width: int,
    fill: bool, counts: I32, offsets: I64, pairs: I32,
) -> None:  # fmt: skip
    """Count the Gaussians that meet each tile, or, with fill, list them in depth order.

    Args:
        view_start: (V + 1,) where the Gaussians of each view start.
        means2d: (M, 2) px, sorted by depth within a view.
        two_sigma_max: (M,) of `measure`.
        reach: (M, 2) of `measure`.
        height: Rows of the image.
        width: Columns of the image.
        fill: Write pairs instead of counts.
        counts: (V, rows, columns) of tiles, written first.
        offsets: (V * rows * columns + 1,) where the list of each tile starts.
        pairs: (offsets[-1],) positions m, written with fill.
    """
    views, tile_rows, tile_columns = counts.shape
    for task in prange(views * tile_rows):
        view = task // tile_rows
        tile_row = task - view * tile_rows
        low, high = tile_row * TILE, min((tile_row + 1) * TILE, height)
        cursor = np.zeros(tile_columns, np.int64)
        if fill:
            for column in range(tile_columns):
                cursor[column] = offsets[task * tile_columns + column]
        for m in range(view_start[view], view_start[view + 1]):
            if two_sigma_max[m] < 0.0:
                continue
            mean_v, reach_v = means2d[m, 1], reach[m, 1]
            if not (mean_v + reach_v >= low and mean_v - reach_v <= high):
                continue
            mean_u, reach_u = means2d[m, 0], reach[m, 0]
            if not (mean_u + reach_u >= 0.0 and mean_u - reach_u <= width):
                continue
            first = int(max(mean_u - reach_u, np.float32(0.0))) // TILE
            last = min(int(min(mean_u + reach_u, np.float32(width))) // TILE, tile_columns - 1)
            for column in range(first, last + 1):
                if fill:
                    pairs[cursor[column]] = m
                cursor[column] += 1
        if not fill:
            for column in range(tile_columns):
                counts[view, tile_row, column] = cursor[column]


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def splat_forward(
    offsets: I64, pairs: I32, tiles: I64, ids: I32, means2d: F32, conics: F32, depths: F32, two_sigma_max: F32,
    opacities: F32, rows: F32, alpha_min: Scalar, alpha_max: Scalar, t_min: Scalar, threads: int,
    out_features: F32, out_depth: F32, out_opacity: F32, out_transmittance: F32, out_last: I32,
) -> None:  # fmt: skip
    """Composite the tiles of every view.

    Args:
        offsets: As filled by `bin_tiles`, as is pairs.
        pairs: (pairs,) positions m.
        tiles: (3,) views, tile rows, tile columns.
        ids: (M,) index into opacities and rows.
        means2d: (M, 2) px.
        conics: (M, 3) in 1/px^2.
        depths: (M,) metres.
        two_sigma_max: (M,) of `measure`.
        opacities: (N,)
        rows: (N, Cp) features padded with zeros.
        alpha_min: Smaller alphas are skipped.
        alpha_max: Larger alphas are clamped.
        t_min: A pixel stops before the Gaussian that would leave this much light or less.
        threads: Number of parallel tasks.
        out_features: (V, C, H, W), written; as are the following.
        out_depth: (V, H, W) sum(w z).
        out_opacity: (V, H, W) sum(w).
        out_transmittance: (V, H, W) the light that is left.
        out_last: (V, H, W) entries of the tile's list up to the pixel's stop.
    """
    channels, height, width = out_features.shape[1:]
    for thread in prange(threads):
        sums = np.empty((TILE * TILE, rows.shape[1]), np.float32)
        light, last = np.empty(TILE * TILE, np.float32), np.empty(TILE * TILE, np.int32)
        opacity, depth = np.empty(TILE * TILE, np.float32), np.empty(TILE * TILE, np.float32)
        for tile in range(thread, tiles[0] * tiles[1] * tiles[2], threads):
            view, row0, row1, column0, column1 = _bounds(tile, tiles, height, width)
            begin, end = offsets[tile], offsets[tile + 1]
            sums[:] = np.float32(0.0)
            light[:] = _ONE
            opacity[:] = np.float32(0.0)
            depth[:] = np.float32(0.0)
            last[:] = end - begin
            open_pixels = (row1 - row0) * (column1 - column0)
            for entry in range(begin, end):
                m = pairs[entry]
                gaussian = ids[m]
                mean_u, mean_v = means2d[m, 0], means2d[m, 1]
                a, b, c = conics[m, 0], conics[m, 1], conics[m, 2]
                peak = opacities[gaussian]
                for row in range(row0, row1):
                    dy = np.float32(row) + _HALF - mean_v
                    start, stop = _columns(dy, a, b, c, mean_u, two_sigma_max[m], column0, column1)
                    for column in range(start, stop):
                        at = (row - row0) * TILE + column - column0
                        if last[at] != end - begin:
                            continue
                        dx = np.float32(column) + _HALF - mean_u
                        alpha = peak * math.exp(-(_HALF * (a * dx * dx + c * dy * dy) + b * dx * dy))
                        if alpha < alpha_min:
                            continue
                        if alpha > alpha_max:
                            alpha = alpha_max
                        left = light[at] * (_ONE - alpha)
                        if left <= t_min:
                            last[at] = entry - begin
                            open_pixels -= 1
                            continue
                        weight = alpha * light[at]
                        light[at] = left
                        opacity[at] += weight
                        depth[at] += weight * depths[m]
                        add_row(sums, at, weight, rows, gaussian)
                if open_pixels == 0:
                    break
            for row in range(row0, row1):
                for column in range(column0, column1):
                    at = (row - row0) * TILE + column - column0
                    for channel in range(channels):
                        out_features[view, channel, row, column] = sums[at, channel]
                    out_depth[view, row, column] = depth[at]
                    out_opacity[view, row, column] = opacity[at]
                    out_transmittance[view, row, column] = light[at]
                    out_last[view, row, column] = last[at]


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def splat_backward(
    offsets: I64, pairs: I32, tiles: I64, ids: I32, means2d: F32, conics: F32, depths: F32, two_sigma_max: F32,
    opacities: F32, rows: F32, alpha_min: Scalar, alpha_max: Scalar, transmittance: F32, last: I32,
    grad_features: F32, grad_depth: F32, grad_opacity: F32, geometry: bool,
    out_rows: F32, out_opacities: F32, touched: Flags, out_geometry: F32,
) -> None:  # fmt: skip
    """Accumulate the gradients of `splat_forward`, each task into its own buffer.

    The first arguments are those of the forward pass; transmittance and last (V, H, W) are what it wrote;
    grad_features (V, C, H, W), grad_depth and grad_opacity (V, H, W) come in; out_rows (tasks, N, Cp), out_opacities
    (tasks, N), touched (tasks, N) and, if geometry is wanted, out_geometry (tasks, M, 6: mean u and v, conic a, b and
    c, depth) are added to. Lists are walked back to front as in `blend_backward`.
    """
    channels, height, width = grad_features.shape[1:]
    threads = out_rows.shape[0]
    for thread in prange(threads):
        grads = np.zeros((TILE * TILE, rows.shape[1]), np.float32)
        light = np.empty(TILE * TILE, np.float32)
        behind = np.empty(TILE * TILE, np.float32)
        mine = out_rows[thread]
        sums = np.empty((1, rows.shape[1]), np.float32)
        for tile in range(thread, tiles[0] * tiles[1] * tiles[2], threads):
            view, row0, row1, column0, column1 = _bounds(tile, tiles, height, width)
            begin = offsets[tile]
            behind[:] = np.float32(0.0)
            furthest = 0
            for row in range(row0, row1):
                for column in range(column0, column1):
                    at = (row - row0) * TILE + column - column0
                    light[at] = transmittance[view, row, column]
                    furthest = max(furthest, last[view, row, column])
                    for channel in range(channels):
                        grads[at, channel] = grad_features[view, channel, row, column]
            for entry in range(begin + furthest - 1, begin - 1, -1):
                m = pairs[entry]
                gaussian = ids[m]
                mean_u, mean_v = means2d[m, 0], means2d[m, 1]
                a, b, c = conics[m, 0], conics[m, 1], conics[m, 2]
                peak, z = opacities[gaussian], depths[m]
                sums[:] = np.float32(0.0)
                by_peak, by_u, by_v = np.float32(0.0), np.float32(0.0), np.float32(0.0)
                by_a, by_b, by_c, by_z = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
                hit = False
                for row in range(row0, row1):
                    dy = np.float32(row) + _HALF - mean_v
                    start, stop = _columns(dy, a, b, c, mean_u, two_sigma_max[m], column0, column1)
                    for column in range(start, stop):
                        if entry - begin >= last[view, row, column]:
                            continue
                        dx = np.float32(column) + _HALF - mean_u
                        kernel = math.exp(-(_HALF * (a * dx * dx + c * dy * dy) + b * dx * dy))
                        alpha = peak * kernel
                        if alpha < alpha_min:
                            continue
                        clamped = alpha > alpha_max
                        if clamped:
                            alpha = alpha_max
                        hit = True
                        at = (row - row0) * TILE + column - column0
                        inverse = _ONE / (_ONE - alpha)
                        light[at] *= inverse
                        weight = alpha * light[at]
                        grad_d = grad_depth[view, row, column]
                        worth = grad_opacity[view, row, column] + grad_d * z + dot_rows(grads, at, rows, gaussian)
                        add_row(sums, 0, weight, grads, at)
                        by_z += weight * grad_d
                        if not clamped:
                            by_alpha = light[at] * worth - behind[at] * inverse
                            by_peak += kernel * by_alpha
                            # d alpha / d sigma is -alpha; dx and dy fall as the mean moves right and down.
                            by_sigma = -alpha * by_alpha
                            by_u -= by_sigma * (a * dx + b * dy)
                            by_v -= by_sigma * (c * dy + b * dx)
                            by_a += by_sigma * _HALF * dx * dx
                            by_b += by_sigma * dx * dy
                            by_c += by_sigma * _HALF * dy * dy
                        behind[at] += weight * worth
                if not hit:
                    continue
                touch(mine, out_opacities[thread], touched[thread], gaussian)
                out_opacities[thread, gaussian] += by_peak
                add_row(mine, gaussian, _ONE, sums, 0)
                if geometry:
                    for index, value in enumerate((by_u, by_v, by_a, by_b, by_c, by_z)):
                        out_geometry[thread, m, index] += value
