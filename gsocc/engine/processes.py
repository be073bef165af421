"""Processes and devices: the one place that knows of torchrun and of Lightning Fabric."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gsocc.engine.config import TrainConfig
from gsocc.errors import ConfigError


def process_rank() -> int:
    """Return the number of this process among those that torchrun started; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return how many processes torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return the number of this process among those on its machine; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main_process() -> bool:
    """Return whether this process writes files and talks to the terminal."""
    return process_rank() == 0


def shard(indices: list[int]) -> list[int]:
    """Return this rank's part; nothing is repeated to make parts equal, so pooled scores do not depend on ranks."""
    return indices[process_rank() :: world_size()]


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started for the length of a block; nothing to do for a single one.

    For evaluation, which needs sums over ranks but no training: metrics find the group by themselves.
    """
    if world_size() == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def choose_device(config: TrainConfig) -> str:
    """Return "cuda" or "cpu", and check that the precision fits.

    Raises:
        ConfigError: Where CUDA is asked for and missing, or mixed precision on the CPU.
    """
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ConfigError(
            "training.device: expected cpu or auto, got 'cuda', but torch finds no CUDA device; see gsocc doctor env"
        )
    device = "cuda" if available and config.device != "cpu" else "cpu"
    if device == "cpu" and config.precision != "32-true":
        raise ConfigError(
            f"training.precision: expected 32-true on the CPU, got {config.precision!r}; mixed precision needs CUDA"
        )
    return device


def default_device() -> torch.device:
    """Return CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Processes:
    """One training process, or as many as torchrun started, joined by DDP; a thin cover of Lightning Fabric.

    Fabric is imported here and when first needed: it takes seconds, and who only reads a checkpoint need not wait.
    """

    def __init__(self, config: TrainConfig) -> None:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies import DDPStrategy

        device, size = choose_device(config), world_size()
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if size > 1 else 1
        strategy: Any = DDPStrategy(find_unused_parameters=config.unused_parameters) if size > 1 else "auto"
        self._fabric: Any = Fabric(
            accelerator=device, devices=local, num_nodes=size // local, strategy=strategy, precision=config.precision
        )
        self._fabric.launch()
        if size > 1:
            atexit.register(_leave_group)
        self.device: torch.device = self._fabric.device
        self.count: int = self._fabric.world_size
        self.is_main: bool = self._fabric.is_global_zero

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """Move a model to the device and wrap it for DDP and precision; the optimiser likewise."""
        return self._fabric.setup(model, optimizer)

    def to_device(self, batch: Any) -> Any:
        """Move a batch: tensors, containers of them, anything that has `to`."""
        return self._fabric.to_device(batch)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, scaled where the precision asks for it, averaged over processes."""
        self._fabric.backward(loss)

    def clip_gradients(self, model: nn.Module, optimizer: Any, max_norm: float) -> Tensor:
        """Clip the gradient of all weights together and return its norm before."""
        return self._fabric.clip_gradients(model, optimizer, max_norm=max_norm, error_if_nonfinite=False)

    def precision_state(self) -> dict[str, Any]:
        """Return the gradient scaler's state; empty where there is none."""
        return self._fabric.strategy.precision.state_dict()

    def load_precision_state(self, state: dict[str, Any]) -> None:
        """Set what `precision_state` returned."""
        self._fabric.strategy.precision.load_state_dict(state)

    def barrier(self) -> None:
        """Wait for all processes."""
        self._fabric.barrier()

    def any(self, value: bool) -> bool:
        """Return whether `value` holds in any process; all of them have to ask."""
        if self.count == 1:
            return value
        flag = torch.tensor(float(value), device=self.device)
        return float(self._fabric.all_reduce(flag, reduce_op="sum")) > 0


def _leave_group() -> None:
    # Fabric does so for NCCL only. Where a gloo group is still there when the interpreter goes, its threads at times
    # abort the process ("terminate called without an active exception"), and torchrun reports a failed run.
    if dist.is_initialized():
        dist.destroy_process_group()
