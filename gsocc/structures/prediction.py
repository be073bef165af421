"""Prediction files: what a model said about one key frame, for viewers, exporters and metrics that build no model.

One npz per key frame. Arrays are stored by name, everything else as one JSON string under `meta`; nothing is pickled.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from gsocc.errors import DataError
from gsocc.files import read_npz, write_npz
from gsocc.structures.camera_rig import CameraRig
from gsocc.structures.voxel_grid import VoxelGrid

FORMAT = "gsocc-occupancy/1"


@dataclass(frozen=True)
class OccupancyPrediction:
    """Occupancy of one key frame, and optionally what the model sees in each camera.

    Attributes:
        token: The data set's id of the key frame.
        scene: Name of the scene it belongs to.
        timestamp_s: Time of the key frame in seconds; viewers step through frames in this order.
        grid: Where the voxels are, in the ego frame.
        semantics: Occ3D labels, 0..16 for the classes and 17 for free.
        occupancy: Probability that a voxel is solid; stored in steps of 1/255.
        camera_names: Names of the V cameras.
        intrinsics: K in pixels of an image of `image_size`.
        cam_to_ego: Poses of the cameras in the ego frame.
        image_size: (H, W).
        depth_m: Rendered depth per camera in metres, stored as float16; 0 where there is none.
        semantic_images: Rendered labels per camera, 17 is sky.
        image_files: Camera images, relative to the data set's root.
        meta: Whatever else belongs to the prediction and JSON can hold: checkpoint, threshold, protocol strings.
    """

    token: str
    scene: str
    timestamp_s: float
    grid: VoxelGrid
    semantics: UInt8[np.ndarray, "X Y Z"]
    camera_names: tuple[str, ...]
    intrinsics: Float[np.ndarray, "V 3 3"]
    cam_to_ego: Float[np.ndarray, "V 4 4"]
    image_size: tuple[int, int]
    occupancy: Float[np.ndarray, "X Y Z"] | None = None
    depth_m: Float[np.ndarray, "V h w"] | None = None
    semantic_images: UInt8[np.ndarray, "V h w"] | None = None
    image_files: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def rig(self) -> CameraRig:
        """The cameras as a batch of one."""
        return CameraRig(
            torch.from_numpy(self.intrinsics)[None], torch.from_numpy(self.cam_to_ego)[None], self.image_size
        )

    def validate(self) -> "OccupancyPrediction":
        """Check shapes and values.

        Raises:
            ValueError: Where a label is above 17, a probability outside [0, 1], or shapes contradict each other.
        """
        views = len(self.camera_names)
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
            "semantics": (self.semantics.shape, self.grid.shape),
            "intrinsics": (self.intrinsics.shape, (views, 3, 3)),
            "cam_to_ego": (self.cam_to_ego.shape, (views, 4, 4)),
        }
        if self.occupancy is not None:
            shapes["occupancy"] = (self.occupancy.shape, self.grid.shape)
        for name, images in (("depth_m", self.depth_m), ("semantic_images", self.semantic_images)):
            if images is not None:
                shapes[name] = (images.shape, (views, *images.shape[1:]))
        if self.image_files:
            shapes["image_files"] = ((len(self.image_files),), (views,))
        for name, (got, expected) in shapes.items():
            if tuple(got) != tuple(expected):
                raise ValueError(f"{name} must have shape {tuple(expected)}, got {tuple(got)}")
        for name, labels in (("semantics", self.semantics), ("semantic_images", self.semantic_images)):
            if labels is not None and labels.size and int(labels.max()) > 17:
                raise ValueError(f"{name} must hold labels 0..17, got {int(labels.max())}")
        p = self.occupancy
        if p is not None and not (float(p.min()) >= 0 and float(p.max()) <= 1):  # NaN fails both comparisons
            raise ValueError(f"occupancy must lie in [0, 1], got {float(p.min())}..{float(p.max())}")
        return self


def prediction_path(folder: Path, scene: str, token: str) -> Path:
    """Return where the prediction of a key frame lies in a folder of predictions."""
    return folder / scene / f"{token}.npz"


def save_prediction(path: Path, prediction: OccupancyPrediction) -> None:
    """Write a prediction file, whole or not at all.

    Raises:
        ValueError: Where the prediction contradicts itself; see `OccupancyPrediction.validate`.
        OutputError: Where the file cannot be written.
    """
    p = prediction.validate()
    header = {
        "format": FORMAT,
        "token": p.token,
        "scene": p.scene,
        "timestamp_s": p.timestamp_s,
        "grid": {"min_m": p.grid.min_m, "shape": p.grid.shape, "voxel_m": p.grid.voxel_m},
        "camera_names": p.camera_names,
        "image_size": p.image_size,
        "image_files": p.image_files,
        "meta": p.meta,
    }
    arrays: dict[str, np.ndarray] = {
        "meta": np.array(json.dumps(header)),
        "semantics": p.semantics,
        "intrinsics": p.intrinsics.astype(np.float32),
        "cam_to_ego": p.cam_to_ego.astype(np.float32),
    }
    if p.occupancy is not None:
        arrays["occupancy"] = np.rint(p.occupancy.astype(np.float32) * 255).astype(np.uint8)
    if p.depth_m is not None:
        arrays["depth_m"] = p.depth_m.astype(np.float16)
    if p.semantic_images is not None:
        arrays["semantic_images"] = p.semantic_images
    write_npz(path, **arrays)


def load_prediction(path: Path) -> OccupancyPrediction:
    """Read a prediction file.

    Raises:
        DataError: Where the file is missing, damaged, no prediction, or written by a newer format.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such prediction file; write one with gsocc predict occ")
    arrays = read_npz(path)
    header = _header(path, arrays)
    try:
        return _from_arrays(header, arrays).validate()
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: {what}; write it again with gsocc predict occ") from error


