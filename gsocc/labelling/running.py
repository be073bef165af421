"""Where networks run, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gsocc.errors import ConfigError
from gsocc.labelling.config import LabelConfig

_DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Runner:
    """Device and precision of inference.

    Attributes:
        device: Where networks and images go.
        dtype: What mixed precision computes in; None computes in float32.
    """

    device: torch.device
    dtype: torch.dtype | None = None

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Run a block without gradients, in mixed precision where asked for."""
        mixed = torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)
        with torch.inference_mode(), mixed:
            yield


def choose_runner(config: LabelConfig, local_rank: int = 0) -> Runner:
    """Return where a configuration runs.

    Args:
        config: Says device and precision.
        local_rank: Number of this process on its machine: it takes the GPU of that number, modulo those there are.

    Raises:
        ConfigError: Where CUDA is asked for and missing, or mixed precision on the CPU.
    """
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ConfigError(
            "device: expected cpu or auto, got 'cuda', but torch finds no CUDA device; see gsocc doctor env"
        )
    if not available or config.device == "cpu":
        if config.precision != "32-true":
            raise ConfigError(
                f"precision: expected 32-true on the CPU, got {config.precision!r}; mixed precision needs CUDA"
            )
        return Runner(torch.device("cpu"))
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    return Runner(device, _DTYPES.get(config.precision))
