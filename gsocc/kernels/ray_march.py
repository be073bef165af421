"""March rays through a voxel grid of densities: forward and exact gradient, fused.

Volumes come padded with one voxel of zeros on every side, so that trilinear corners need no bounds check, and
feature rows padded to a multiple of `LANES`. Positions are in padded voxel units: voxel i spans [i, i + 1).
Ray directions are not normalised: the ray parameter t is depth along the optical axis, in metres. A ray costs two
divisions per axis to set up and hundreds of samples to march, so nothing about it is stored between calls.

Two ways to sample: `uniform` takes equal steps of t, trilinearly or in the nearest voxel; `cells` walks from voxel to
voxel (Amanatides and Woo, 1987) and integrates the piecewise constant volume exactly. fastmath is limited as in
`gsocc.kernels.list_blend`.
"""

import math

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, F64, I32, I64, LANES, Flags, Scalar

_ONE = np.float32(1.0)
_FAST = {"contract", "reassoc"}


@njit(cache=True, nogil=True, inline="always")
def _alpha(optical_depth: np.float32) -> np.float32:
    """Return 1 - exp(-x) to float32 accuracy: for small x by its series, where the difference would cancel."""
    x = optical_depth
    if x < np.float32(0.05):
        return x * (_ONE - x * (np.float32(0.5) - x * (np.float32(1 / 6) - x * np.float32(1 / 24))))
    return _ONE - math.exp(-x)


@njit(cache=True, nogil=True, inline="always")
def _clip(origin: float, direction: float, low: float, high: float, t0: float, t1: float) -> tuple[float, float]:
    """Cut [t0, t1] to where origin + t direction lies in [low, high]; empty intervals come out with t1 < t0."""
    if direction == 0.0:
        if origin < low or origin > high:
            return t0, t0 - 1.0
        return t0, t1
    a = (low - origin) / direction
    b = (high - origin) / direction
    return max(t0, min(a, b)), min(t1, max(a, b))


@njit(cache=True, nogil=True, inline="always")
def _ray(cameras: F64, view: int, place: int, width: int, out: F64) -> None:
    """Write origin and direction (padded voxel units) and the metres per unit of t of a pixel's ray into out (7,)."""
    row = place // width
    u = place - row * width + 0.5
    v = row + 0.5
    camera = cameras[view]
    length = 0.0
    for axis in range(3):
        direction = camera[axis, 0] * u + camera[axis, 1] * v + camera[axis, 2]
        length += direction * direction
        out[axis] = camera[axis, 3]
        out[3 + axis] = direction / camera[axis, 4]
    out[6] = math.sqrt(length)


@njit(cache=True, nogil=True, inline="always")
def _span(ray: F64, shape: I64, reach: float, near: float, far: float) -> tuple[float, float]:
    """Return the interval of t inside the grid widened by reach voxels."""
    t0, t1 = near, far
    for axis in range(3):
        t0, t1 = _clip(ray[axis], ray[3 + axis], 1.0 - reach, shape[axis] - 1.0 + reach, t0, t1)
    return t0, t1


@njit(cache=True, nogil=True, inline="always")
def _corners(ray: F64, t: float, trilinear: bool, shape: I64, cells: I64, shares: F32) -> int:
    """Write the voxels and shares of a sample at t; return how many (8 or 1)."""
    shift = 0.5 if trilinear else 0.0
    x = ray[0] + t * ray[3] - shift
    y = ray[1] + t * ray[4] - shift
    z = ray[2] + t * ray[5] - shift
    # Rounding at the faces may step over the padding by one.
    i = min(max(int(x), 0), shape[0] - 2)
    j = min(max(int(y), 0), shape[1] - 2)
    k = min(max(int(z), 0), shape[2] - 2)
    base = (i * shape[1] + j) * shape[2] + k
    cells[0] = base
    if not trilinear:
        shares[0] = _ONE
        return 1
    stride_y = shape[2]
    stride_x = shape[1] * shape[2]
    fx, fy, fz = np.float32(x - i), np.float32(y - j), np.float32(z - k)
    gx, gy, gz = _ONE - fx, _ONE - fy, _ONE - fz
    gg, gf, fg, ff = gx * gy, gx * fy, fx * gy, fx * fy
    cells[1], cells[2], cells[3] = base + 1, base + stride_y, base + stride_y + 1
    cells[4], cells[5] = base + stride_x, base + stride_x + 1
    cells[6], cells[7] = base + stride_x + stride_y, base + stride_x + stride_y + 1
    shares[0], shares[1], shares[2], shares[3] = gg * gz, gg * fz, gf * gz, gf * fz
    shares[4], shares[5], shares[6], shares[7] = fg * gz, fg * fz, ff * gz, ff * fz
    return 8


