"""Blend the voxel lists of pixel blocks front to back, and the exact gradient of it.

A voxel's entries in a block fall in kernel, so that those which are too transparent to be drawn at its present opacity
are a tail that nobody reads. Feature rows are padded to a multiple of `LANES` (see `gsocc.kernels.rows`). fastmath is
limited to "contract" (fused multiply-add) and "reassoc" (the order of a sum): NaN and infinity keep their meaning, so
broken input shows in the output.
"""

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, I32, I64, U8, Flags, Scalar
from gsocc.kernels.buffers import touch
from gsocc.kernels.rows import add_row, dot_rows
from gsocc.kernels.voxel_lists import BLOCK

_ONE = np.float32(1.0)
_FAST = {"contract", "reassoc"}
_PIXELS = BLOCK * BLOCK


@njit(cache=True, nogil=True, inline="always")
def _bounds(block: int, blocks: I64, height: int, width: int) -> tuple[int, int, int, int, int]:
    """Return view, first row, first column, rows and columns of a block."""
    view = block // (blocks[1] * blocks[2])
    place = block - view * blocks[1] * blocks[2]
    row, column = (place // blocks[2]) * BLOCK, (place % blocks[2]) * BLOCK
    return view, row, column, min(BLOCK, height - row), min(BLOCK, width - column)


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def blend_forward(
    blocks: I64, block_pairs: I64, block_entries: I64, pair_voxel: I32, pair_depth: F32, pair_end: I32,
    entry_kernel: F32, entry_pixel: U8, opacities: F32, rows: F32,
    alpha_min: Scalar, alpha_max: Scalar, t_min: Scalar, threads: int,
    out_features: F32, out_depth: F32, out_opacity: F32, out_transmittance: F32, out_last: I32,
) -> None:  # fmt: skip
    """Composite the lists of every view.

    Args:
        blocks: (3,) views, rows and columns of blocks.
        block_pairs: (blocks + 1,) where the pairs of each block start.
        block_entries: (blocks + 1,) where its entries start.
        pair_voxel: (pairs,) flat voxel indices.
        pair_depth: (pairs,) depth of the voxel centre in metres.
        pair_end: (pairs,) entries of the block up to the end of the pair.
        entry_kernel: (E,) exp(-sigma), falling within a pair.
        entry_pixel: (E,) row * BLOCK + column in the block.
        opacities: (N,)
        rows: (N, Cp) features padded with zeros.
        alpha_min: Smaller alphas are skipped.
        alpha_max: Larger alphas are clamped.
        t_min: A pixel stops before the entry that would leave this much light or less.
        threads: Number of parallel tasks.
        out_features: (V, C, H, W), written; as are the following.
        out_depth: (V, H, W) sum(w z).
        out_opacity: (V, H, W) sum(w).
        out_transmittance: (V, H, W) the light that is left.
        out_last: (V, H, W) pairs of the block up to the pixel's stop.
    """
    channels, height, width = out_features.shape[1:]
    for thread in prange(threads):
        sums = np.empty((_PIXELS, rows.shape[1]), np.float32)
        light, last = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.int32)
        opacity, depth = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        for block in range(thread, blocks[0] * blocks[1] * blocks[2], threads):
            view, row0, column0, n_rows, n_columns = _bounds(block, blocks, height, width)
            begin, pairs = block_pairs[block], block_pairs[block + 1] - block_pairs[block]
            entry = block_entries[block]
            sums[:] = np.float32(0.0)
            light[:] = _ONE
            opacity[:] = np.float32(0.0)
            depth[:] = np.float32(0.0)
            last[:] = pairs
            open_pixels = n_rows * n_columns
            for pair in range(pairs):
                voxel, z = pair_voxel[begin + pair], pair_depth[begin + pair]
                peak = opacities[voxel]
                first = entry
                entry = block_entries[block] + pair_end[begin + pair]
                for index in range(first, entry):
                    alpha = peak * entry_kernel[index]
                    if alpha < alpha_min:
                        break
                    at = entry_pixel[index]
                    if last[at] != pairs:
                        continue
                    if alpha > alpha_max:
                        alpha = alpha_max
                    left = light[at] * (_ONE - alpha)
                    if left <= t_min:
                        last[at] = pair
                        open_pixels -= 1
                        continue
                    weight = alpha * light[at]
                    light[at] = left
                    opacity[at] += weight
                    depth[at] += weight * z
                    add_row(sums, at, weight, rows, voxel)
                if open_pixels == 0:
                    break
            for row in range(n_rows):
                for column in range(n_columns):
                    at = row * BLOCK + column
                    for channel in range(channels):
                        out_features[view, channel, row0 + row, column0 + column] = sums[at, channel]
                    out_depth[view, row0 + row, column0 + column] = depth[at]
                    out_opacity[view, row0 + row, column0 + column] = opacity[at]
                    out_transmittance[view, row0 + row, column0 + column] = light[at]
                    out_last[view, row0 + row, column0 + column] = last[at]


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def blend_backward(
    blocks: I64, block_pairs: I64, block_entries: I64, pair_voxel: I32, pair_depth: F32, pair_end: I32,
    entry_kernel: F32, entry_pixel: U8, opacities: F32, rows: F32, alpha_min: Scalar, alpha_max: Scalar,
    transmittance: F32, last: I32, grad_features: F32, grad_depth: F32, grad_opacity: F32,
    grad_rows: F32, grad_opacities: F32, touched: Flags,
) -> None:  # fmt: skip
    """Accumulate the gradients to opacities and features, each task into its own buffer.

    Lists are walked from the stop to the front; the light in front of an entry follows by division, which
    alpha_max < 1 keeps well conditioned. The gradient of a clamped alpha is zero, as in gsplat.

    The first arguments are those of `blend_forward`; transmittance and last (V, H, W) are what it wrote;
    grad_features (V, C, H, W), grad_depth and grad_opacity (V, H, W) come in; grad_rows (tasks, N, Cp), grad_opacities
    (tasks, N) and touched (tasks, N) are added to.
    """
    channels, height, width = grad_features.shape[1:]
    threads = grad_rows.shape[0]
    for thread in prange(threads):
        grads, sums = np.zeros((_PIXELS, rows.shape[1]), np.float32), np.zeros((1, rows.shape[1]), np.float32)
        light, behind = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        grad_d, grad_o = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        stop = np.empty(_PIXELS, np.int32)
        mine = grad_rows[thread]
        for block in range(thread, blocks[0] * blocks[1] * blocks[2], threads):
            view, row0, column0, n_rows, n_columns = _bounds(block, blocks, height, width)
            begin, entries = block_pairs[block], block_entries[block]
            behind[:] = np.float32(0.0)
            pairs = 0
            for row in range(n_rows):
                for column in range(n_columns):
                    at = row * BLOCK + column
                    light[at] = transmittance[view, row0 + row, column0 + column]
                    stop[at] = last[view, row0 + row, column0 + column]
                    grad_d[at] = grad_depth[view, row0 + row, column0 + column]
                    grad_o[at] = grad_opacity[view, row0 + row, column0 + column]
                    pairs = max(pairs, stop[at])
                    for channel in range(channels):
                        grads[at, channel] = grad_features[view, channel, row0 + row, column0 + column]
            for pair in range(pairs - 1, -1, -1):
                voxel, z = pair_voxel[begin + pair], pair_depth[begin + pair]
                peak = opacities[voxel]
                first = entries + (pair_end[begin + pair - 1] if pair > 0 else 0)
                if first == entries + pair_end[begin + pair] or peak * entry_kernel[first] < alpha_min:
                    continue
                sums[:] = np.float32(0.0)
                by_peak = np.float32(0.0)
                for index in range(first, entries + pair_end[begin + pair]):
                    kernel = entry_kernel[index]
                    alpha = peak * kernel
                    if alpha < alpha_min:
                        break
                    at = entry_pixel[index]
                    if pair >= stop[at]:
                        continue
                    clamped = alpha > alpha_max
                    if clamped:
                        alpha = alpha_max
                    inverse = _ONE / (_ONE - alpha)
                    light[at] *= inverse
                    weight = alpha * light[at]
                    worth = grad_o[at] + grad_d[at] * z + dot_rows(grads, at, rows, voxel)
                    add_row(sums, 0, weight, grads, at)
                    if not clamped:
                        by_peak += kernel * (light[at] * worth - behind[at] * inverse)
                    behind[at] += weight * worth
                touch(mine, grad_opacities[thread], touched[thread], voxel)
                grad_opacities[thread, voxel] += by_peak
                add_row(mine, voxel, _ONE, sums, 0)
