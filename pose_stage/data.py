"""The data sets of a stage-1 run."""

from collections.abc import Collection

from torch.utils.data import Dataset

from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.optical_flow import WithFlow
from gsocc.datasets.split import keep_moving, open_split
from gsocc.structures import SurroundSample
from pose_stage.config import PoseRunConfig


def training_frames(config: PoseRunConfig) -> NuScenesDataset:
    """Open the training split: images and calibration.

    Raises:
        UserError: Where no key frame moves as far as `data.min_travel_m` asks for.
    """
    dataset = open_split(config.data, "train", augment=True, seed=config.training.seed)
    return keep_moving(dataset, config.data)


def validation_frames(config: PoseRunConfig, parts: Collection[str] = ()) -> NuScenesDataset:
    """Open the validation split; `parts` are those that only an evaluation reads."""
    return open_split(config.data, "val", parts=parts, depth_size=config.evaluation.depth_size)


def with_flow(dataset: Dataset[SurroundSample], config: PoseRunConfig) -> Dataset[SurroundSample]:
    """Add optical flow where the run needs it."""
    return WithFlow(dataset, config.data.flow_cache) if config.needs_flow else dataset
