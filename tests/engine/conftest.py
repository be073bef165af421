"""A small training with every hook that `fit` offers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_training import Points, collate, objective, small_config, small_model
from torch import nn

from gsocc.engine import FitResult, RunDirectory, StepLoader, fit


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., tuple[nn.Module, FitResult, RunDirectory]]:
    """Return a function that trains the small model in a run directory of the given name."""

    def run_fit(name: str = "run", **options: Any) -> tuple[nn.Module, FitResult, RunDirectory]:
        config = options.pop("config", None) or small_config()
        policy = options.pop("policy", "resume" if options.get("resume") else "new")
        run = RunDirectory.create(tmp_path / name, f"seed: {config.seed}\n", policy)
        model = options.pop("model", None) or small_model()
        loader = options.pop("train_loader", None) or StepLoader(
            Points(), batch_size=config.batch_size, collate=collate, seed=config.seed, workers=config.workers
        )
        defaults = {"objective": objective, "batch_tokens": lambda batch: batch["tokens"]}
        result = fit(model=model, train_loader=loader, config=config, run=run, **{**defaults, **options})
        return model, result, run

    return run_fit
