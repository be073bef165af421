"""Feature rows that kernels read, and the gradient buffers that their tasks write."""

from dataclasses import dataclass

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gsocc.kernels.arrays import LANES
from gsocc.kernels.buffers import pack, sum_buffers

MAX_BYTES = 1 << 30
"""What the buffers of one backward pass may hold; beyond it the pass runs with fewer tasks."""


_SPARE: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
"""Memory of the last pass, at most one, for the next: the system clears fresh pages, which costs more than the
gradients. Taking it out and putting it back are single operations, so threads may do it at once."""


def padded_channels(channels: int) -> int:
    """Return the multiple of `LANES` that holds the channels."""
    return -(-max(channels, 1) // LANES) * LANES


def empty(*shape: int, dtype: type = np.float32) -> Tensor:
    """Return uninitialised memory on the CPU; numpy asks the system for large pages, which are cheaper to touch."""
    return torch.from_numpy(np.empty(shape, dtype))


def pack_rows(features: Float[Tensor, "C N"], live: Bool[Tensor, " N"] | None = None) -> Float[Tensor, "N P"]:
    """Return features with the channels last, padded with zeros.

    Args:
        features: Float32 on the CPU.
        live: False where nobody will read the row, whose values are then undefined; default: everywhere True.
    """
    channels, count = features.shape
    rows = empty(count, padded_channels(channels))
    if live is None:
        live = torch.ones(count, dtype=torch.bool)
    pack(features.contiguous().numpy(), live.numpy(), rows.numpy())
    return rows


@dataclass(frozen=True)
class GradientBuffers:
    """One buffer per parallel task, so that tasks never race; `total` adds them up.

    Attributes:
        rows: (tasks, N, P), gradient to feature rows.
        scalars: (tasks, N), gradient to the scalar per element (opacity or density).
        touched: (tasks, N), where a task wrote.
    """

    rows: NDArray[np.float32]
    scalars: NDArray[np.float32]
    touched: NDArray[np.bool_]

    @classmethod
    def allocate(cls, count: int, padded: int, extra: int = 0) -> "GradientBuffers":
        """Return buffers for as many tasks as there are threads and as fit into `MAX_BYTES`.

        Kernels `touch` an element before they add to it; nothing else is ever zeroed.

        Args:
            count: Elements N.
            padded: Length P of a row.
            extra: Further float32 numbers that each task will hold.
        """
        tasks = max(1, min(numba.get_num_threads(), MAX_BYTES // max(1, (count * (padded + 1) + extra) * 4)))
        touched = np.zeros((tasks, count), np.bool_)
        try:
            rows, scalars = _SPARE.pop()
        except IndexError:
            pass
        else:
            if rows.shape == (tasks, count, padded):
                return cls(rows, scalars, touched)
        return cls(np.empty((tasks, count, padded), np.float32), np.empty((tasks, count), np.float32), touched)

    @classmethod
    def zeros(cls, count: int, padded: int) -> "GradientBuffers":
        """Return buffers that are zero everywhere, for kernels that do not `touch`."""
        buffers = cls.allocate(count, padded)
        buffers.rows[:] = 0.0
        buffers.scalars[:] = 0.0
        return buffers

    def total(self, channels: int) -> tuple[Float[Tensor, "C N"], Float[Tensor, " N"]]:
        """Return the gradients to features and scalars, summed over tasks; the buffers are used up by it."""
        count = self.scalars.shape[1]
        features, scalars = empty(channels, count), empty(count)
        sum_buffers(self.rows, self.scalars, self.touched, features.numpy(), scalars.numpy())
        if not _SPARE:
            _SPARE.append((self.rows, self.scalars))
        return features, scalars
