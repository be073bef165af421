"""Random numbers that depend on where a run is, not on how it got there."""

import random

import numpy as np
import torch


def seed_everything(*numbers: int) -> int:
    """Seed torch (every device), NumPy and Python from a few numbers, for example (seed, process, step).

    The training loop does this before every step: what a step draws then depends neither on validation or pictures in
    between nor on whether the run was resumed, so no generator state needs saving.

    Returns:
        The 64-bit seed that torch got.
    """
    words = np.random.SeedSequence([int(n) for n in numbers]).generate_state(2)
    seed = int(words[0]) << 32 | int(words[1])
    torch.manual_seed(seed)
    np.random.seed(int(words[0]))  # noqa: NPY002  (other people's code draws from the global generator)
    random.seed(seed)
    return seed
