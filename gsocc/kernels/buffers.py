"""Between channels first, as networks have them, and channels last, as rays and pixels read them."""

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, Flags

BLOCK = 16
"""Elements that are transposed at a time: a cache line of every channel."""


@njit(cache=True, nogil=True, inline="always")
def touch(rows: F32, scalars: F32, touched: Flags, index: int) -> None:
    """Zero what one task holds of an element when it is first written: most elements never are."""
    if not touched[index]:
        touched[index] = True
        rows[index] = np.float32(0.0)
        scalars[index] = np.float32(0.0)


@njit(parallel=True, cache=True, nogil=True)
def sum_buffers(grad_rows: F32, grad_scalars: F32, touched: Flags, out_features: F32, out_scalars: F32) -> None:
    """Sum over tasks, reading only what was touched.

    Args:
        grad_rows: (tasks, N, Cp).
        grad_scalars: (tasks, N).
        touched: (tasks, N), False where a task's buffer holds nothing, not even zeros.
        out_features: (C, N), written.
        out_scalars: (N,), written.
    """
    channels, count = out_features.shape
    for block in prange((count + BLOCK - 1) // BLOCK):
        first, last = block * BLOCK, min((block + 1) * BLOCK, count)
        out_scalars[first:last] = np.float32(0.0)
        for channel in range(channels):
            for index in range(first, last):
                out_features[channel, index] = np.float32(0.0)
        for task in range(grad_rows.shape[0]):
            for index in range(first, last):
                if touched[task, index]:
                    out_scalars[index] += grad_scalars[task, index]
                    for channel in range(channels):
                        out_features[channel, index] += grad_rows[task, index, channel]


@njit(parallel=True, cache=True, nogil=True)
def pack(features: F32, live: Flags, rows: F32) -> None:
    """Write features with the channels last.

    Args:
        features: (C, N).
        live: (N,), False where nobody will read the row, which is then not written.
        rows: (N, Cp), written, zeros in the padding.
    """
    channels, count = features.shape
    for block in prange((count + BLOCK - 1) // BLOCK):
        first, last = block * BLOCK, min((block + 1) * BLOCK, count)
        if not live[first:last].any():
            continue
        for channel in range(channels):
            for index in range(first, last):
                rows[index, channel] = features[channel, index]
        for index in range(first, last):
            for channel in range(channels, rows.shape[1]):
                rows[index, channel] = np.float32(0.0)
