"""Build the lists of voxels that each block of pixels can see, front to back (see `gsocc.renderers.voxel_lists`).

Both kernels walk over Gaussians in depth order and over rows of blocks in parallel. A row of blocks owns its pixels, so
nothing races, and lists come out sorted by depth without a sort.
"""

import math

import numpy as np
from numba import njit, prange

from gsocc.kernels.arrays import F32, I32, I64, U8

BLOCK = 16
"""Edge of a block in pixels: its light and sums stay in the first-level cache, and a pixel's place in it is a byte."""


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


@njit(cache=True, nogil=True, inline="always")
def _spans(
    m: int, means2d: F32, conics: F32, radii_v: F32, two_sigma_max: float, low: int, high: int, width: int, spans: I64
) -> tuple[int, int]:
    """Write the columns [start, stop) that Gaussian m covers on each row in [low, high); return those of all rows."""
    mean_v, reach = float(means2d[m, 1]), float(radii_v[m])
    first, last = width, 0
    if mean_v + reach < low or mean_v - reach > high:
        return first, last
    for row in range(low, high):
        start, stop = _columns(
            row + 0.5 - mean_v, float(conics[m, 0]), float(conics[m, 1]), float(conics[m, 2]),
            float(means2d[m, 0]), two_sigma_max, width,
        )  # fmt: skip
        spans[row - low, 0], spans[row - low, 1] = start, stop
        if start < stop:
            first, last = min(first, start), max(last, stop)
    return first, last


@njit(cache=True, nogil=True)
def _sort(
    sigmas: F32, pixels: U8, count: int, two_sigma_max: float, buckets: I64, entry_kernel: F32, entry_pixel: U8, at: int
) -> None:
    """Write the entries of a pair, exp(-sigma) and pixel, to [at, at + count), the strongest first.

    Entries are dealt into buckets of sigma first, over which the pixels of an ellipse spread evenly; what is left to do
    within a bucket is little, where sorting 256 entries by insertion alone would be most of the build.

    buckets (BLOCK * BLOCK + 1,) is scratch memory.
    """
    scale = 2.0 * count / (two_sigma_max + 1e-3)
    buckets[: count + 1] = 0
    for index in range(count):
        buckets[min(int(sigmas[index] * scale), count - 1) + 1] += 1
    for bucket in range(count):
        buckets[bucket + 1] += buckets[bucket]
    for index in range(count):
        bucket = min(int(sigmas[index] * scale), count - 1)
        place = at + buckets[bucket]
        buckets[bucket] += 1
        entry_kernel[place], entry_pixel[place] = math.exp(-sigmas[index]), pixels[index]
    for index in range(at + 1, at + count):
        kernel, pixel, place = entry_kernel[index], entry_pixel[index], index
        while place > at and entry_kernel[place - 1] < kernel:
            entry_kernel[place], entry_pixel[place] = entry_kernel[place - 1], entry_pixel[place - 1]
            place -= 1
        entry_kernel[place], entry_pixel[place] = kernel, pixel


@njit(parallel=True, cache=True, nogil=True)
def count_entries(
    means2d: F32, conics: F32, radii_v: F32, two_sigma_max: float, height: int, width: int, pairs: I64, entries: I64
) -> None:
    """Count for every block of one view its Gaussians, and its (Gaussian, pixel) entries with 2 sigma in reach.

    Args:
        means2d: (M, 2) px, visible Gaussians in depth order.
        conics: (M, 3) in 1/px^2.
        radii_v: (M,) half extents in rows.
        two_sigma_max: Twice the exponent at which a kernel counts as zero.
        height: Rows of the image.
        width: Columns of the image.
        pairs: (rows, columns) of blocks, written.
        entries: (rows, columns) of blocks, written.
    """
    for block_row in prange(pairs.shape[0]):
        pairs[block_row] = 0
        entries[block_row] = 0
        low, high = block_row * BLOCK, min((block_row + 1) * BLOCK, height)
        spans = np.empty((BLOCK, 2), np.int64)
        for m in range(means2d.shape[0]):
            first, last = _spans(m, means2d, conics, radii_v, two_sigma_max, low, high, width, spans)
            if first >= last:
                continue
            for block in range(first // BLOCK, (last - 1) // BLOCK + 1):
                count = 0
                for row in range(high - low):
                    start, stop = max(spans[row, 0], block * BLOCK), min(spans[row, 1], (block + 1) * BLOCK)
                    count += max(0, stop - start)
                if count > 0:
                    pairs[block_row, block] += 1
                    entries[block_row, block] += count


@njit(parallel=True, cache=True, nogil=True)
def fill_entries(
    voxels: I32, means2d: F32, conics: F32, depths: F32, radii_v: F32, two_sigma_max: float, height: int, width: int,
    block_pairs: I64, block_entries: I64, pair_voxel: I32, pair_depth: F32, pair_peak: F32, pair_end: I32,
    entry_kernel: F32, entry_pixel: U8,
) -> None:  # fmt: skip
    """Write what `count_entries` counted.

    voxels (M,) are the flat voxel indices of the Gaussians and depths (M,) their depths; block_pairs and block_entries
    (rows, columns) say where the pairs and entries of each block start in the arrays that are written: pair_voxel,
    pair_depth, pair_peak, the strongest kernel, and pair_end, the block's entries up to the end of the pair (pairs,);
    entry_kernel and entry_pixel (entries,), exp(-sigma), falling within a pair, and the pixel's place in the block.
    The rest is as in `count_entries`.
    """
    for block_row in prange(block_pairs.shape[0]):
        low, high = block_row * BLOCK, min((block_row + 1) * BLOCK, height)
        sigmas, pixels = np.empty(BLOCK * BLOCK, np.float32), np.empty(BLOCK * BLOCK, np.uint8)
        buckets = np.empty(BLOCK * BLOCK + 1, np.int64)
        spans = np.empty((BLOCK, 2), np.int64)
        pair_cursor, entry_cursor = block_pairs[block_row].copy(), block_entries[block_row].copy()
        for m in range(means2d.shape[0]):
            first, last = _spans(m, means2d, conics, radii_v, two_sigma_max, low, high, width, spans)
            if first >= last:
                continue
            mean_u, mean_v = float(means2d[m, 0]), float(means2d[m, 1])
            a, b, c = float(conics[m, 0]), float(conics[m, 1]), float(conics[m, 2])
            for block in range(first // BLOCK, (last - 1) // BLOCK + 1):
                count = 0
                for row in range(high - low):
                    dy = low + row + 0.5 - mean_v
                    start, stop = max(spans[row, 0], block * BLOCK), min(spans[row, 1], (block + 1) * BLOCK)
                    for column in range(start, stop):
                        dx = column + 0.5 - mean_u
                        sigmas[count] = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                        pixels[count] = row * BLOCK + column - block * BLOCK
                        count += 1
                if count > 0:
                    begin = entry_cursor[block]
                    _sort(sigmas, pixels, count, two_sigma_max, buckets, entry_kernel, entry_pixel, begin)
                    pair = pair_cursor[block]
                    pair_voxel[pair], pair_depth[pair] = voxels[m], depths[m]
                    pair_peak[pair] = entry_kernel[begin]
                    pair_end[pair] = begin + count - block_entries[block_row, block]
                    pair_cursor[block] = pair + 1
                    entry_cursor[block] = begin + count
