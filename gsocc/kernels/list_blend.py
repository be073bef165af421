"""Blend the voxel lists of pixel blocks front to back, and the exact gradient of it.

A voxel's entries in a block fall in kernel, so that those which are too transparent to be drawn at its present opacity
are a tail that nobody reads. Which voxels are drawn at all no processor can guess: they are sifted without a branch, a
chunk at a time, and what the next ones need is fetched while the present one is blended. Feature rows are padded to a
multiple of `LANES` (see `gsocc.kernels.rows`). fastmath is limited to "contract" (fused multiply-add) and "reassoc"
(the order of a sum): NaN and infinity keep their meaning, so broken input shows in the output.
"""

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, I32, I64, U8, Flags, Scalar
from gsocc.kernels.buffers import touch
from gsocc.kernels.rows import add_row, dot_rows, fetch
from gsocc.kernels.voxel_lists import BLOCK

_ONE = np.float32(1.0)
_FAST = {"contract", "reassoc"}
_PIXELS = BLOCK * BLOCK
_CHUNK = 64
"""Pairs that are sifted at a time."""
_AHEAD = 6
"""Pairs between asking for memory and using it: about the time that it takes to come."""
_LINE = 16
"""float32 numbers in a cache line."""


@njit(cache=True, nogil=True, inline="always")
def _sift(
    first: int, end: int, pair_voxel: I32, pair_peak: F32, opacities: F32, alpha_min: Scalar, pairs: I64, peaks: F32
) -> int:
    """Write the pairs in [first, end) whose strongest entry reaches alpha_min, and their opacities; return how many.

    Written so that NaN reaches alpha_min too.
    """
    kept = 0
    for pair in range(first, end):
        peak = opacities[pair_voxel[pair]]
        pairs[kept], peaks[kept] = pair, peak
        kept += not peak * pair_peak[pair] < alpha_min
    return kept


@njit(cache=True, nogil=True, inline="always")
def _start(pair: int, first_pair: int, first_entry: int, pair_end: I32) -> int:
    """Return the first entry of a pair; its block's pairs and entries start at first_pair and first_entry."""
    return first_entry + (pair_end[pair - 1] if pair > first_pair else 0)


@njit(cache=True, nogil=True, inline="always")
def _fetch(pair: int, start: int, pair_voxel: I32, entry_kernel: F32, entry_pixel: U8, rows: F32) -> None:
    """Ask for what blending a pair will read."""
    fetch(entry_kernel, start)
    fetch(entry_pixel, start)
    for channel in range(0, rows.shape[1], _LINE):
        fetch(rows, pair_voxel[pair] * rows.shape[1] + channel)


