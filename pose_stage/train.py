"""Training of stage 1."""

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
from gsocc.networks.pose_depth_net import PoseDepthNet
from gsocc.structures import collate
from pose_stage.config import PoseRunConfig
from pose_stage.data import training_frames, validation_frames, with_flow
from pose_stage.objective import PoseObjective
from pose_stage.pictures import training_panels


def train(config: PoseRunConfig, folder: Path, policy: Policy = "new") -> FitResult:
    """Train a run into `folder`: configuration, logs, metrics and the checkpoints `last` and `best`.

    Images and calibration alone enter: no pose, no depth, no label. The last `objective.refine_steps` steps keep the
    pose network as it is and leave the cross-view term out.

    Args:
        config: The run.
        folder: Run directory.
        policy: What to do where `folder` holds a run: see `RunDirectory.create`.
    """
    may_change = () if config.objective.refine_steps else ("training.steps",)
    run = RunDirectory.create(folder, to_yaml(config), policy, may_change=may_change)
    seed_everything(config.training.seed)
    frames = training_frames(config)
    dataset = SkipBadSamples(with_flow(frames, config))
    loader = StepLoader(
        dataset,
        batch_size=config.training.batch_size,
        collate=collate,
        seed=config.training.seed,
        workers=config.training.workers,
    )
    objective = PoseObjective(config)
    _require_overlap(objective, frames)
    seed_everything(config.training.seed)  # the network's weights depend on the seed alone
    return fit(
        model=PoseDepthNet(config.model),
        objective=objective,
        train_loader=loader,
        config=config.training,
        run=run,
        validate=_validation_loss(config, objective),
        panels=lambda model, batch: training_panels(model, batch, frames.camera_names),
        batch_tokens=lambda batch: batch.tokens,
        health_check=dataset.check,
        resume=policy == "resume",
    )


def _require_overlap(objective: PoseObjective, frames: torch.utils.data.Dataset) -> None:
    """Refuse a rig that cannot give scale before the first step."""
    if objective.splat is not None or objective.bilinear is not None:
        batch = collate([frames[0]])
        height, width = batch.rig.image_size
        objective.overlaps(batch.rig.resized((height >> objective.level, width >> objective.level)), batch.valid_mask)


def _validation_loss(config: PoseRunConfig, objective: PoseObjective) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that averages the objective over validation frames, over all ranks."""
    dataset = with_flow(validation_frames(config), config)
    indices = evenly_spread(len(validation_frames(config)), config.evaluation.validation_samples)

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        means = ObjectiveMeans()
        for batch in batches_of_one(dataset, shard(indices), "validating"):
            with torch.no_grad():
                report = objective(model, batch.to(device))
            means.update({"total": report.total, **report.terms})
        return means.compute()

    return validate