def in_order_of_time(paths: Iterable[Path]) -> list[Path]:
    """Return prediction files scene by scene, in the order in which their frames were taken.

    Raises:
        DataError: Where a file is damaged or no prediction.
    """

    def moment(path: Path) -> tuple[str, float]:
        header = _header(path, read_npz(path))
        return str(header.get("scene", "")), float(header.get("timestamp_s", 0.0))

    return sorted(paths, key=moment)


def find_predictions(paths: Iterable[Path]) -> list[Path]:
    """Return the prediction files among files and folders (searched to any depth), sorted by name.

    Raises:
        DataError: Where a path does not exist, or a folder holds no npz file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*.npz") if not p.name.startswith("."))
            if not inside:
                raise DataError(f"{path}: holds no prediction files (*.npz); write some with gsocc predict occ")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder")
    return found


def _header(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what stands in `meta`, once it is known to be of this format."""
    if "meta" not in arrays or "semantics" not in arrays:
        raise DataError(
            f"{path}: is not a prediction file of gsocc: expected meta and semantics among its arrays, "
            f"got {', '.join(sorted(arrays)) or 'none'}"
        )
    try:
        header: dict[str, Any] = json.loads(str(arrays["meta"]))
        found = header["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: meta must be JSON with a format, got {str(arrays['meta'])[:80]!r}") from error
    if found != FORMAT:
        raise DataError(f"{path}: expected format {FORMAT}, got {found}; write it again with this version")
    return header


def _from_arrays(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> OccupancyPrediction:
    grid, size = header["grid"], header["image_size"]
    occupancy, depth_m = arrays.get("occupancy"), arrays.get("depth_m")
    return OccupancyPrediction(
        token=str(header["token"]),
        scene=str(header["scene"]),
        timestamp_s=float(header["timestamp_s"]),
        grid=VoxelGrid(tuple(grid["min_m"]), tuple(grid["shape"]), tuple(grid["voxel_m"])),
        semantics=arrays["semantics"].astype(np.uint8, casting="safe"),
        occupancy=None if occupancy is None else occupancy.astype(np.float32) / 255,
        camera_names=tuple(header["camera_names"]),
        intrinsics=arrays["intrinsics"].astype(np.float32),
        cam_to_ego=arrays["cam_to_ego"].astype(np.float32),
        image_size=(int(size[0]), int(size[1])),
        depth_m=None if depth_m is None else depth_m.astype(np.float32),
        semantic_images=arrays.get("semantic_images"),
        image_files=tuple(header["image_files"]),
        meta=dict(header["meta"]),
    )
