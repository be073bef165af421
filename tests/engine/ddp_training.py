"""A training that torchrun can start: `ddp_training.py FOLDER BATCH_SIZE STEPS`."""

import sys
from pathlib import Path
from typing import Any

from small_training import Points, collate, objective, small_config, small_model
from torch import nn

from gsocc.engine import LossReport, RunDirectory, StepLoader, fit


def quiet(model: nn.Module, batch: dict[str, Any]) -> LossReport:
    """Leave out the term that draws: every process draws its own."""
    error = objective(model, batch).terms["error"]
    return LossReport(error, {"error": error})


def train(folder: Path, batch_size: int, steps: int) -> None:
    """Train, or go on with, the small model without its norm, whose statistics are those of one process."""
    plain = small_model()
    fit(
        model=nn.Sequential(plain[0], plain[2], plain[3]),
        objective=quiet,
        train_loader=StepLoader(Points(), batch_size=batch_size, collate=collate),
        config=small_config(steps=steps, batch_size=batch_size, schedule="constant", clip_norm=0.5),
        run=RunDirectory.create(folder, "name: ddp\n", "resume"),
        batch_tokens=lambda batch: batch["tokens"],
        validate=lambda model: {"score": 1.0},
        resume=True,
    )


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
