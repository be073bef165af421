"""The data sets of a stage-2 run."""

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor

from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.split import keep_moving, open_split
from gsocc.errors import UserError
from gsocc.labels import FREE, NUM_OCC3D_LABELS
from gsocc.losses.semantic import class_weights_from_counts
from occ_stage.config import OccConfig
from occ_stage.model import class_ids
from occ_stage.motion import MotionSource, keep_predicted_moving

_FRAMES_COUNTED = 64  # enough for class frequencies: six images each


def open_dataset(
    config: OccConfig,
    which: Literal["train", "val"],
    *,
    parts: Collection[str] = (),
    frame_ids: tuple[int, ...] = (0, -1, 1),
    augment: bool = False,
) -> NuScenesDataset:
    """Open a split at the run's sizes; `parts` are the optional parts that samples carry."""
    return open_split(
        config.data,
        which,
        parts=parts,
        frame_ids=frame_ids,
        depth_size=config.evaluation.depth_size,
        semantic_size=config.renderer.size,
        augment=augment,
        seed=config.training.seed,
        label_pixel="top_left" if config.on("top_left_labels") else "center",
        unlabelled="sky" if config.on("unlabelled_as_sky") else "ignore",
        jitter_per="image" if config.on("jitter_per_image") else "sample",
    )


def training_dataset(config: OccConfig, motion: MotionSource | None = None) -> NuScenesDataset:
    """Open what training reads: neighbours, and 2-D labels where a loss needs them. Never 3-D labels or LiDAR.

    Args:
        config: The run.
        motion: Also decides which frames move; the data set's own poses then take no part.

    Raises:
        UserError: Where no key frame moves as far as `data.min_travel_m` asks for, or the data have no poses.
    """
    parts = {"semantics"} if config.objective.semantic or config.objective.mask_sky else set()
    dataset = open_dataset(config, "train", parts=parts, frame_ids=_times(config), augment=True)
    if motion is None and "poses" in dataset.index.source.skipped:
        raise UserError(
            f"pose.source: ground_truth, but {config.data.root} has no ego poses; train stage 1 on it, then set "
            "pose.source: stage1 and pose.checkpoint, or name ego_poses in rig.yaml"
        )
    if motion is None:
        return keep_moving(dataset, config.data)
    motion.require(dataset.tokens)
    return keep_predicted_moving(dataset, motion, config.data.min_travel_m)


def validation_dataset(config: OccConfig) -> NuScenesDataset:
    """Open the validation split with the parts that the training objective needs."""
    parts = {"semantics"} if config.objective.semantic or config.objective.mask_sky else set()
    return open_dataset(config, "val", parts=parts, frame_ids=_times(config))


def _times(config: OccConfig) -> tuple[int, ...]:
    """Return the times that the objective compares: views of the neighbouring times have neighbours of their own."""
    return (0, -1, 1, -2, 2) if config.objective.auxiliary_views else (0, -1, 1)


def training_class_weights(config: OccConfig) -> Tensor | None:
    """Return loss weights per class channel and sky, (K + 1,), from label frequencies given or in training images."""
    power, given = config.objective.class_weight_power, config.objective.class_frequencies
    if not config.objective.semantic or power == 0:
        return None
    channels = [*class_ids(config.model), FREE]
    if given is not None:
        return class_weights_from_counts(torch.tensor(given)[channels], power)
    dataset = open_dataset(config, "train", parts={"semantics"}, frame_ids=(0,))
    counts = torch.zeros(NUM_OCC3D_LABELS)
    indices = evenly_spread(len(dataset), _FRAMES_COUNTED)
    for batch in batches_of_one(dataset, indices, "counting labels"):
        assert batch.semantic_labels is not None
        labels = batch.semantic_labels.flatten()
        counts += torch.bincount(labels[labels >= 0], minlength=NUM_OCC3D_LABELS)
    return class_weights_from_counts(counts[channels], power)
