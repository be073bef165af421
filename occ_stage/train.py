"""Training of stage 2."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from gsocc.config import to_yaml
from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.datasets.skipping import SkipBadSamples
from gsocc.engine import FitResult, RunDirectory, StepLoader, fit, seed_everything, shard
from gsocc.engine.run_directory import Policy
from gsocc.metrics.objective import ObjectiveMeans
from gsocc.structures import collate
from occ_stage.config import OccConfig
from occ_stage.data import (
    training_class_weights,
    training_dataset,
    validation_dataset,
)
from occ_stage.model import build_model
from occ_stage.motion import open_motion, with_identity
from occ_stage.objective import OccObjective, build_objective
from occ_stage.pictures import training_panels


def train(config: OccConfig, folder: Path, policy: Policy = "new") -> FitResult:
    """Train a run into `folder`: configuration, logs, metrics and the checkpoints `last` and `best`.

    No 3-D label and no LiDAR enters: the best checkpoint is picked by the objective on validation images
    (`training.best_metric: objective/validation:total`).

    Args:
        config: The run.
        folder: Run directory.
        policy: What to do where `folder` holds a run: see `RunDirectory.create`.
    """
    motion = open_motion(config)
    config = with_identity(config, motion)
    run = RunDirectory.create(folder, to_yaml(config), policy, may_change=("training.steps",))
    seed_everything(config.training.seed)
    frames = training_dataset(config, motion)
    dataset, cameras = SkipBadSamples(frames), frames.camera_names
    loader = StepLoader(
        dataset,
        batch_size=config.training.batch_size,
        collate=collate,
        seed=config.training.seed,
        workers=config.training.workers,
    )
    objective = build_objective(config, training_class_weights(config), motion)
    seed_everything(config.training.seed)  # the network's weights depend on the seed alone
    return fit(
        model=build_model(config),
        objective=objective,
        train_loader=loader,
        config=config.training,
        run=run,
        validate=_validation_loss(config, objective),
        panels=lambda model, batch: training_panels(model, batch, objective, cameras),
        batch_tokens=lambda batch: batch.tokens,
        health_check=dataset.check,
        resume=policy == "resume",
    )


def _validation_loss(config: OccConfig, objective: OccObjective) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that averages the objective over validation frames, over all ranks."""
    dataset = validation_dataset(config)
    indices = evenly_spread(len(dataset), config.evaluation.validation_samples)
    if objective.motion is not None:
        tokens = dataset.tokens
        objective.motion.require([tokens[number] for number in indices])

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        means = ObjectiveMeans()
        for batch in batches_of_one(dataset, shard(indices), "validating"):
            with torch.no_grad():
                report = objective(model, batch.to(device))
            means.update({"total": report.total, **report.terms})
        return means.compute()

    return validate
