"""Scores of a trained field, and of predictors that know nothing, on the same frames."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.engine import is_main_process, process_group, seed_everything, shard
from gsocc.files import write_json
from gsocc.labels import IGNORE
from gsocc.metrics import (
    DepthMetric,
    GroundPlaneCapSweep,
    LabelPrior,
    OccupancyGuess,
    OccupancySuite,
    ThresholdChoice,
    ThresholdSweep,
    all_free,
    all_occupied,
    ground_plane,
    metric_name,
)
from gsocc.structures import OccupancyLabels, SurroundBatch
from occ_stage.checkpoint import find_run_checkpoint, load_predictor
from occ_stage.config import OccConfig
from occ_stage.data import open_dataset
from occ_stage.model import build_model, threshold_labels
from occ_stage.predict import PredictionWriter
from occ_stage.predictor import Frame, Predictor

DEPTH_PROTOCOL = "depth/nuscenes/80m"


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one predictor; `threshold`, `render_seconds` and `pose` are None where it has none."""

    metrics: dict[str, float]
    ground_layers: list[dict[str, float]]
    frames: int
    threshold: ThresholdChoice | None = None
    render_seconds: float | None = None
    pose: str | None = None
    notes: dict[str, float] = field(default_factory=dict)


FrameSink = Callable[[SurroundBatch, Frame, Tensor], None]


def choose_threshold(predictor: Predictor) -> ThresholdChoice:
    """Choose the occupancy threshold on training frames; the frames that are scored take no part in it."""
    config = predictor.config
    sweep = ThresholdSweep(criterion=config.evaluation.threshold_criterion).to(predictor.device)
    for batch in _training_truth(config, config.evaluation.threshold_samples, "choosing the threshold"):
        frame = predictor(batch)
        sweep.update(frame.occupancy, frame.classes, _truth(batch.to(predictor.device)))
    return sweep.choose()


def evaluate_model(
    predictor: Predictor, threshold: ThresholdChoice | None, sink: FrameSink | None = None, label: str = "evaluating"
) -> Evaluation:
    """Score a model on the validation split, sharded over ranks.

    Args:
        predictor: The model.
        threshold: From `choose_threshold`; by default it is chosen here, or taken from the configuration.
        sink: Called with every batch, its frame and the Occ3D labels after the threshold.
        label: Of the progress bar.
    """
    config = predictor.config
    if threshold is None and config.evaluation.threshold is None:
        threshold = choose_threshold(predictor)
    value = _value(config, threshold)
    suite = OccupancySuite(ground_z_m=config.evaluation.ground_z_m).to(predictor.device)
    dataset = _validation_set(config)
    depth = DepthMetric(dataset.camera_names, protocol=DEPTH_PROTOCOL).to(predictor.device)
    accuracy = torch.zeros(2, dtype=torch.float64)
    seconds, frames = [], 0
    for batch in _validation_frames(config, dataset, label):
        frame = predictor(batch)
        labels = threshold_labels(frame.occupancy, frame.classes, value)
        batch = batch.to(predictor.device)
        assert batch.lidar_depth_m is not None
        suite.update(labels, frame.occupancy, _truth(batch))
        depth.update(frame.depth_m, batch.lidar_depth_m)
        if batch.semantic_labels is not None:
            accuracy += _pixel_accuracy(predictor.rendered_labels(frame), batch.semantic_labels)
        seconds.append(frame.render_seconds)
        frames += 1
        if sink is not None:
            sink(batch, frame, labels)
    scores = suite.compute()
    metrics = scores.metrics | depth.compute()
    accuracy = _sum_over_ranks(accuracy)
    if accuracy[1] > 0:
        metrics[metric_name("semantics2d/rendered", "accuracy")] = float(accuracy[0] / accuracy[1])
    total = _sum_over_ranks(torch.tensor([float(frames)]))
    # The first rendering builds caches and compiles; the median is what a stream of frames costs.
    median = float(torch.tensor(seconds).median()) if seconds else None
    return Evaluation(metrics, scores.ground_layers, int(total), threshold, median, config.pose.label)