@njit(cache=True, nogil=True, inline="always")
def _enter(ray: F64, t: float, shape: I64, axes: F64, cell: I64) -> None:
    """Set up the walk at t: the cell, and per axis the t of its far face and the t between faces."""
    for axis in range(3):
        direction = ray[3 + axis]
        position = ray[axis] + t * direction
        index = min(max(int(position), 1), shape[axis] - 2)
        cell[axis] = index
        if direction > 0.0:
            axes[axis] = (index + 1.0 - ray[axis]) / direction
            axes[3 + axis] = 1.0 / direction
            cell[3 + axis] = 1
        elif direction < 0.0:
            axes[axis] = (index - ray[axis]) / direction
            axes[3 + axis] = -1.0 / direction
            cell[3 + axis] = -1
        else:
            axes[axis] = np.inf
            axes[3 + axis] = np.inf
            cell[3 + axis] = 0


@njit(cache=True, nogil=True, inline="always")
def _step(axes: F64, cell: I64) -> int:
    """Move to the next cell; return the axis that was crossed."""
    axis = 0
    if axes[1] < axes[0]:
        axis = 1
    if axes[2] < axes[axis]:
        axis = 2
    cell[axis] += cell[3 + axis]
    axes[axis] += axes[3 + axis]
    return axis


