"""A regression small enough to train in milliseconds."""

from typing import Any

import torch
from torch import Tensor, nn

from gsocc.engine import LossReport, TrainConfig, seed_everything


class Points:
    """Twelve points of a noisy line; the noise is drawn anew in every epoch."""

    def __init__(self) -> None:
        self.epoch = -1

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[str, Tensor]:
        return f"point{index}", torch.tensor([index / 6 - 1.0, index / 3 + 0.01 * float(torch.randn(()))])

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def collate(samples: list[tuple[str, Tensor]]) -> dict[str, Any]:
    """Stack points."""
    return {"tokens": [name for name, _ in samples], "xy": torch.stack([xy for _, xy in samples])}


def objective(model: nn.Module, batch: dict[str, Any]) -> LossReport:
    """Mean squared error, with a term that draws from the global generator as dropout would."""
    x, y = batch["xy"].unbind(-1)
    error = (model(x[:, None])[:, 0] - y).square().mean()
    noise = 1e-3 * torch.randn(()) * model(x[:, None]).mean()
    return LossReport(error + noise, {"error": error, "noise": noise})


def small_model() -> nn.Module:
    """A net with a norm, so that buffers count too."""
    seed_everything(7)
    return nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def small_config(**changes: Any) -> TrainConfig:
    """Ten steps on the CPU."""
    values = {"steps": 10, "batch_size": 4, "learning_rate": 0.01, "workers": 0, "device": "cpu", "warmup_steps": 2}
    return TrainConfig(**{**values, "log_every_steps": 2, "checkpoint_every_steps": 5, **changes})
