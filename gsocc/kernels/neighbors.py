"""Match occupied voxels of two volumes that lie near each other, without a dilated copy of either."""

from numba import njit

from gsocc.kernels.arrays import I64, U8


@njit(cache=True, nogil=True)
def _any_near(volume: U8, mask: U8, free: int, first: int, i: int, j: int, k: int, offsets: I64) -> bool:
    """Return whether a counted voxel at one of the offsets is occupied; the search ends at the first."""
    size_x, size_y, size_z = volume.shape
    for m in range(offsets.shape[0]):
        x, y, z = i + offsets[m, 0], j + offsets[m, 1], k + offsets[m, 2]
        if 0 <= x < size_x and 0 <= y < size_y and first <= z < size_z and mask[x, y, z] and volume[x, y, z] < free:
            return True
    return False


@njit(cache=True, nogil=True)
def count_matches(
    predicted: U8, truth: U8, mask: U8, columns: U8, free: int, first: int, offsets: I64, counts: I64
) -> None:
    """Count occupied voxels, and those with an occupied one of the other volume near.

    Args:
        predicted: (X, Y, Z) labels; those below `free` are occupied.
        truth: (X, Y, Z) labels.
        mask: (X, Y, Z), 0 where a voxel neither counts nor matches.
        columns: (X, Y), 0 where voxels match but do not count.
        free: The label of empty space, above all classes.
        first: The lowest layer that counts or matches.
        offsets: (M, 3) in voxels; the sooner likely ones come, the faster.
        counts: (4,), added to: predicted, predicted with a true one near, true, true with a predicted one near.
    """
    size_x, size_y, size_z = predicted.shape
    for i in range(size_x):
        for j in range(size_y):
            if not columns[i, j]:
                continue
            for k in range(first, size_z):
                if not mask[i, j, k]:
                    continue
                if predicted[i, j, k] < free:
                    counts[0] += 1
                    counts[1] += _any_near(truth, mask, free, first, i, j, k, offsets)
                if truth[i, j, k] < free:
                    counts[2] += 1
                    counts[3] += _any_near(predicted, mask, free, first, i, j, k, offsets)
