"""What a run is held against: the parts of a data set that its protocols ask for, frame by frame."""

from collections.abc import Collection, Iterator
from typing import Literal

import torch

from gsocc.datasets.ddad_lists import published_rows
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.occ3d import occ3d_path
from gsocc.engine import shard
from gsocc.metrics.frames import FrameTruth, Need
from gsocc.structures import SurroundBatch
from occ_stage.config import OccConfig
from occ_stage.data import open_dataset

_PARTS: dict[Need, str] = {
    "labels": "occupancy",
    "lidar_depth": "lidar_depth",
    "self_mask": "self_mask",
    "label_images": "semantics",
}


def validation_set(config: OccConfig, needs: Collection[Need]) -> NuScenesDataset:
    """Open the validation split, or the published list of it that the run names, with what protocols need."""
    dataset = open_dataset(config, "val", parts={_PARTS[need] for need in needs if need in _PARTS}, frame_ids=(0,))
    if config.evaluation.frames != "split":
        dataset.rows = published_rows(dataset.index, config.evaluation.frames)
    return dataset


def has_labels(config: OccConfig, split: Literal["train", "val"] = "val") -> bool:
    """Return whether the first validation, or training, frame has Occ3D labels."""
    dataset = validation_set(config, ()) if split == "val" else open_dataset(config, split, parts=(), frame_ids=(0,))
    row = int(dataset.rows[0])
    return occ3d_path(dataset.gts_root, dataset.index.scene(row), dataset.index.token(row)).is_file()


def validation_frames(
    config: OccConfig, dataset: NuScenesDataset, needs: Collection[Need], label: str
) -> Iterator[SurroundBatch]:
    """Yield this rank's validation frames, each once over all ranks; whole scenes where a score follows them."""
    indices = evenly_spread(len(dataset), config.evaluation.max_samples)
    if "sequence" not in needs:
        return batches_of_one(dataset, shard(indices), label)
    scene_of = dataset.index.sample_scene[dataset.rows]
    mine = set(shard(sorted(set(scene_of.tolist()))))
    return batches_of_one(dataset, [i for i in indices if int(scene_of[i]) in mine], label)


class TruthReader:
    """Gathers the truth of a batch of one; see `gsocc.metrics.frames.Need`."""

    def __init__(self, config: OccConfig, dataset: NuScenesDataset, needs: Collection[Need]) -> None:
        self.dataset, self.needs = dataset, frozenset(needs)
        tokens = dataset.tokens
        self.numbers = {token: number for number, token in enumerate(tokens)}
        scored = evenly_spread(len(dataset), config.evaluation.max_samples)
        self.places = {tokens[number]: place for place, number in enumerate(scored)}
        self.reader = KeyFrameReader(dataset.index, dataset.root)

    def __call__(self, batch: SurroundBatch) -> FrameTruth:
        """Return the truth on the device of the batch."""
        token, device = batch.tokens[0], batch.images.device
        rounded = None
        if "lidar_depth_round" in self.needs:
            rounded = torch.from_numpy(self.dataset.released_lidar_depth(self.numbers[token]))[None].to(device)
        wants_frame = self.needs & {"key_frames", "scans", "sequence"}
        frames = (self.reader.read(token, with_scan="scans" in self.needs),) if wants_frame else ()
        return FrameTruth(
            batch.occupancy,
            batch.lidar_depth_m,
            rounded,
            batch.valid_mask,
            frames,
            batch.semantic_labels,
            (self.places[token],),
        )
