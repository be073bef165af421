"""Training that knows neither cameras nor voxels: steps, checkpoints, run directories, logs, seeds."""

from gsocc.engine.checkpoints import Checkpoint, find_checkpoint, load_checkpoint, load_into, save_checkpoint
from gsocc.engine.config import TrainConfig
from gsocc.engine.loader import StepLoader
from gsocc.engine.processes import (
    default_device,
    is_main_process,
    process_group,
    process_rank,
    shard,
    world_size,
)
from gsocc.engine.run_directory import RunDirectory
from gsocc.engine.seeding import seed_everything
from gsocc.engine.training import FitResult, fit
from gsocc.engine.watch import LossReport, TrainingDiverged

__all__ = [
    "Checkpoint",
    "FitResult",
    "LossReport",
    "RunDirectory",
    "StepLoader",
    "TrainConfig",
    "TrainingDiverged",
    "default_device",
    "find_checkpoint",
    "fit",
    "is_main_process",
    "load_checkpoint",
    "load_into",
    "process_group",
    "process_rank",
    "save_checkpoint",
    "seed_everything",
    "shard",
    "world_size",
]
