"""One moment of a camera rig with its neighbours in time, as datasets give it and stages take it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import default_collate

from gsocc.structures.camera_rig import CameraRig


@dataclass(frozen=True)
class OccupancyLabels:
    """Occ3D truth of one key frame on `OCC3D_GRID`; an optional leading batch axis.

    Attributes:
        semantics: Class ids 0..16, 17 is free.
        mask_camera: Voxels that a camera saw.
        mask_lidar: Voxels that the LiDAR saw.
    """

    semantics: UInt8[Tensor, "*B X Y Z"]
    mask_camera: Bool[Tensor, "*B X Y Z"]
    mask_lidar: Bool[Tensor, "*B X Y Z"]


@dataclass(frozen=True)
class SurroundSample:
    """One key frame: V cameras at T times, T = `frame_ids`, whose first entry is 0 (the key frame itself).

    Attributes:
        token: The data set's id of the key frame.
        scene: Name of the scene it belongs to.
        timestamp_s: Time of the key frame in seconds.
        frame_ids: (0, -1, 1) for the key frame, the image before and the image after.
        images: RGB in [0, 1], clean: what photometric losses compare.
        network_images: RGB in [0, 1] of the key frame, colour-jittered in training: what networks see.
        intrinsics: K in pixels of `images`.
        cam_to_ego: Camera poses in the ego frame of the key frame.
        cam_motion: Per time f and camera, the matrix that takes points of the camera at the key frame to the same
            camera at time f (`cam_to_cam_f`), from each image's own ego pose; identity at index 0.
        frame_valid: False where a neighbour does not exist (its image is then a copy of the key frame's).
        lidar_depth_m: Depth of LiDAR returns at the resolution the config asks for, 0 where there is none.
        semantic_labels: Occ3D ids 0..16, 17 is sky, -1 has no label.
        occupancy: Occ3D truth.
        valid_mask: False on pixels that show the ego vehicle.
        flow_px: Optical flow from the key frame to each time, (du, dv) in pixels of `images`; zero at index 0.
    """

    token: str
    scene: str
    timestamp_s: float
    frame_ids: tuple[int, ...]
    images: Float[Tensor, "T V 3 H W"]
    network_images: Float[Tensor, "V 3 H W"]
    intrinsics: Float[Tensor, "V 3 3"]
    cam_to_ego: Float[Tensor, "V 4 4"]
    cam_motion: Float[Tensor, "T V 4 4"]
    frame_valid: Bool[Tensor, "T V"]
    lidar_depth_m: Float[Tensor, "V Hd Wd"] | None = None
    semantic_labels: Int[Tensor, "V Hs Ws"] | None = None
    occupancy: OccupancyLabels | None = None
    valid_mask: Bool[Tensor, "V H W"] | None = None
    flow_px: Float[Tensor, "T V 2 H W"] | None = None


@dataclass(frozen=True)
class SurroundBatch:
    """Samples stacked along a leading batch axis; see `SurroundSample` for the fields."""

    tokens: tuple[str, ...]
    scenes: tuple[str, ...]
    timestamps_s: tuple[float, ...]
    frame_ids: tuple[int, ...]
    images: Float[Tensor, "B T V 3 H W"]
    network_images: Float[Tensor, "B V 3 H W"]
    intrinsics: Float[Tensor, "B V 3 3"]
    cam_to_ego: Float[Tensor, "B V 4 4"]
    cam_motion: Float[Tensor, "B T V 4 4"]
    frame_valid: Bool[Tensor, "B T V"]
    lidar_depth_m: Float[Tensor, "B V Hd Wd"] | None = None
    semantic_labels: Int[Tensor, "B V Hs Ws"] | None = None
    occupancy: OccupancyLabels | None = None
    valid_mask: Bool[Tensor, "B V H W"] | None = None
    flow_px: Float[Tensor, "B T V 2 H W"] | None = None

    @property
    def rig(self) -> CameraRig:
        """The cameras at the size of `images`."""
        height, width = self.images.shape[-2:]
        return CameraRig(self.intrinsics, self.cam_to_ego, (height, width))

    def to(self, device: torch.device | str) -> "SurroundBatch":
        """Return the batch on another device."""
        return _map_tensors(self, lambda t: t.to(device, non_blocking=True))

    def item(self, index: int) -> "SurroundBatch":
        """Return one item as a batch of one."""
        names = {name: getattr(self, name)[index : index + 1] for name in ("tokens", "scenes", "timestamps_s")}
        return replace(_map_tensors(self, lambda t: t[index : index + 1]), **names)


def _map_tensors(data: Any, function: Any) -> Any:
    values = {}
    for field in fields(data):
        value = getattr(data, field.name)
        if isinstance(value, Tensor):
            value = function(value)
        elif isinstance(value, OccupancyLabels):
            value = _map_tensors(value, function)
        values[field.name] = value
    return type(data)(**values)


def _are_clean(sample: SurroundSample) -> bool:
    """Return whether the network images are the memory of the key frame's clean images."""
    clean, given = sample.images[0], sample.network_images
    return (given.data_ptr(), given.shape, given.stride()) == (clean.data_ptr(), clean.shape, clean.stride())


_RENAMED = {"token": "tokens", "scene": "scenes", "timestamp_s": "timestamps_s"}


def collate(samples: Sequence[SurroundSample]) -> SurroundBatch:
    """Stack samples of equal shape into a batch; in a worker of a DataLoader, straight into memory that is shared.

    Network images that are the clean ones themselves stay so, which halves what workers have to send.

    Raises:
        ValueError: Where samples differ in `frame_ids` or in which optional parts they carry.
    """
    if not samples:
        raise ValueError("collate: expected at least one sample, got none")
    values: dict[str, Any] = {"frame_ids": samples[0].frame_ids}
    if any(s.frame_ids != samples[0].frame_ids for s in samples):
        raise ValueError(f"collate: samples differ in frame_ids: {[s.frame_ids for s in samples]}")
    for field in fields(SurroundSample):
        column = [getattr(s, field.name) for s in samples]
        if field.name == "frame_ids":
            continue
        if field.name in _RENAMED:
            values[_RENAMED[field.name]] = tuple(column)
            continue
        missing = [s.token for s in samples if getattr(s, field.name) is None]
        if len(missing) == len(samples):
            values[field.name] = None
        elif missing:
            raise ValueError(f"collate: {field.name} is missing in samples {missing} but present in others")
        elif field.name == "occupancy":
            values[field.name] = OccupancyLabels(
                *(default_collate([getattr(o, f.name) for o in column]) for f in fields(OccupancyLabels))
            )
        elif field.name == "network_images" and all(_are_clean(s) for s in samples):
            values[field.name] = values["images"][:, 0]
        else:
            values[field.name] = default_collate(column)
    return SurroundBatch(**values)
