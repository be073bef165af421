"""Where the motion between frames comes from: the data set, a stage-1 checkpoint, or a file of its motions.

The two stages meet in files alone: a checkpoint holds weights and the configuration from which its network is built
again, a motion file what that network said of each key frame.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import yaml
from jaxtyping import Bool, Float
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import Dataset

from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.optical_flow import WithFlow
from gsocc.datasets.split import SurroundDataConfig, open_split
from gsocc.datasets.transforms import jittered
from gsocc.engine import Checkpoint, default_device, find_checkpoint, load_checkpoint, load_into
from gsocc.errors import CheckpointError, ConfigError, DataError
from gsocc.geometry.rig_motion import camera_motion, with_key_frame
from gsocc.networks.pose_depth_net import PoseDepthConfig, PoseDepthNet
from gsocc.progress import track
from gsocc.structures import SurroundBatch, SurroundSample, collate
from gsocc.structures.motions import load_motions
from occ_stage.config import OccConfig, PoseConfig

Motion = tuple[Float[Tensor, "F 4 4"], Bool[Tensor, " F"]]
"""Ego motion to each neighbour, and whether there is one."""


@runtime_checkable
class MotionSource(Protocol):
    """Knows how the vehicle moved around a key frame; `identity` names the weights that said so."""

    identity: str

    def motion(self, token: str, *, training: bool = False) -> Motion:
        """Return the motion of a key frame, where it depends on that for a step of training."""

    def require(self, tokens: Sequence[str]) -> None:
        """Refuse key frames that it knows nothing of, before the first step."""


def open_motion(config: OccConfig) -> MotionSource | None:
    """Open what `pose:` asks for; None where the data set's own motion is used.

    Raises:
        ConfigError: Where the checkpoint or file is not the one that `pose.identity` names, or was made for other
            neighbours than the run's.
        CheckpointError: Where there is no stage-1 checkpoint.
        DataError: Where there is no motion file, or it is damaged.
    """
    pose = config.pose
    source: MotionSource
    if pose.source == "ground_truth":
        return None
    if pose.source == "file":
        assert pose.file is not None  # PoseConfig has checked it
        source = FileMotion(pose.file, config.data.neighbours)
    else:
        assert pose.checkpoint is not None
        source = Stage1Motion(
            pose.checkpoint,
            config.data,
            pose.readout,
            batch_statistics=config.on("pose_batch_statistics"),
            jitter=config.data.color_jitter if config.on("jittered_pose_images") else 0.0,
            jitter_per="image" if config.on("jitter_per_image") else "sample",
        )
    if pose.identity not in (None, source.identity):
        raise ConfigError(
            f"pose.identity: expected {pose.identity}, but {pose.file or pose.checkpoint} is {source.identity}; "
            "give the one that this run was made with, or leave pose.identity out"
        )
    return source


def with_identity(config: OccConfig, source: MotionSource | None) -> OccConfig:
    """Return the configuration that says which weights the motion comes from."""
    if source is None:
        return config
    pose: PoseConfig = config.pose.model_copy(update={"identity": source.identity})
    return config.model_copy(update={"pose": pose})


def with_motion(batch: SurroundBatch, source: MotionSource | None, *, training: bool = False) -> SurroundBatch:
    """Return a batch whose cameras move as the source says; None leaves it as it is.

    Which neighbours exist stays what the data set says.
    """
    if source is None:
        return batch
    found = [source.motion(token, training=training)[0] for token in batch.tokens]
    ego_motion = torch.stack(found).to(batch.cam_to_ego)
    return replace(batch, cam_motion=with_key_frame(camera_motion(ego_motion, batch.cam_to_ego)))


def keep_predicted_moving(dataset: NuScenesDataset, source: MotionSource, min_travel_m: float) -> NuScenesDataset:
    """Restrict a data set to key frames that move so far to their neighbours, by what the source says; return it.

    Raises:
        ConfigError: Where there is none.
    """
    if min_travel_m > 0:
        tokens = dataset.tokens
        travels = [_travel_m(source.motion(token)) for token in track(tokens, len(tokens), "predicting motion")]
        moving = [number for number, travel_m in enumerate(travels) if travel_m >= min_travel_m]
        if not moving:
            raise ConfigError(
                f"data.min_travel_m: by the motion of {source.identity} no key frame of split {dataset.split} moves "
                f"{min_travel_m} m to its neighbours (the farthest {max(travels):.2f} m); choose a smaller value"
            )
        dataset.keep(moving)
    return dataset


class FileMotion:
    """Motions that `gsocc predict pose` wrote.

    Args:
        path: The motion file.
        neighbours: Those of the run; the file's must be the same.
    """

    def __init__(self, path: Path, neighbours: str) -> None:
        motions = load_motions(path)
        if motions.neighbours != neighbours or motions.frame_ids != (0, -1, 1):
            raise ConfigError(
                f"pose.file: {path} holds motions to {motions.neighbours} at times {motions.frame_ids}, expected "
                f"{neighbours} at (0, -1, 1); write it with `gsocc predict pose RUN --set data.neighbours={neighbours}`"
            )
        self.path, self.identity = path, motions.identity
        self._motions = motions
        self._row = {token: row for row, token in enumerate(motions.tokens)}

    def motion(self, token: str, *, training: bool = False) -> Motion:
        """Return the motion of a key frame, the same in training.

        Raises:
            DataError: Where the file has none.
        """
        if token not in self._row:
            self.require([token])
        row = self._row[token]
        return torch.from_numpy(self._motions.ego_motion[row]), torch.from_numpy(self._motions.frame_valid[row])

    def require(self, tokens: Sequence[str]) -> None:
        """Check that all these key frames are in the file.

        Raises:
            DataError: Naming the first that are not, and the command that writes them.
        """
        try:
            self._motions.rows(tokens)
        except KeyError as error:
            raise DataError(
                f"{self.path}: {error.args[0]}; write the motions of these data with "
                f"`gsocc predict pose RUN --out {self.path} --set data.root=...`"
            ) from error


class Stage1Motion:
    """What the frozen network of a stage-1 checkpoint says, asked once per key frame.

    It sees the key frames of the run's own data at the size that it was trained with, clean, in evaluation mode; so its
    answer never changes, and `gsocc predict pose` gives the same one. On a large data set write a file with that
    command: it reads with several processes. GaussianOcc's release has neither; see the last three arguments.

    Args:
        path: A stage-1 run directory or checkpoint folder.
        data: The run's data.
        readout: Instead of the checkpoint's own.
        batch_statistics: Run the network in training mode, as GaussianOcc does: batch normalisation takes the
            statistics of the sample, running averages drift, and no answer is remembered.
        jitter: Probability that in training it sees other colours than those of the files, as in GaussianOcc; its
            answers then differ from step to step. Flow, for a network that reads flow, stays that of the files.
        jitter_per: Change them alike for a whole "sample", or for every "image".
    """

    def __init__(
        self,
        path: Path,
        data: SurroundDataConfig,
        readout: Literal["network", "geometric"] | None = None,
        *,
        batch_statistics: bool = False,
        jitter: float = 0.0,
        jitter_per: Literal["sample", "image"] = "sample",
    ) -> None:
        checkpoint = load_checkpoint(find_checkpoint(path, "gsocc train pose"))
        settings = _stage1_settings(checkpoint)
        if settings["data"].get("neighbours", "sweeps") != data.neighbours:
            raise ConfigError(
                f"pose.checkpoint: {checkpoint.folder} was trained on {settings['data'].get('neighbours', 'sweeps')}, "
                f"expected data.neighbours: {data.neighbours}; use a checkpoint trained on those"
            )
        self.net = _rebuild(checkpoint, settings["model"], readout)
        self.net.train(batch_statistics)
        self.batch_statistics = batch_statistics
        self.jitter, self.jitter_per = jitter, jitter_per
        self.identity = f"{checkpoint.identity()}/{self.net.config.pose.readout}"
        self._data = data.model_copy(
            update={
                "image_size": tuple(settings["data"]["image_size"]),
                "self_mask": settings["data"].get("self_mask", False),
            }
        )
        cache = settings["data"].get("flow_cache")  # of the stage-1 run, where it ran on this machine
        self._flow_cache = Path(cache) if cache and Path(cache).is_dir() else None
        self._splits: list[tuple[dict[str, int], Dataset[SurroundSample]]] = []
        self._known: dict[str, Motion] = {}

    @torch.no_grad()
    def motion(self, token: str, *, training: bool = False) -> Motion:
        """Return the motion of a key frame of the training or validation split.

        Args:
            token: Of the key frame.
            training: Colours may be jittered, by torch's own generator, which training seeds in every step.

        Raises:
            DataError: Where there is no such key frame.
        """
        if training and self.jitter:
            sample = self._sample(token)
            images = jittered(sample.images.flatten(0, 1), self.jitter, self.jitter_per, torch.default_generator)
            return self._ask(replace(sample, images=images.unflatten(0, sample.images.shape[:2])))
        if token not in self._known or self.batch_statistics:
            self._known[token] = self._ask(self._sample(token))
        return self._known[token]

    def _ask(self, sample: SurroundSample) -> Motion:
        batch = collate([sample]).to(next(self.net.parameters()).device)
        return self.net.predict_motion(batch)[0].float().cpu(), batch.frame_valid[0, 1:, 0].cpu()

    def require(self, tokens: Sequence[str]) -> None:
        """Check nothing: the network is asked when it is needed, about frames of the same data."""

    def _sample(self, token: str) -> SurroundSample:
        if not self._splits:
            for dataset in (open_split(self._data, "train"), open_split(self._data, "val")):
                numbers = {known: number for number, known in enumerate(dataset.tokens)}
                flow = WithFlow(dataset, self._flow_cache) if self.net.config.needs_flow else dataset
                self._splits.append((numbers, flow))
        for numbers, split in self._splits:
            if token in numbers:
                return split[numbers[token]]
        raise DataError(f"key frame {token} is in neither split of {self._data.root}, so it has no predicted motion")


def _stage1_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    settings = yaml.safe_load(checkpoint.config_yaml) or {}
    model = settings.get("model") or {}
    if not {"depth", "pose"} <= set(model) or "image_size" not in settings.get("data", {}):
        raise CheckpointError(
            f"{checkpoint.folder}: expected a stage-1 checkpoint, whose config.yaml describes a depth and a pose "
            "network; train one with `gsocc train pose`"
        )
    return settings


def _rebuild(
    checkpoint: Checkpoint, model: dict[str, Any], readout: Literal["network", "geometric"] | None
) -> PoseDepthNet:
    """Build the network of a stage-1 checkpoint, frozen and in evaluation mode."""
    try:
        config = PoseDepthConfig.model_validate(model)
    except ValidationError as error:
        raise CheckpointError(
            f"{checkpoint.folder / 'config.yaml'}: model: does not describe a stage-1 network: {error}"
        ) from error
    pose = config.pose.model_copy(update={"readout": readout or config.pose.readout})
    net = PoseDepthNet(config.model_copy(update={"pose": pose}).without_pretrained())
    load_into(net, checkpoint)
    return net.requires_grad_(False).eval().to(default_device())


def _travel_m(motion: Motion) -> float:
    ego_motion, valid = motion
    travels = ego_motion[valid, :3, 3].norm(dim=-1)
    return float(travels.min()) if len(travels) else float("inf")
