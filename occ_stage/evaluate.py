"""Scores of a trained field, and of predictors that know nothing, on the same frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gsocc.datasets.index import Part
from gsocc.engine import is_main_process, process_group, seed_everything
from gsocc.errors import UserError
from gsocc.files import write_json
from gsocc.metrics import ProtocolSuite, ScanThresholdSweep, ThresholdChoice, ThresholdSweep
from gsocc.metrics.frames import FramePrediction, Need
from gsocc.metrics.protocols import PROTOCOLS, run_protocols
from gsocc.metrics.suite import needs_of
from gsocc.structures import SurroundBatch
from occ_stage.baselines import labels_of, score_guesses, training_scans, training_truth
from occ_stage.checkpoint import find_run_checkpoint, load_predictor
from occ_stage.config import OccConfig
from occ_stage.model import build_model, threshold_labels
from occ_stage.predict import PredictionWriter
from occ_stage.predictor import Frame, Predictor
from occ_stage.truth import TruthReader, has_labels, validation_frames, validation_set


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
    protocols: tuple[str, ...] = ()


_NEEDS_OF_PART: dict[Part, frozenset[Need]] = {
    "lidar": frozenset({"lidar_depth", "lidar_depth_round", "key_frames", "scans"}),
    "poses": frozenset({"key_frames", "scans"}),
}

FrameSink = Callable[[SurroundBatch, Frame, Tensor], None]


def default_protocols(config: OccConfig) -> tuple[str, ...]:
    """Return what a run is scored by unless told otherwise.

    Occupancy and depth, 2-D labels where it learns them; where the validation split has no 3-D labels, scores that need
    none, and where a rig has no LiDAR or no ego poses, what needs neither.

    Raises:
        UserError: Where nothing is left.
    """
    protocols = run_protocols(config.data.dataset, with_labels=has_labels(config))
    skipped = validation_set(config, ()).index.source.skipped
    absent = {need for part, needs in _NEEDS_OF_PART.items() if part in skipped for need in needs}
    protocols = tuple(name for name in protocols if not needs_of((name,)) & absent)
    protocols = (*protocols, "semantics2d/rendered") if config.objective.semantic else protocols
    if not protocols:
        raise UserError(
            f"{config.data.root}: has no LiDAR, no 3-D and no 2-D labels to hold the run against; look at what "
            "`gsocc predict occ` writes instead"
        )
    return protocols


def choose_threshold(predictor: Predictor) -> ThresholdChoice:
    """Choose the occupancy threshold on training frames; the frames that are scored take no part in it.

    Raises:
        UserError: Where the criterion needs Occ3D labels that the training split has not.
    """
    config, what = predictor.config, "choosing the threshold"
    limit, criterion = config.evaluation.threshold_samples, config.threshold_criterion
    if criterion == "scan":
        scans = ScanThresholdSweep().to(predictor.device)
        for batch, key_frame in training_scans(config, limit, what):
            scans.update(predictor(batch).occupancy, (key_frame,))
        return scans.choose()
    if not has_labels(config, "train"):
        raise UserError(
            f"{config.data.root}: evaluation.threshold_criterion: {criterion} chooses the occupancy threshold by Occ3D "
            "labels of training frames, and there are none; choose it by LiDAR, evaluation.threshold_criterion=scan, "
            "set it, evaluation.threshold=0.3, or write a synthetic world with --exact"
        )
    sweep = ThresholdSweep(criterion=criterion).to(predictor.device)
    for batch in training_truth(config, limit, what):
        frame = predictor(batch)
        sweep.update(frame.occupancy, frame.classes, labels_of(batch.to(predictor.device)))
    return sweep.choose()


def evaluate_model(
    predictor: Predictor,
    threshold: ThresholdChoice | None,
    sink: FrameSink | None = None,
    label: str = "evaluating",
    protocols: Sequence[str] | None = None,
) -> Evaluation:
    """Score a model on the validation split in one pass, sharded over ranks.

    Args:
        predictor: The model.
        threshold: From `choose_threshold`; by default it is chosen here, or taken from the configuration.
        sink: Called with every batch, its frame and the Occ3D labels after the threshold.
        label: Of the progress bar.
        protocols: Names in `gsocc.metrics.protocols.PROTOCOLS`; by default those of `default_protocols`.
    """
    config, device = predictor.config, predictor.device
    protocols = default_protocols(config) if protocols is None else protocols
    needs = needs_of(protocols)
    if threshold is None and _wants_threshold(config, needs, sink):
        threshold = choose_threshold(predictor)
    dataset = validation_set(config, needs)
    read = TruthReader(config, dataset, needs)
    suite = ProtocolSuite(protocols, ground_z_m=config.evaluation.ground_z_m, camera_names=dataset.camera_names).to(
        device
    )
    seconds, frames = [], 0
    for batch in validation_frames(config, dataset, needs, label):
        frame = predictor(batch)
        labels = None
        if threshold is not None or config.evaluation.threshold is not None:
            labels = threshold_labels(frame.occupancy, frame.classes, _value(config, threshold))
        batch = batch.to(device)
        pixels = predictor.rendered_labels(frame) if "rendered_labels" in needs else None
        suite.update(FramePrediction(labels, frame.occupancy, frame.depth_m, pixels), read(batch))
        seconds.append(frame.render_seconds)
        frames += 1
        if sink is not None:
            assert labels is not None
            sink(batch, frame, labels)
    scores = suite.compute()
    total = _sum_over_ranks(torch.tensor([float(frames)]))
    # The first rendering builds caches and compiles; the median is what a stream of frames costs.
    median = float(torch.tensor(seconds).median()) if seconds else None
    return Evaluation(
        scores.metrics,
        scores.ground_layers,
        int(total),
        threshold,
        median,
        config.pose.label,
        protocols=tuple(protocols),
    )


def evaluate_checkpoint(
    path: Path,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    predictions: Path | None = None,
    *,
    with_baselines: bool = True,
    protocols: Sequence[str] | None = None,
) -> tuple[Evaluation, dict[str, Evaluation]]:
    """Score a run and, on the same frames, the trivial predictors; write metrics.json.

    Args:
        path: A run directory or a checkpoint folder.
        overrides: Changes to the run's configuration.
        out: Folder of metrics.json; by default `eval` in `path`.
        predictions: Folder for prediction files, if wanted.
        with_baselines: Score the baselines too, an untrained network among them.
        protocols: Names in `gsocc.metrics.protocols.PROTOCOLS`, all scored in one pass; by default those of
            `default_protocols`.

    Returns:
        The run's numbers, and those of the baselines by name.

    Raises:
        UserError: Where a protocol wants the depth of another data set than the run's.
    """
    predictor = load_predictor(path, overrides)
    config = predictor.config
    protocols = default_protocols(config) if protocols is None else protocols
    _check_dataset(config, protocols)
    with process_group():
        sink = None
        wants_threshold = _wants_threshold(config, needs_of(protocols), predictions)
        threshold = choose_threshold(predictor) if wants_threshold else None
        if predictions is not None:
            meta: dict[str, str | float] = {
                "checkpoint": str(find_run_checkpoint(path)),
                "threshold": _value(config, threshold),
                "pose": config.pose.label,
            }
            sink = PredictionWriter(predictor, validation_set(config, ()), predictions, meta)
        result = evaluate_model(predictor, threshold, sink, protocols=protocols)
        baselines: dict[str, Evaluation] = {}
        if with_baselines:
            baselines = evaluate_baselines(config, predictor.device, protocols)
            baselines["untrained"] = evaluate_untrained(config, predictor.device, protocols)
    if is_main_process():
        write_json((out or path / "eval") / "metrics.json", _record(config, protocols, result, baselines))
    return result, baselines


def evaluate_untrained(config: OccConfig, device: torch.device, protocols: Sequence[str] | None = None) -> Evaluation:
    """Score the run's network as it was before the first step."""
    seed_everything(config.training.seed)
    predictor = Predictor(build_model(config), config, device)
    return evaluate_model(predictor, None, label="untrained network", protocols=protocols)


