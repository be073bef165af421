"""Prediction files of a trained checkpoint: what the viewer, exporters and other evaluators read."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.engine import shard
from gsocc.errors import UserError
from gsocc.files import read_json
from gsocc.structures import OCC3D_GRID, SurroundBatch
from gsocc.structures.prediction import OccupancyPrediction, prediction_path, save_prediction
from occ_stage.checkpoint import find_run_checkpoint, load_predictor
from occ_stage.config import OccConfig
from occ_stage.data import open_dataset
from occ_stage.model import threshold_labels
from occ_stage.predictor import Frame, Predictor

SCORES = "eval/metrics.json"
"""Where `gsocc eval` leaves its numbers in a run directory, the chosen threshold among them."""


def predict_checkpoint(
    path: Path, out: Path, overrides: Sequence[str] = (), threshold: float | None = None
) -> list[Path]:
    """Predict every validation key frame of a run; needs images and calibration alone.

    Args:
        path: A run directory or a checkpoint folder.
        out: Folder for the prediction files.
        overrides: Changes to the run's configuration.
        threshold: Occupancy threshold; by default the configured one, else the one that `gsocc eval` chose.

    Returns:
        The files written, in time order per scene.

    Raises:
        UserError: Where there is no threshold to be had.
    """
    predictor = load_predictor(path, overrides)
    config = predictor.config
    value = occupancy_threshold(path, config, threshold)
    dataset = open_dataset(config, "val", frame_ids=(0,))
    indices = shard(evenly_spread(len(dataset), config.evaluation.max_samples))
    meta: dict[str, str | float] = {
        "checkpoint": str(find_run_checkpoint(path)),
        "threshold": value,
        "pose": config.pose.label,
    }
    writer = PredictionWriter(predictor, dataset, out, meta)
    for batch in batches_of_one(dataset, indices, "predicting"):
        frame = predictor(batch)
        writer(batch, frame, threshold_labels(frame.occupancy, frame.classes, value))
    return writer.written


class PredictionWriter:
    """Writes one prediction file per frame; a sink for `occ_stage.evaluate.evaluate_model`."""

    def __init__(self, predictor: Predictor, dataset: NuScenesDataset, out: Path, meta: dict[str, str | float]) -> None:
        self.predictor, self.dataset, self.out, self.meta = predictor, dataset, out, meta
        self.numbers = {token: i for i, token in enumerate(dataset.tokens)}
        self.written: list[Path] = []

    def __call__(self, batch: SurroundBatch, frame: Frame, labels: Tensor) -> None:
        """Write the file of one batch of one."""
        token, scene = batch.tokens[0], batch.scenes[0]
        files = self.dataset.image_files(self.numbers[token])[: len(self.dataset.camera_names)]
        prediction = OccupancyPrediction(
            token=token,
            scene=scene,
            timestamp_s=batch.timestamps_s[0],
            grid=OCC3D_GRID,
            semantics=labels[0].cpu().numpy(),
            occupancy=frame.occupancy[0].cpu().numpy(),
            camera_names=self.dataset.camera_names,
            intrinsics=batch.intrinsics[0].cpu().numpy(),
            cam_to_ego=batch.cam_to_ego[0].cpu().numpy(),
            image_size=batch.rig.image_size,
            depth_m=frame.depth_m[0].cpu().numpy(),
            semantic_images=self.predictor.rendered_labels(frame)[0].to(torch.uint8).cpu().numpy(),
            image_files=tuple(str(path.relative_to(self.dataset.root)) for path in files),
            meta=dict(self.meta),
        )
        path = prediction_path(self.out, scene, token)
        save_prediction(path, prediction)
        self.written.append(path)


def occupancy_threshold(path: Path, config: OccConfig, given: float | None = None) -> float:
    """Return the occupancy threshold of a run: the one given, else the configured one, else what `gsocc eval` chose.

    Raises:
        UserError: Where there is none of these.
    """
    configured = config.evaluation.threshold if given is None else given
    if configured is not None:
        return configured
    scores = path / SCORES
    if not scores.is_file():
        raise UserError(
            f"{path}: no occupancy threshold; run `gsocc eval {config.data.dataset} {path}`, which chooses one on "
            "training scenes, or give --threshold"
        )
    value = read_json(scores)["threshold"]
    if value is None:
        raise UserError(f"{scores}: holds no threshold; give --threshold")
    return float(value)
