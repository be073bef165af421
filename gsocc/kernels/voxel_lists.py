"""Build per-pixel lists of the voxels that can be seen there, front to back (see `gsocc.renderers.voxel_lists`).

All kernels walk over Gaussians in depth order and over bands of image rows in parallel. A band owns its pixels, so
nothing races, and lists come out sorted without a sort per pixel.
"""

import math

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, I32, I64


@njit(cache=True, nogil=True, inline="always")
def _columns(
    dy: float, conic_a: float, conic_b: float, conic_c: float, mean_u: float, two_sigma_max: float, width: int
) -> tuple[int, int]:
    """Return the columns [start, stop) whose pixel centres lie inside the ellipse on the row at distance dy."""
    half_b = conic_b * dy
    disc = half_b * half_b - conic_a * (conic_c * dy * dy - two_sigma_max)
    if disc <= 0.0:
        return 0, 0
    root = math.sqrt(disc)
    start = math.ceil(mean_u + (-half_b - root) / conic_a - 0.5)
    stop = math.floor(mean_u + (-half_b + root) / conic_a - 0.5) + 1.0
    return int(max(start, 0.0)), int(min(stop, float(width)))


@njit(parallel=True, cache=True, nogil=True)
def count_entries(
    means2d: F32, conics: F32, radii_v: F32, two_sigma_max: float, height: int, width: int, band_rows: int, counts: I32
) -> None:
    """Count for every pixel of one view the Gaussians with 2 sigma <= two_sigma_max.

    Args:
        means2d: (M, 2) px, visible Gaussians in depth order.
        conics: (M, 3) in 1/px^2.
        radii_v: (M,) half extents in rows.
        two_sigma_max: Twice the exponent at which a kernel counts as zero.
        height: Rows of the image.
        width: Columns of the image.
        band_rows: Rows that one parallel task owns.
        counts: (H, W) int32, written.
    """
    bands = (height + band_rows - 1) // band_rows
    for band in prange(bands):
        first = band * band_rows
        last = min(first + band_rows, height)
        counts[first:last] = 0
        for m in range(means2d.shape[0]):
            mean_v = float(means2d[m, 1])
            reach = float(radii_v[m])
            if mean_v + reach < first or mean_v - reach > last:
                continue
            row0 = max(first, math.ceil(max(mean_v - reach, -1.0) - 0.5))
            row1 = min(last, math.floor(min(mean_v + reach, height + 1.0) - 0.5) + 1)
            for row in range(row0, row1):
                dy = row + 0.5 - mean_v
                start, stop = _columns(
                    dy, float(conics[m, 0]), float(conics[m, 1]), float(conics[m, 2]),
                    float(means2d[m, 0]), two_sigma_max, width,
                )  # fmt: skip
                for column in range(start, stop):
                    counts[row, column] += 1


@njit(parallel=True, cache=True, nogil=True)
def fill_entries(
    voxels: I32, means2d: F32, conics: F32, radii_v: F32, two_sigma_max: float, height: int, width: int,
    band_rows: int, offsets: I64, entry_voxel: I32, entry_kernel: F32,
) -> None:  # fmt: skip
    """Write what `count_entries` counted: voxel index and exp(-sigma) of every entry, front to back.

    voxels (M,) are the flat voxel indices of the Gaussians, offsets (H * W + 1,) say where the list of each pixel
    starts in entry_voxel (E,) and entry_kernel (E,), which are written; the rest is as in `count_entries`.
    """
    bands = (height + band_rows - 1) // band_rows
    for band in prange(bands):
        first = band * band_rows
        last = min(first + band_rows, height)
        cursor = np.empty((last - first, width), np.int64)
        for row in range(first, last):
            for column in range(width):
                cursor[row - first, column] = offsets[row * width + column]
        for m in range(means2d.shape[0]):
            mean_v = float(means2d[m, 1])
            reach = float(radii_v[m])
            if mean_v + reach < first or mean_v - reach > last:
                continue
            row0 = max(first, math.ceil(max(mean_v - reach, -1.0) - 0.5))
            row1 = min(last, math.floor(min(mean_v + reach, height + 1.0) - 0.5) + 1)
            mean_u = float(means2d[m, 0])
            conic_a, conic_b, conic_c = float(conics[m, 0]), float(conics[m, 1]), float(conics[m, 2])
            for row in range(row0, row1):
                dy = row + 0.5 - mean_v
                start, stop = _columns(dy, conic_a, conic_b, conic_c, mean_u, two_sigma_max, width)
                for column in range(start, stop):
                    dx = column + 0.5 - mean_u
                    sigma = 0.5 * (conic_a * dx * dx + conic_c * dy * dy) + conic_b * dx * dy
                    slot = cursor[row - first, column]
                    cursor[row - first, column] = slot + 1
                    entry_voxel[slot] = voxels[m]
                    entry_kernel[slot] = math.exp(-sigma)
