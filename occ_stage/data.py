"""The data sets of a stage-2 run."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gsocc.datasets.index import read_token_list
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.engine import process_rank, world_size
from gsocc.errors import UserError
from gsocc.labels import FREE, NUM_OCC3D_LABELS
from gsocc.losses.semantic import class_weights_from_counts
from gsocc.progress import track
from gsocc.structures import SurroundBatch, SurroundSample, collate
from occ_stage.config import OccConfig
from occ_stage.model import class_ids

_FRAMES_COUNTED = 64  # enough for class frequencies: six images each


def open_dataset(
    config: OccConfig,
    split: str,
    tokens: Path | None,
    *,
    parts: Collection[str] = (),
    frame_ids: tuple[int, ...] = (0, -1, 1),
    color_jitter: float = 0.0,
) -> NuScenesDataset:
    """Open a split at the run's sizes; `parts` are the optional parts that samples carry."""
    data = config.data
    wanted = set(parts) | ({"self_mask"} if data.self_mask else set())
    return NuScenesDataset(
        root=data.root,
        version=data.version,
        index=data.index,
        split=split,
        tokens=read_token_list(tokens) if tokens else None,
        image_size=data.image_size,
        frame_ids=frame_ids,
        neighbours=data.neighbours,
        parts=wanted,
        depth_size=config.evaluation.depth_size,
        semantic_size=config.renderer.size,
        color_jitter=color_jitter,
        seed=config.training.seed,
    )


def training_dataset(config: OccConfig) -> NuScenesDataset:
    """Open what training reads: neighbours, and 2-D labels where a loss needs them. Never 3-D labels or LiDAR.

    Raises:
        UserError: Where no key frame moves as far as `data.min_travel_m` asks for.
    """
    parts = {"semantics"} if config.objective.semantic or config.objective.mask_sky else set()
    dataset = open_dataset(
        config,
        config.data.train_split,
        config.data.train_tokens,
        parts=parts,
        color_jitter=config.data.color_jitter,
    )
    if config.data.min_travel_m > 0:
        moving = [n for n in range(len(dataset)) if dataset.travel_m(n) >= config.data.min_travel_m]
        if not moving:
            raise UserError(
                f"data.min_travel_m: no key frame of split {config.data.train_split} moves "
                f"{config.data.min_travel_m} m to its neighbours; choose a smaller value or other tokens"
            )
        dataset.keep(moving)
    return dataset


def validation_dataset(config: OccConfig) -> NuScenesDataset:
    """Open the validation split with the parts that the training objective needs."""
    parts = {"semantics"} if config.objective.semantic or config.objective.mask_sky else set()
    return open_dataset(config, config.data.val_split, config.data.val_tokens, parts=parts)


def evenly_spread(count: int, limit: int | None) -> list[int]:
    """Return at most `limit` indices of `count`, evenly spread, each once."""
    if limit is None or limit >= count:
        return list(range(count))
    return [int(i) for i in (np.arange(limit) + 0.5) * count / limit]


def shard(indices: list[int]) -> list[int]:
    """Return this rank's part; nothing is repeated to make parts equal, so pooled scores do not depend on ranks."""
    return indices[process_rank() :: world_size()]


def batches_of_one(dataset: Dataset[SurroundSample], indices: list[int], label: str) -> Iterator[SurroundBatch]:
    """Yield the chosen samples as batches of one, with a progress bar."""
    for index in track(indices, len(indices), label):
        yield collate([dataset[index]])


def training_class_weights(config: OccConfig) -> Tensor | None:
    """Return loss weights per class channel and sky, (K + 1,), from label frequencies in training images."""
    power = config.objective.class_weight_power
    if not config.objective.semantic or power == 0:
        return None
    dataset = open_dataset(
        config, config.data.train_split, config.data.train_tokens, parts={"semantics"}, frame_ids=(0,)
    )
    counts = torch.zeros(NUM_OCC3D_LABELS)
    indices = evenly_spread(len(dataset), _FRAMES_COUNTED)
    for batch in batches_of_one(dataset, indices, "counting labels"):
        assert batch.semantic_labels is not None
        labels = batch.semantic_labels.flatten()
        counts += torch.bincount(labels[labels >= 0], minlength=NUM_OCC3D_LABELS)
    return class_weights_from_counts(counts[[*class_ids(config.model), FREE]], power)
