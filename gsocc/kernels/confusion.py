"""Count pairs of labels under a mask in one pass, without copies of what the mask selects."""

import numpy as np
from numba import njit

from gsocc.kernels.arrays import I64, U8

LABELS = 18
"""Labels 0..17 have a row and a column each; whatever is above shares the last one."""

_WAYS = 4  # neighbours mostly hold the same pair: adding to one counter twice in a row would wait for the first sum


@njit(cache=True, nogil=True)
def count_pairs(predicted: U8, truth: U8, mask: U8, counts: I64) -> None:
    """Add up pairs of labels where the mask is not 0.

    Args:
        predicted: (N,) labels.
        truth: (N,) labels.
        mask: (N,) what is counted.
        counts: (19, 19) by truth and prediction, added to; labels above 17 fall in row or column 18.
    """
    table = np.zeros((_WAYS, 32 * 32), np.int64)
    for n in range(predicted.size):
        if mask[n]:
            pair = (np.int64(min(truth[n], LABELS)) << 5) | np.int64(min(predicted[n], LABELS))
            table[n % _WAYS, pair] += 1
    for way in range(_WAYS):
        for true in range(LABELS + 1):
            for label in range(LABELS + 1):
                counts[true, label] += table[way, true * 32 + label]
