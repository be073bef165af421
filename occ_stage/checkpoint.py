"""From a run directory to a predictor."""

from collections.abc import Sequence
from pathlib import Path

import torch

from gsocc.config import load_config
from gsocc.engine import default_device, find_checkpoint, load_checkpoint, load_into
from gsocc.errors import CheckpointError
from occ_stage.config import OccConfig
from occ_stage.model import build_model
from occ_stage.predictor import Predictor


def find_run_checkpoint(path: Path) -> Path:
    """Return the checkpoint folder of a stage-2 run (`best`, else `last`), or `path` itself.

    Raises:
        CheckpointError: Where there is nothing at `path`.
    """
    return find_checkpoint(path, "gsocc train occ")


def run_config(path: Path, overrides: Sequence[str] = ()) -> OccConfig:
    """Return the configuration that a run was trained with.

    Args:
        path: A run directory or a checkpoint folder.
        overrides: Changes to it.

    Raises:
        CheckpointError: Where there is no checkpoint, or it lacks its configuration.
    """
    file = find_run_checkpoint(path) / "config.yaml"
    if not file.is_file():
        raise CheckpointError(f"{file}: missing; a checkpoint is weights and configuration together")
    return load_config(file, OccConfig, overrides)


def load_predictor(path: Path, overrides: Sequence[str] = (), device: torch.device | None = None) -> Predictor:
    """Load a run's network together with the configuration that it was trained with.

    Args:
        path: A run directory or a checkpoint folder.
        overrides: Changes to the configuration, for example another `data.root` or another renderer.
        device: By default CUDA where there is one.

    Raises:
        CheckpointError: Where there is no checkpoint, or it does not fit the configuration.
    """
    config = run_config(path, overrides)
    checkpoint = load_checkpoint(find_run_checkpoint(path))
    # The checkpoint brings all weights: those that training started from may be anywhere.
    blank = config.model.model_copy(update={"backbone_weights": None})
    model = build_model(config.model_copy(update={"model": blank}))
    load_into(model, checkpoint)
    return Predictor(model, config, device or default_device())
