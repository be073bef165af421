"""Less memory for more time: activations that are computed again in the backward pass instead of being kept."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, *inputs: Any) -> Any:
    """Return ``module(*inputs)``, keeping nothing but the inputs for the backward pass.

    The second pass leaves running averages of batch normalisation alone, so that gradients and averages are those of an
    ordinary call. Without gradients it is one.
    """
    if not torch.is_grad_enabled():
        return module(*inputs)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _averages_kept(module)

    return checkpoint(module, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _averages_kept(module: nn.Module) -> Iterator[None]:
    norms = [part for part in module.modules() if isinstance(part, _NormBase) and part.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted
