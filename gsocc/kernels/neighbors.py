"""Look around voxels for others, stopping at the first that is found."""

from numba import njit

from gsocc.kernels.arrays import I64, Flags


@njit(cache=True, nogil=True)
def keep_near(voxels: Flags, marked: Flags, offsets: I64) -> None:
    """Clear the voxels that have no marked one at any of the offsets.

    Args:
        voxels: (B, X, Y, Z), changed in place.
        marked: (B, X, Y, Z).
        offsets: (M, 3) in voxels; the sooner likely ones come, the faster.
    """
    batch, size_x, size_y, size_z = voxels.shape
    for b in range(batch):
        for i in range(size_x):
            for j in range(size_y):
                for k in range(size_z):
                    if not voxels[b, i, j, k]:
                        continue
                    found = False
                    for m in range(offsets.shape[0]):
                        x, y, z = i + offsets[m, 0], j + offsets[m, 1], k + offsets[m, 2]
                        if 0 <= x < size_x and 0 <= y < size_y and 0 <= z < size_z and marked[b, x, y, z]:
                            found = True
                            break
                    voxels[b, i, j, k] = found
