"""What a training run is told, and the learning rate that follows from it."""

import math
from typing import Annotated, Literal

from pydantic import Field

from gsocc.config import Config

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class TrainConfig(Config):
    """How long, how fast and how carefully to train.

    Attributes:
        steps: Optimiser steps of the whole run.
        batch_size: Samples per step and process.
        learning_rate: Of AdamW, at its highest.
        learning_rates: In its place for weights named like a key or below it, as "decoder"; the schedule is the same.
        weight_decay: Of AdamW, on matrices and kernels; biases and norms decay not.
        warmup_steps: Steps in which the rate grows linearly from nothing.
        schedule: What follows the warm-up: "cosine" down to zero, "constant", or "step", a fall to a tenth.
        step_fraction: Share of `steps` after which "step" falls.
        clip_norm: Largest norm of the gradient over all weights; None leaves it as it is.
        precision: Mixed precision runs on CUDA only.
        device: "auto" takes CUDA where there is one.
        seed: Of the weights' initialisation, the order of the data and everything drawn in a step.
        workers: Processes that load data; 0 loads in the training process.
        threads: CPU threads of torch in the training process; None leaves torch's choice.
        val_every_steps: Validate this often, and after the last step; 0 never validates.
        checkpoint_every_steps: Save `last` this often, and after the last step; 0 saves only then.
        log_every_steps: Write scalars this often.
        panel_every_steps: Draw panels this often, and after the last step; 0 never draws.
        best_metric: Name among the validation metrics whose best checkpoint is kept; None keeps only `last`.
        best_mode: Whether a higher ("max") or lower ("min") `best_metric` is better.
        unused_parameters: Over several processes: whether some weights may get no gradient in a step.
        sync_batch_norm: Over several GPUs: batch normalisation sees the samples of all of them.
    """

    steps: Positive
    batch_size: Positive = 1
    learning_rate: float = Field(default=1e-4, gt=0)
    learning_rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: Count = 0
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    step_fraction: float = Field(default=0.75, gt=0, le=1)
    clip_norm: float | None = Field(default=35.0, gt=0)
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Count = 0
    workers: Count = 2
    threads: Positive | None = None
    val_every_steps: Count = 500
    checkpoint_every_steps: Count = 500
    log_every_steps: Positive = 20
    panel_every_steps: Count = 500
    best_metric: str | None = None
    best_mode: Literal["max", "min"] = "max"
    unused_parameters: bool = False
    sync_batch_norm: bool = False


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate of step `step`, counted from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "step":
        return config.learning_rate * (0.1 if step >= config.step_fraction * config.steps else 1.0)
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
