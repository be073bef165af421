"""Blend per-pixel voxel lists front to back, and the exact gradient of it.

Feature rows are padded to a multiple of `LANES` so that the inner loops have a fixed length and vectorise.
fastmath is limited to "contract" (fused multiply-add) and "reassoc" (the order of a dot product): NaN and infinity
keep their meaning, so broken input shows in the output.
"""

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, I32, I64, LANES, Flags, Scalar

_ONE = np.float32(1.0)
_FAST = {"contract", "reassoc"}


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


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def blend_forward(
    order: I32, offsets: I64, entry_voxel: I32, entry_kernel: F32, depths: F32, opacities: F32, rows: F32,
    alpha_min: Scalar, alpha_max: Scalar, t_min: Scalar, threads: int,
    out_features: F32, out_depth: F32, out_opacity: F32, out_transmittance: F32, out_last: I32,
) -> None:  # fmt: skip
    """Composite the lists of every view.

    Args:
        order: (P,) in which pixels are visited; threads take equal runs of it.
        offsets: (V * P + 1,) where each pixel's list starts.
        entry_voxel: (E,) flat voxel indices.
        entry_kernel: (E,) exp(-sigma).
        depths: (V, N) depth of each voxel centre in metres.
        opacities: (N,)
        rows: (N, Cp) features padded with zeros.
        alpha_min: Smaller alphas are skipped.
        alpha_max: Larger alphas are clamped.
        t_min: Blending stops before the entry that would leave this much light or less.
        threads: Number of parallel tasks.
        out_features: (V, C, P), written; as are the following.
        out_depth: (V, P) sum(w z).
        out_opacity: (V, P) sum(w).
        out_transmittance: (V, P) the light that is left.
        out_last: (V, P) entries up to the stop.
    """
    views, channels, pixels = out_features.shape
    for thread in prange(threads):
        sums = np.empty(rows.shape[1], np.float32)
        for view in range(views):
            for step in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                place = order[step]
                sums[:] = np.float32(0.0)
                light = _ONE
                opacity = np.float32(0.0)
                depth = np.float32(0.0)
                begin = offsets[view * pixels + place]
                end = offsets[view * pixels + place + 1]
                stop = end
                for entry in range(begin, end):
                    voxel = entry_voxel[entry]
                    alpha = opacities[voxel] * entry_kernel[entry]
                    if alpha < alpha_min:
                        continue
                    if alpha > alpha_max:
                        alpha = alpha_max
                    left = light * (_ONE - alpha)
                    if left <= t_min:
                        stop = entry
                        break
                    weight = alpha * light
                    light = left
                    opacity += weight
                    depth += weight * depths[view, voxel]
                    _add_row(sums, weight, rows, voxel)
                for channel in range(channels):
                    out_features[view, channel, place] = sums[channel]
                out_depth[view, place] = depth
                out_opacity[view, place] = opacity
                out_transmittance[view, place] = light
                out_last[view, place] = stop - begin


@njit(parallel=True, cache=True, nogil=True, fastmath=_FAST)
def blend_backward(
    order: I32, offsets: I64, entry_voxel: I32, entry_kernel: F32, depths: F32, opacities: F32, rows: F32,
    alpha_min: Scalar, alpha_max: Scalar, transmittance: F32, last: I32,
    grad_features: F32, grad_depth: F32, grad_opacity: F32,
    grad_rows: F32, grad_opacities: F32, touched: Flags,
) -> None:  # fmt: skip
    """Accumulate the gradients to opacities and features, each task into its own buffer.

    Lists are walked from the stop to the front; the light in front of an entry follows by division, which
    alpha_max < 1 keeps well conditioned. The gradient of a clamped alpha is zero, as in gsplat.

    The first arguments are those of `blend_forward`; transmittance (V, P) and last (V, P) are what it wrote;
    grad_features (V, C, P), grad_depth and grad_opacity (V, P) come in; grad_rows (tasks, N, Cp), grad_opacities
    (tasks, N) and touched (tasks, N) are added to.
    """
    views, channels, pixels = grad_features.shape
    threads = grad_rows.shape[0]
    for thread in prange(threads):
        grad = np.zeros(rows.shape[1], np.float32)
        mine = grad_rows[thread]
        for view in range(views):
            for step in range(thread * pixels // threads, (thread + 1) * pixels // threads):
                place = order[step]
                count = last[view, place]
                if count == 0:
                    continue
                for channel in range(channels):
                    grad[channel] = grad_features[view, channel, place]
                grad_d = grad_depth[view, place]
                grad_o = grad_opacity[view, place]
                light = transmittance[view, place]
                behind = np.float32(0.0)
                begin = offsets[view * pixels + place]
                for entry in range(begin + count - 1, begin - 1, -1):
                    voxel = entry_voxel[entry]
                    kernel = entry_kernel[entry]
                    alpha = opacities[voxel] * kernel
                    if alpha < alpha_min:
                        continue
                    clamped = alpha > alpha_max
                    if clamped:
                        alpha = alpha_max
                    inverse = _ONE / (_ONE - alpha)
                    light *= inverse
                    weight = alpha * light
                    value = grad_o + grad_d * depths[view, voxel]
                    value += _dot_and_add(grad, rows, voxel, weight, mine, voxel)
                    touched[thread, voxel] = True
                    if not clamped:
                        grad_opacities[thread, voxel] += kernel * (light * value - behind * inverse)
                    behind += weight * value