def evaluate_checkpoint(
    path: Path,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    predictions: Path | None = None,
    *,
    with_baselines: bool = True,
) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Score a run and, on the same frames, the trivial predictors; write metrics.json.

    Args:
        path: A run directory or a checkpoint folder.
        overrides: Changes to the run's configuration.
        out: Folder of metrics.json; by default `eval` in `path`.
        predictions: Folder for prediction files, if wanted.
        with_baselines: Score the baselines too, an untrained network among them.

    Returns:
        The run's numbers, and those of the baselines by name.
    """
    predictor = load_predictor(path, overrides)
    config = predictor.config
    with process_group():
        sink = None
        threshold = None if config.evaluation.threshold is not None else choose_threshold(predictor)
        if predictions is not None:
            meta: dict[str, str | float] = {
                "checkpoint": str(find_run_checkpoint(path)),
                "threshold": _value(config, threshold),
                "pose": config.pose.label,
            }
            sink = PredictionWriter(predictor, _validation_set(config), predictions, meta)
        result = evaluate_model(predictor, threshold, sink)
        baselines: dict[str, Evaluation] = {}
        if with_baselines:
            baselines = evaluate_baselines(config, predictor.device)
            baselines["untrained"] = evaluate_untrained(config, predictor.device)
    if is_main_process():
        record = {
            "threshold": _value(config, threshold),
            "threshold_chosen_on": None if threshold is None else f"training frames, by {threshold.criterion}",
            "frames": result.frames,
            "pose": config.pose.label,
            "metrics": result.metrics,
            "ground_layers": result.ground_layers,
            "baselines": {name: {"metrics": b.metrics, "notes": b.notes} for name, b in baselines.items()},
        }
        write_json((out or path / "eval") / "metrics.json", record)
    return result, baselines


def evaluate_untrained(config: OccConfig, device: torch.device) -> Evaluation:
    """Score the run's network as it was before the first step."""
    seed_everything(config.training.seed)
    return evaluate_model(Predictor(build_model(config), config, device), None, label="untrained network")


def _value(config: OccConfig, threshold: ThresholdChoice | None) -> float:
    if config.evaluation.threshold is not None:
        return config.evaluation.threshold
    assert threshold is not None
    return threshold.threshold


def evaluate_baselines(config: OccConfig, device: torch.device) -> dict[str, Evaluation]:
    """Score what needs no images: all free, all occupied, a flat plane, the label prior of the training scenes."""
    ground_z_m = config.evaluation.ground_z_m
    prior = LabelPrior().to(device)
    for batch in _training_truth(config, None, "label prior"):
        prior.update(_truth(batch.to(device)))
    guesses = {
        "all_free": all_free(),
        "all_occupied": all_occupied(),
        "ground_plane": ground_plane(ground_z_m=ground_z_m),
        "label_prior": prior.guess(),
    }
    suites = {name: OccupancySuite(ground_z_m=ground_z_m).to(device) for name in guesses}
    dataset = _validation_set(config)
    sweep = GroundPlaneCapSweep(len(dataset.camera_names)).to(device)
    frames = 0
    for batch in _validation_frames(config, dataset, "baselines"):
        batch = batch.to(device)
        assert batch.lidar_depth_m is not None
        for name, guess in guesses.items():
            suites[name].update(*_on(guess, device).batch(1), _truth(batch))
        sweep.update(batch.rig, batch.lidar_depth_m)
        frames += 1
    results = {}
    for name, suite in suites.items():
        scores = suite.compute()
        metrics, notes = dict(scores.metrics), {}
        if name == "ground_plane":
            cap, abs_rel = sweep.compute()
            metrics[metric_name(DEPTH_PROTOCOL, "abs_rel")] = abs_rel
            notes["far_cap_m"] = cap
        results[name] = Evaluation(metrics, scores.ground_layers, frames, notes=notes)
    return results


def _training_truth(config: OccConfig, limit: int | None, label: str) -> Iterator[SurroundBatch]:
    """Yield at most `limit` training key frames with Occ3D truth, evenly spread."""
    dataset = open_dataset(config, "train", parts={"occupancy"}, frame_ids=(0,))
    return batches_of_one(dataset, shard(evenly_spread(len(dataset), limit)), label)


def _validation_set(config: OccConfig) -> NuScenesDataset:
    parts = {"occupancy", "lidar_depth"} | ({"semantics"} if config.objective.semantic else set())
    return open_dataset(config, "val", parts=parts, frame_ids=(0,))


def _validation_frames(config: OccConfig, dataset: NuScenesDataset, label: str) -> Iterator[SurroundBatch]:
    indices = evenly_spread(len(dataset), config.evaluation.max_samples)
    return batches_of_one(dataset, shard(indices), label)


def _truth(batch: SurroundBatch) -> OccupancyLabels:
    assert batch.occupancy is not None  # the data set was opened with this part
    return batch.occupancy


def _pixel_accuracy(predicted: Tensor, labels: Tensor) -> Tensor:
    """Return (right, counted) pixels, sky included."""
    counted = labels != IGNORE
    return torch.stack([((predicted == labels) & counted).sum(), counted.sum()]).double().cpu()


def _on(guess: OccupancyGuess, device: torch.device) -> OccupancyGuess:
    return OccupancyGuess(guess.semantics.to(device), guess.occupancy.to(device))


def _sum_over_ranks(values: Tensor) -> Tensor:
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values