def evaluate_baselines(
    config: OccConfig, device: torch.device, protocols: Sequence[str] | None = None
) -> dict[str, Evaluation]:
    """Score the predictors that need no images; see `occ_stage.baselines.score_guesses`."""
    chosen = default_protocols(config) if protocols is None else protocols
    scores, notes, frames = score_guesses(config, device, chosen)
    return {
        name: Evaluation(s.metrics, s.ground_layers, frames, notes=notes if name == "ground_plane" else {})
        for name, s in scores.items()
    }


def _record(
    config: OccConfig, protocols: Sequence[str], result: Evaluation, baselines: dict[str, Evaluation]
) -> dict[str, Any]:
    """Return what metrics.json holds."""
    fixed, choice = config.evaluation.threshold, result.threshold
    return {
        "threshold": fixed if choice is None else choice.threshold,
        "threshold_chosen_on": None if choice is None else f"training frames, by {choice.criterion}",
        "frames": result.frames,
        "pose": config.pose.label,
        "protocols": {name: PROTOCOLS[name].description for name in protocols},
        "metrics": result.metrics,
        "ground_layers": result.ground_layers,
        "baselines": {name: {"metrics": b.metrics, "notes": b.notes} for name, b in baselines.items()},
    }


def _check_dataset(config: OccConfig, protocols: Sequence[str]) -> None:
    for name in protocols:
        wanted = PROTOCOLS[name].dataset
        if wanted not in ("", config.data.dataset):
            raise UserError(
                f"--protocol: {name} scores depth of data set {wanted}, but the run reads {config.data.dataset}; "
                f"use depth/{config.data.dataset}/... instead"
            )


def _wants_threshold(config: OccConfig, needs: frozenset[Need], sink: object) -> bool:
    """Return whether labels are needed, and with them a threshold that the configuration does not give."""
    return config.evaluation.threshold is None and ("semantics" in needs or sink is not None)


def _value(config: OccConfig, threshold: ThresholdChoice | None) -> float:
    if config.evaluation.threshold is not None:
        return config.evaluation.threshold
    assert threshold is not None
    return threshold.threshold


def _sum_over_ranks(values: Tensor) -> Tensor:
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values
