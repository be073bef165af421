"""The order in which kernels visit pixels, and with it how pixels are divided among threads."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TILE = 8
"""Edge in pixels of the blocks that are visited one after the other."""


@lru_cache(maxsize=16)
def pixel_order(image_size: tuple[int, int]) -> NDArray[np.int32]:
    """Return all pixels (row * W + column) block by block, blocks down the columns of the image.

    Pixels of a block see much the same voxels, whose rows then stay in the cache. Threads take equal runs of the
    order, that is, strips from top to bottom: each gets its share of sky and street, and its own part of the scene.

    Args:
        image_size: (H, W).
    """
    rows, columns = np.indices(image_size)
    keys = (columns % TILE, rows % TILE, rows // TILE, columns // TILE)  # the last key weighs most
    order = np.lexsort(tuple(key.ravel() for key in keys)).astype(np.int32)
    order.flags.writeable = False
    return order
