"""What kernels share: names of array types for their signatures, which numba ignores, and the row padding."""

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Scalar = float | np.float32

LANES = 8
"""Feature rows hold a multiple of this many channels: inner loops of a fixed length vectorise."""
