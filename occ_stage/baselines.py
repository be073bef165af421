"""Predictors that know nothing of the images, scored on the frames and by the protocols of a run."""

from collections.abc import Iterator, Sequence

import torch

from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.engine import shard
from gsocc.metrics import (
    GroundPlaneCapSweep,
    LabelPrior,
    OccupancyGuess,
    ProtocolSuite,
    all_free,
    all_occupied,
    ground_plane,
    metric_name,
)
from gsocc.metrics.baselines import DEFAULT_CAPS_M
from gsocc.metrics.frames import FramePrediction, Need
from gsocc.metrics.protocols import DEPTH_LIMIT_M, depth_protocol
from gsocc.metrics.suite import OccupancyScores, needs_of
from gsocc.structures import OccupancyLabels, SurroundBatch
from gsocc.structures.key_frame import KeyFrame
from occ_stage.config import OccConfig
from occ_stage.data import open_dataset
from occ_stage.truth import TruthReader, validation_frames, validation_set

_FAR_CAPS_M = (120.0, 160.0, 200.0)  # beyond those that suit truth up to 80 m


def training_truth(config: OccConfig, limit: int | None, label: str) -> Iterator[SurroundBatch]:
    """Yield at most `limit` training key frames with Occ3D truth, evenly spread."""
    dataset = open_dataset(config, "train", parts={"occupancy"}, frame_ids=(0,))
    return batches_of_one(dataset, shard(evenly_spread(len(dataset), limit)), label)


def training_scans(config: OccConfig, limit: int | None, label: str) -> Iterator[tuple[SurroundBatch, KeyFrame]]:
    """Yield at most `limit` training key frames with their LiDAR returns, evenly spread."""
    dataset = open_dataset(config, "train", frame_ids=(0,))
    reader = KeyFrameReader(dataset.index, dataset.root)
    for batch in batches_of_one(dataset, shard(evenly_spread(len(dataset), limit)), label):
        yield batch, reader.read(batch.tokens[0], with_scan=True)


def labels_of(batch: SurroundBatch) -> OccupancyLabels:
    """Return the Occ3D truth of a batch of a data set that was opened with it."""
    assert batch.occupancy is not None
    return batch.occupancy


def score_guesses(
    config: OccConfig, device: torch.device, protocols: Sequence[str]
) -> tuple[dict[str, OccupancyScores], dict[str, float], int]:
    """Score what needs no images: all free, all occupied, a flat plane, the label prior of the training scenes.

    Args:
        config: The run, for its frames.
        device: Where to count.
        protocols: Those of the run. Guesses have no rendered depth; the flat plane has that of the data set's tables.

    Returns:
        scores: By predictor. The label prior is left out where no protocol reads labels.
        notes: `far_cap_m` of the flat plane, where its depth was scored.
        frames: How many frames this rank scored.
    """
    volumes = [name for name in protocols if not needs_of([name]) & {"rendered_depth", "rendered_labels"}]
    needs: set[Need] = set(needs_of(volumes))
    depth = depth_protocol(config.data.dataset)
    if depth in protocols:
        needs.add("lidar_depth")
    dataset = validation_set(config, needs)
    read, ground_z_m = TruthReader(config, dataset, needs), config.evaluation.ground_z_m
    guesses = {
        name: _on(guess, device) for name, guess in _guesses(config, device, with_prior="labels" in needs).items()
    }
    suites = {name: ProtocolSuite(volumes, ground_z_m=ground_z_m).to(device) for name in guesses}
    limit_m = float(DEPTH_LIMIT_M[config.data.dataset])
    caps_m = (*DEFAULT_CAPS_M, *(cap for cap in _FAR_CAPS_M if cap <= limit_m))
    sweep = GroundPlaneCapSweep(len(dataset.camera_names), caps_m, max_m=limit_m).to(device)
    frames = 0
    for batch in validation_frames(config, dataset, needs, "baselines"):
        batch = batch.to(device)
        truth = read(batch)
        for name, guess in guesses.items():
            suites[name].update(FramePrediction(*guess.batch(1)), truth)
        if depth in protocols:
            assert truth.lidar_depth_m is not None
            sweep.update(batch.rig, truth.lidar_depth_m)
        frames += 1
    scores = {name: suite.compute() for name, suite in suites.items()}
    if depth not in protocols:
        return scores, {}, frames
    cap, abs_rel = sweep.compute()
    scores["ground_plane"].metrics[metric_name(depth, "abs_rel")] = abs_rel
    return scores, {"far_cap_m": cap}, frames


def _guesses(config: OccConfig, device: torch.device, *, with_prior: bool) -> dict[str, OccupancyGuess]:
    guesses = {
        "all_free": all_free(),
        "all_occupied": all_occupied(),
        "ground_plane": ground_plane(ground_z_m=config.evaluation.ground_z_m),
    }
    if with_prior:
        prior = LabelPrior().to(device)
        for batch in training_truth(config, None, "label prior"):
            prior.update(labels_of(batch.to(device)))
        guesses["label_prior"] = prior.guess()
    return guesses


def _on(guess: OccupancyGuess, device: torch.device) -> OccupancyGuess:
    return OccupancyGuess(guess.semantics.to(device), guess.occupancy.to(device))
