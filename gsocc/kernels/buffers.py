"""Add up the gradient buffers of parallel tasks."""

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, Flags


@njit(parallel=True, cache=True, nogil=True)
def sum_buffers(grad_rows: F32, grad_scalars: F32, touched: Flags, out_features: F32, out_scalars: F32) -> None:
    """Sum over tasks, reading only what was touched.

    Args:
        grad_rows: (tasks, N, Cp).
        grad_scalars: (tasks, N).
        touched: (tasks, N), False where a task's buffer holds nothing.
        out_features: (C, N), written.
        out_scalars: (N,), written.
    """
    channels, voxels = out_features.shape
    for voxel in prange(voxels):
        total = np.float32(0.0)
        for channel in range(channels):
            out_features[channel, voxel] = np.float32(0.0)
        for task in range(grad_rows.shape[0]):
            if touched[task, voxel]:
                total += grad_scalars[task, voxel]
                for channel in range(channels):
                    out_features[channel, voxel] += grad_rows[task, voxel, channel]
        out_scalars[voxel] = total
