"""Scores of a trained network against the truth that training never saw, for both ways to read the motion out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.engine import default_device, is_main_process, process_group, seed_everything, shard
from gsocc.files import atomic_write_bytes, write_json
from gsocc.geometry.rig_motion import ego_motion_of
from gsocc.metrics import DepthMetric, EgoMotionMetric, TrajectoryMetric, metric_name
from gsocc.metrics.families import visible_depth
from gsocc.networks.pose_depth_net import PoseDepthNet
from gsocc.structures import SurroundBatch
from gsocc.structures.trajectory import Trajectory
from pose_stage.checkpoint import load_run
from pose_stage.config import PoseRunConfig
from pose_stage.data import validation_frames, with_flow
from pose_stage.pictures import depth_panel

_PANELS = 2  # key frames whose depth is drawn


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one network.

    Attributes:
        metrics: Scores of motion and, where it is predicted, of depth by full name, once more without the pixels that
            show the vehicle where the run reads masks; the motion is read out as the run's configuration says.
        readouts: Scores of the motion for every read-out that the data allow.
        trajectories: Paths of the configured read-out on this rank.
        frames: Motions scored, over all ranks.
        readout: The configured read-out.
    """

    metrics: dict[str, float]
    readouts: dict[str, dict[str, float]]
    trajectories: list[Trajectory]
    frames: int
    readout: str


def evaluate_model(
    model: PoseDepthNet, config: PoseRunConfig, label: str = "evaluating", panels: Path | None = None
) -> Evaluation:
    """Score a network on the validation split, sharded over ranks.

    Args:
        model: The network; it is moved to the default device.
        config: Its run.
        label: Of the progress bar.
        panels: Folder for pictures of the first key frames' depth.
    """
    device = default_device()
    model = model.eval().to(device)
    knows_depth = model.depth_net is not None  # a published pose network comes alone
    absent = validation_frames(config).index.source.skipped  # a rig may have neither LiDAR nor ego poses
    scores_depth = knows_depth and "lidar" not in absent
    frames = validation_frames(config, {"lidar_depth"} if scores_depth else ())
    indices = shard(evenly_spread(len(frames), config.evaluation.max_samples))
    protocol = f"depth/{config.data.dataset}/{config.evaluation.max_depth_m:g}m"
    depth = {
        name: DepthMetric(frames.camera_names, max_m=config.evaluation.max_depth_m, protocol=name).to(device)
        for name in ((protocol, f"{protocol}/self_mask") if config.data.self_mask else (protocol,))
    }
    names = ["network", "geometric"] if config.needs_flow else ["network"]
    motions = {name: EgoMotionMetric().to(device) for name in names}
    paths = {name: TrajectoryMetric().to(device) for name in names}
    for index, batch in zip(indices, batches_of_one(with_flow(frames, config), indices, label), strict=True):
        batch = batch.to(device)
        depth_m, predicted = _predict(model, batch, names)
        if depth_m is not None and batch.lidar_depth_m is not None:
            depth[protocol].update(depth_m, batch.lidar_depth_m)
            if batch.valid_mask is not None:
                visible = visible_depth(batch.lidar_depth_m, batch.valid_mask)
                depth[f"{protocol}/self_mask"].update(depth_m, visible)
        true = ego_motion_of(batch.cam_motion[:, 1:], batch.cam_to_ego)
        valid = batch.frame_valid[:, 1:, 0] & ("poses" not in absent)
        interval_s = torch.tensor([frames.intervals_s(index)[1:]], device=device)
        for name in names:
            motions[name].update(predicted[name], true, valid)
            paths[name].update(batch.scenes, batch.timestamps_s, predicted[name], true, interval_s, valid)
        if panels is not None and depth_m is not None and index in indices[:_PANELS]:
            _save_picture(
                panels / f"{batch.tokens[0]}.jpg", depth_panel(batch, depth_m[0].cpu().numpy(), frames.camera_names)
            )
    readouts = {name: motions[name].compute() | paths[name].compute() for name in names}
    scored = depth.values() if scores_depth else ()
    depths = {key: value for metric in scored for key, value in _depth_scores(metric).items()}
    chosen = config.model.pose.readout
    count = int(motions[chosen].compute()[metric_name(motions[chosen].protocol, "frames")])
    return Evaluation(readouts[chosen] | depths, readouts, paths[chosen].trajectories(), count, chosen)


def evaluate_checkpoint(
    path: Path, overrides: Sequence[str] = (), out: Path | None = None, *, with_baselines: bool = True
) -> dict[str, Evaluation]:
    """Score a run and write metrics.json and pictures.

    Args:
        path: A run directory or a checkpoint folder.
        overrides: Changes to the run's configuration.
        out: Folder of metrics.json; by default `eval` in `path`.
        with_baselines: Score the untrained network too.

    Returns:
        The run's numbers under "run", and those of the untrained network under "untrained".
    """
    model, config = load_run(path, overrides)
    folder = out or path / "eval"
    with process_group():
        results = {"run": evaluate_model(model, config, panels=folder / "panels")}
        if with_baselines:
            seed_everything(config.training.seed)
            results["untrained"] = evaluate_model(PoseDepthNet(config.model), config, "untrained network")
    if is_main_process():
        write_json(folder / "metrics.json", _record(config, results))
    return results


def _depth_scores(depth: DepthMetric) -> dict[str, float]:
    scores = depth.compute()
    # A prediction over truth, like the scale ratio of the motion beside it.
    ratio = scores[metric_name(depth.protocol, "scale_ratio")]
    scores[metric_name(depth.protocol, "predicted_over_true")] = 1 / ratio
    return scores


@torch.no_grad()
def _predict(
    model: PoseDepthNet, batch: SurroundBatch, readouts: Sequence[str]
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return depth at the image size, where the model knows any, and the motion by read-out."""
    known = model.depth_net is not None
    depth_m = model.depth(batch.images[:, 0], batch.rig, batch.flow_px) if known else None
    motions = {"network": model.motion(batch.images, batch.flow_px, batch.rig, batch.frame_ids)}
    if "geometric" in readouts and depth_m is not None:
        motions["geometric"] = model.geometric_motion(depth_m, batch)
    return depth_m, motions


def _record(config: PoseRunConfig, results: dict[str, Evaluation]) -> dict[str, Any]:
    run = results["run"]
    return {
        "protocol": {
            "dataset": config.data.dataset,
            "split": config.data.val_split,
            "neighbours": config.data.neighbours,
            "image_size": list(config.data.image_size),
            "readout": config.model.pose.readout,
            "initial_depth_m": config.model.depth.initial_depth_m,
            "depth_network_sees_flow": config.model.depth.flow,
            "trained_with": "images and calibration alone",
        },
        "frames": run.frames,
        "metrics": run.metrics,
        "readouts": run.readouts,
        "baselines": {name: {"metrics": r.metrics} for name, r in results.items() if name != "run"},
    }


def _save_picture(path: Path, picture: np.ndarray) -> None:
    _, data = cv2.imencode(path.suffix, np.ascontiguousarray(picture[..., ::-1]))
    atomic_write_bytes(path, data.tobytes())