@njit(cache=True, nogil=True, inline="always")
def _bounds(step: int, view: int, blocks: I64, height: int, width: int) -> tuple[int, int, int, int, int]:
    """Return index, first row, first column, rows and columns of a view's block, counted down the columns of blocks.

    Threads take equal runs of the count, that is, strips from top to bottom: each gets its share of sky and street, and
    its own part of the scene, whose gradients the others then do not touch.
    """
    row, column = step % blocks[1] * BLOCK, step // blocks[1] * BLOCK
    block = (view * blocks[1] + step % blocks[1]) * blocks[2] + step // blocks[1]
    return block, row, column, min(BLOCK, height - row), min(BLOCK, width - column)


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def blend_forward(
    blocks: I64, block_pairs: I64, block_entries: I64, pair_voxel: I32, pair_depth: F32, pair_peak: F32, pair_end: I32,
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
        pair_peak: (pairs,) the strongest kernel.
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
        rest, depth = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        kept, peaks = np.empty(_CHUNK + 1, np.int64), np.empty(_CHUNK + 1, np.float32)
        per_view = blocks[1] * blocks[2]
        first = thread * per_view // threads
        share = (thread + 1) * per_view // threads - first
        for turn in range(blocks[0] * share):
            view = turn // share
            block, row0, column0, n_rows, n_columns = _bounds(first + turn % share, view, blocks, height, width)
            begin, end, entries = block_pairs[block], block_pairs[block + 1], block_entries[block]
            sums[:] = np.float32(0.0)
            light[:] = _ONE
            rest[:] = np.float32(0.0)
            depth[:] = np.float32(0.0)
            last[:] = end - begin
            open_pixels = n_rows * n_columns
            for chunk in range(begin, end, _CHUNK):
                stop = min(chunk + _CHUNK, end)
                count = _sift(chunk, stop, pair_voxel, pair_peak, opacities, alpha_min, kept, peaks)
                for number in range(count):
                    if number + _AHEAD < count:
                        ahead = kept[number + _AHEAD]
                        start = _start(ahead, begin, entries, pair_end)
                        _fetch(ahead, start, pair_voxel, entry_kernel, entry_pixel, rows)
                    pair, peak = kept[number], peaks[number]
                    voxel, z = pair_voxel[pair], pair_depth[pair]
                    for entry in range(_start(pair, begin, entries, pair_end), entries + pair_end[pair]):
                        alpha = peak * entry_kernel[entry]
                        if alpha < alpha_min:
                            break
                        if alpha > alpha_max:
                            alpha = alpha_max
                        at = entry_pixel[entry]
                        left = light[at] * (_ONE - alpha)
                        if left <= t_min:
                            # A pixel that has stopped has no light, and comes here every time.
                            if last[at] == end - begin:
                                last[at] = pair - begin
                                rest[at] = light[at]
                                light[at] = np.float32(0.0)
                                open_pixels -= 1
                            continue
                        weight = alpha * light[at]
                        light[at] = left
                        depth[at] += weight * z
                        add_row(sums, at, weight, rows, voxel)
                    if open_pixels == 0:
                        break
                if open_pixels == 0:
                    break
            for row in range(n_rows):
                for column in range(n_columns):
                    at = row * BLOCK + column
                    for channel in range(channels):
                        out_features[view, channel, row0 + row, column0 + column] = sums[at, channel]
                    out_depth[view, row0 + row, column0 + column] = depth[at]
                    # Nothing is lost by the difference: what is left is known to a rounding of 1.
                    out_opacity[view, row0 + row, column0 + column] = _ONE - (light[at] + rest[at])
                    out_transmittance[view, row0 + row, column0 + column] = light[at] + rest[at]
                    out_last[view, row0 + row, column0 + column] = last[at]


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def blend_backward(
    blocks: I64, block_pairs: I64, block_entries: I64, pair_voxel: I32, pair_depth: F32, pair_peak: F32, pair_end: I32,
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
        kept, peaks = np.empty(_CHUNK + 1, np.int64), np.empty(_CHUNK + 1, np.float32)
        mine = grad_rows[thread]
        per_view = blocks[1] * blocks[2]
        first = thread * per_view // threads
        share = (thread + 1) * per_view // threads - first
        for turn in range(blocks[0] * share):
            view = turn // share
            block, row0, column0, n_rows, n_columns = _bounds(first + turn % share, view, blocks, height, width)
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
            for chunk in range(begin + (max(pairs - 1, 0) // _CHUNK) * _CHUNK, begin - 1, -_CHUNK):
                end = min(chunk + _CHUNK, begin + pairs)
                count = _sift(chunk, end, pair_voxel, pair_peak, opacities, alpha_min, kept, peaks)
                for number in range(count - 1, -1, -1):
                    if number >= _AHEAD:
                        ahead = kept[number - _AHEAD]
                        start = _start(ahead, begin, entries, pair_end)
                        _fetch(ahead, start, pair_voxel, entry_kernel, entry_pixel, rows)
                    pair, peak = kept[number], peaks[number]
                    voxel, z = pair_voxel[pair], pair_depth[pair]
                    sums[:] = np.float32(0.0)
                    by_peak = np.float32(0.0)
                    for entry in range(_start(pair, begin, entries, pair_end), entries + pair_end[pair]):
                        kernel = entry_kernel[entry]
                        alpha = peak * kernel
                        if alpha < alpha_min:
                            break
                        at = entry_pixel[entry]
                        if pair - begin >= stop[at]:
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