@njit(cache=True, nogil=True, inline="always")
def _add_row(sums: F32, weight: np.float32, rows: F32, index: int) -> None:
    """Add weight * rows[index] to sums."""
    for block in range(rows.shape[1] // LANES):
        for lane in range(LANES):
            sums[block * LANES + lane] += weight * rows[index, block * LANES + lane]


@njit(cache=True, nogil=True, inline="always")
def _dot_and_add(grad: F32, rows: F32, index: int, weight: np.float32, out: F32, at: int) -> np.float32:
    """Return grad . rows[index], and add weight * grad to out[at] on the way."""
    dot = np.float32(0.0)
    for block in range(rows.shape[1] // LANES):
        for lane in range(LANES):
            channel = block * LANES + lane
            dot += grad[channel] * rows[index, channel]
            out[at, channel] += weight * grad[channel]
    return dot


@njit(cache=True, nogil=True, inline="always")
def _mix(density: F32, corners: int, cells: I64, shares: F32) -> np.float32:
    """Return the density of a sample from its corners."""
    value = np.float32(0.0)
    for corner in range(corners):
        value += shares[corner] * density[cells[corner]]
    return value


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def march_uniform(
    order: I32, cameras: F64, width: int, shape: I64, density: F32, rows: F32,
    near: float, far: float, spacing: float, trilinear: bool, alpha_min: Scalar, t_min: Scalar, threads: int,
    out_features: F32, out_depth: F32, out_opacity: F32, out_count: I32,
) -> None:  # fmt: skip
    """Composite samples at t = near + (k + 0.5) spacing.

    Args:
        order: (P,) in which pixels are visited; threads take equal runs of it.
        cameras: (V, 3, 5): R K^-1 in the first three columns, origin in padded voxel units, voxel edges in metres.
        width: Columns of the image.
        shape: (3,) padded voxels along x, y, z.
        density: (N,) in 1/m over the padded grid, zero in the padding.
        rows: (N, Cp) features over the padded grid.
        near: First t in metres.
        far: Last t in metres.
        spacing: Of t in metres.
        trilinear: Interpolate, or take the nearest voxel.
        alpha_min: Smaller alphas are skipped; 0 skips none.
        t_min: The march ends after the sample that leaves this much light or less.
        threads: Number of parallel tasks.
        out_features: (V, C, P), written; as are the following.
        out_depth: (V, P), sum(w t).
        out_opacity: (V, P), sum(w).
        out_count: (V, P), index of the sample at which the march ended, plus one.
    """
    views, channels, pixels = out_features.shape
    reach = 0.5 if trilinear else 0.0
    for thread in prange(threads):
        sums = np.empty(rows.shape[1], np.float32)
        ray = np.empty(7)
        cells = np.empty(8, np.int64)
        shares = np.empty(8, np.float32)
        for view in range(views):
            for step in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                place = order[step]
                _ray(cameras, view, place, width, ray)
                t0, t1 = _span(ray, shape, reach, near, far)
                delta = np.float32(spacing * ray[6])
                sums[:] = np.float32(0.0)
                light, opacity, depth = _ONE, np.float32(0.0), np.float32(0.0)
                sample = max(0, math.ceil((t0 - near) / spacing - 0.5))
                end = math.floor((t1 - near) / spacing - 0.5) + 1 if t1 >= t0 else sample
                while sample < end:
                    t = near + (sample + 0.5) * spacing
                    sample += 1
                    corners = _corners(ray, t, trilinear, shape, cells, shares)
                    alpha = _alpha(_mix(density, corners, cells, shares) * delta)
                    if alpha == 0.0 or alpha < alpha_min:
                        continue
                    weight = alpha * light
                    light *= _ONE - alpha
                    opacity += weight
                    depth += weight * np.float32(t)
                    for corner in range(corners):
                        _add_row(sums, weight * shares[corner], rows, cells[corner])
                    if light <= t_min:
                        break
                for channel in range(channels):
                    out_features[view, channel, place] = sums[channel]
                out_depth[view, place] = depth
                out_opacity[view, place] = opacity
                out_count[view, place] = sample


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def march_uniform_backward(
    order: I32, cameras: F64, width: int, shape: I64, density: F32, rows: F32,
    near: float, far: float, spacing: float, trilinear: bool, alpha_min: Scalar, count: I32,
    grad_features: F32, grad_depth: F32, grad_opacity: F32,
    grad_rows: F32, grad_density: F32, touched: Flags,
) -> None:  # fmt: skip
    """Accumulate the gradients of `march_uniform` to density and features, each task into its own buffer.

    A ray is marched again to learn the light before each sample, then walked back. The first arguments are those of
    the forward pass, `count` is what it wrote; grad_features (V, C, P), grad_depth and grad_opacity (V, P) come in;
    grad_rows (tasks, N, Cp), grad_density (tasks, N) and touched (tasks, N) are added to.
    """
    views, channels, pixels = grad_features.shape
    threads = grad_rows.shape[0]
    reach = 0.5 if trilinear else 0.0
    most = int((far - near) / spacing) + 2
    for thread in prange(threads):
        grad = np.zeros(rows.shape[1], np.float32)
        mine = grad_rows[thread]
        ray = np.empty(7)
        cells = np.empty(8, np.int64)
        shares = np.empty(8, np.float32)
        alphas = np.empty(most, np.float32)
        lights = np.empty(most, np.float32)
        for view in range(views):
            for step in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                place = order[step]
                _ray(cameras, view, place, width, ray)
                t0, _ = _span(ray, shape, reach, near, far)
                delta = np.float32(spacing * ray[6])
                first = max(0, math.ceil((t0 - near) / spacing - 0.5))
                end = count[view, place]
                light = _ONE
                for sample in range(first, end):
                    corners = _corners(ray, near + (sample + 0.5) * spacing, trilinear, shape, cells, shares)
                    alphas[sample] = _alpha(_mix(density, corners, cells, shares) * delta)
                    lights[sample] = light
                    if not alphas[sample] < alpha_min:
                        light *= _ONE - alphas[sample]
                for channel in range(channels):
                    grad[channel] = grad_features[view, channel, place]
                grad_d, grad_o = grad_depth[view, place], grad_opacity[view, place]
                behind = np.float32(0.0)
                for sample in range(end - 1, first - 1, -1):
                    alpha = alphas[sample]
                    if alpha < alpha_min:
                        continue
                    t = near + (sample + 0.5) * spacing
                    corners = _corners(ray, t, trilinear, shape, cells, shares)
                    weight = alpha * lights[sample]
                    worth = grad_o + grad_d * np.float32(t)
                    for corner in range(corners):
                        share, cell = shares[corner], cells[corner]
                        worth += share * _dot_and_add(grad, rows, cell, weight * share, mine, cell)
                    slope = delta * ((_ONE - alpha) * lights[sample] * worth - behind)
                    for corner in range(corners):
                        grad_density[thread, cells[corner]] += shares[corner] * slope
                        touched[thread, cells[corner]] = True
                    behind += weight * worth


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def march_cells(
    order: I32, cameras: F64, width: int, shape: I64, density: F32, rows: F32,
    near: float, far: float, alpha_min: Scalar, t_min: Scalar, threads: int,
    out_features: F32, out_depth: F32, out_opacity: F32, out_count: I32,
) -> None:  # fmt: skip
    """Composite one sample per voxel that the ray crosses, in the middle of its stretch there.

    Arguments as in `march_uniform`; `out_count` is the number of cells visited.
    """
    views, channels, pixels = out_features.shape
    for thread in prange(threads):
        sums = np.empty(rows.shape[1], np.float32)
        ray, axes, cell = np.empty(7), np.empty(6), np.empty(6, np.int64)
        for view in range(views):
            for step in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                place = order[step]
                _ray(cameras, view, place, width, ray)
                t, t1 = _span(ray, shape, 0.0, near, far)
                _enter(ray, t, shape, axes, cell)
                sums[:] = np.float32(0.0)
                light, opacity, depth = _ONE, np.float32(0.0), np.float32(0.0)
                visited = 0
                while t < t1:
                    visited += 1
                    flat = (cell[0] * shape[1] + cell[1]) * shape[2] + cell[2]
                    leave = min(min(axes[0], axes[1]), min(axes[2], t1))
                    alpha = _alpha(density[flat] * np.float32(max(leave - t, 0.0) * ray[6]))
                    if alpha != 0.0 and not alpha < alpha_min:
                        weight = alpha * light
                        light *= _ONE - alpha
                        opacity += weight
                        depth += weight * np.float32(0.5 * (t + leave))
                        _add_row(sums, weight, rows, flat)
                        if light <= t_min:
                            break
                    t = leave
                    axis = _step(axes, cell)
                    if cell[axis] < 1 or cell[axis] > shape[axis] - 2:
                        break
                for channel in range(channels):
                    out_features[view, channel, place] = sums[channel]
                out_depth[view, place] = depth
                out_opacity[view, place] = opacity
                out_count[view, place] = visited


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def march_cells_backward(
    order: I32, cameras: F64, width: int, shape: I64, density: F32, rows: F32,
    near: float, far: float, alpha_min: Scalar, count: I32,
    grad_features: F32, grad_depth: F32, grad_opacity: F32,
    grad_rows: F32, grad_density: F32, touched: Flags,
) -> None:  # fmt: skip
    """Accumulate the gradients of `march_cells`; arguments as in `march_uniform_backward`."""
    views, channels, pixels = grad_features.shape
    threads = grad_rows.shape[0]
    most = shape[0] + shape[1] + shape[2]
    for thread in prange(threads):
        grad = np.zeros(rows.shape[1], np.float32)
        mine = grad_rows[thread]
        ray, axes, cell = np.empty(7), np.empty(6), np.empty(6, np.int64)
        flats = np.empty(most, np.int64)
        middles, deltas, alphas, lights = (
            np.empty(most, np.float32),
            np.empty(most, np.float32),
            np.empty(most, np.float32),
            np.empty(most, np.float32),
        )
        for view in range(views):
            for step in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                place = order[step]
                _ray(cameras, view, place, width, ray)
                t, t1 = _span(ray, shape, 0.0, near, far)
                _enter(ray, t, shape, axes, cell)
                light = _ONE
                visited = count[view, place]
                for index in range(visited):
                    flat = (cell[0] * shape[1] + cell[1]) * shape[2] + cell[2]
                    leave = min(min(axes[0], axes[1]), min(axes[2], t1))
                    delta = np.float32(max(leave - t, 0.0) * ray[6])
                    alpha = _alpha(density[flat] * delta)
                    flats[index], middles[index], deltas[index] = flat, np.float32(0.5 * (t + leave)), delta
                    alphas[index], lights[index] = alpha, light
                    if not alpha < alpha_min:
                        light *= _ONE - alpha
                    t = leave
                    _step(axes, cell)
                for channel in range(channels):
                    grad[channel] = grad_features[view, channel, place]
                grad_d, grad_o = grad_depth[view, place], grad_opacity[view, place]
                behind = np.float32(0.0)
                for index in range(visited - 1, -1, -1):
                    alpha = alphas[index]
                    if alpha < alpha_min:
                        continue
                    flat = flats[index]
                    weight = alpha * lights[index]
                    worth = grad_o + grad_d * middles[index]
                    worth += _dot_and_add(grad, rows, flat, weight, mine, flat)
                    grad_density[thread, flat] += deltas[index] * ((_ONE - alpha) * lights[index] * worth - behind)
                    touched[thread, flat] = True
                    behind += weight * worth
