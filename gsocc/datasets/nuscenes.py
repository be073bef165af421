"""nuScenes as surround samples: everything that training and evaluation read, through the index."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from gsocc.datasets.image_cache import read_cached_image
from gsocc.datasets.images import (
    Crop,
    check_crop,
    read_image,
    resize,
    resize_nearest,
    scale_intrinsics,
    to_unit_planes,
)
from gsocc.datasets.index import find_index, open_index, pose_matrix, rebuild_command, select_rows
from gsocc.datasets.lidar import Collisions, Rounding, depth_path, lidar_depth, read_depth_file, resample_depth
from gsocc.datasets.nuscenes_index import build_index
from gsocc.datasets.occ3d import occ3d_path, read_occ3d
from gsocc.datasets.scans import lidar_to_cams, read_key_scan
from gsocc.datasets.semantic_labels import read_semantic_labels, semantic_path
from gsocc.datasets.transforms import jittered
from gsocc.errors import DataError
from gsocc.labels import FREE, IGNORE
from gsocc.structures import OccupancyLabels, SurroundSample

__all__ = ["PARTS", "NuScenesDataset", "build_index"]

Size = tuple[int, int]
PARTS: tuple[str, ...] = ("lidar_depth", "semantics", "occupancy", "self_mask")


class NuScenesDataset(Dataset[SurroundSample]):
    """Key frames of nuScenes with their neighbours in time, and what the run asks for beside them.

    Args:
        root: The folder that holds `samples/`, `sweeps/` and the tables.
        index: The index file; by default the one below `root`.
        version: Which index below `root`, where there are several.
        split: "train", "val", "test", "mini_train", "mini_val", or "all" for every scene of the index.
        image_size: (H, W) of `images`, after crop and resize.
        crop: (top, left, height, width) cut out of the stored images first; intrinsics follow.
        frame_ids: Times: 0, then -1 and 1 as wanted, then -2 and 2, for which an index of sweeps has to reach.
        neighbours: What -1 and 1 are: "sweeps", the images that the camera took just before and after (12 Hz), or
            "keyframes" (2 Hz).
        tokens: Restrict the split to these key frames, in this order.
        parts: What to load beside images, of `PARTS`.
        depth_size: (H, W) of `lidar_depth_m`; None keeps the resolution of the (cropped) stored images.
        depth_from: "lidar" projects the scan; "files" reads exported depth images.
        depth_rounding: See `lidar_depth`.
        depth_collisions: See `lidar_depth`.
        depth_min_m: Drop LiDAR points nearer than this to a camera. The official devkit drops them below 1 m too; the
            published depth files keep them (0.0).
        semantic_size: (H, W) of `semantic_labels`; None keeps the resolution of the (cropped) stored images.
        label_pixel: Which stored pixel a shrunk label is: the one under its "center", or the "top_left" one of its
            block (the published loaders).
        unlabelled: What pixels without a label carry: no loss ("ignore"), or "sky" (the published loaders).
        color_jitter: Probability that the colours of a sample's `network_images` are changed.
        jitter_per: Draw the change once per "sample", or for every "image" (the published loaders).
        seed: Of the colour jitter; together with epoch and index it determines the draw.
        gts_root: Occ3D labels; `<root>/gts` by default.
        semantics_root: Semantic label files; `<root>/nuscenes_semantic` by default.
        depth_root: Depth files; `<root>/depth` by default.
        self_mask_root: `<CAM>_mask.png`, non-zero where the camera sees the world; `<root>/self_masks` by default.
        image_cache: Copies of the images at `image_size`, see `write_image_cache`; None reads the images themselves.

    Raises:
        DataError: Where the index is missing or stale, or the split or a token is not in it.
        ValueError: Where an option is unknown or does not fit the others.
    """

    def __init__(
        self,
        *,
        root: Path,
        index: Path | None = None,
        version: str | None = None,
        split: str,
        image_size: Size,
        crop: Crop | None = None,
        frame_ids: tuple[int, ...] = (0, -1, 1),
        neighbours: Literal["sweeps", "keyframes"] = "sweeps",
        tokens: Sequence[str] | None = None,
        parts: Collection[str] = (),
        depth_size: Size | None = None,
        depth_from: Literal["lidar", "files"] = "lidar",
        depth_rounding: Rounding = "floor",
        depth_collisions: Collisions = "nearest",
        depth_min_m: float = 1.0,
        semantic_size: Size | None = None,
        label_pixel: Literal["center", "top_left"] = "center",
        unlabelled: Literal["ignore", "sky"] = "ignore",
        color_jitter: float = 0.0,
        jitter_per: Literal["sample", "image"] = "sample",
        seed: int = 0,
        gts_root: Path | None = None,
        semantics_root: Path | None = None,
        depth_root: Path | None = None,
        self_mask_root: Path | None = None,
        image_cache: Path | None = None,
    ) -> None:
        _check_frame_ids(frame_ids)
        _check_choices("parts", parts, PARTS)
        _check_choices("neighbours", [neighbours], ("sweeps", "keyframes"))
        _check_choices("depth_from", [depth_from], ("lidar", "files"))
        _check_choices("depth_rounding", [depth_rounding], ("floor", "round"))
        _check_choices("depth_collisions", [depth_collisions], ("nearest", "last"))
        _check_choices("label_pixel", [label_pixel], ("center", "top_left"))
        _check_choices("unlabelled", [unlabelled], ("ignore", "sky"))
        _check_choices("jitter_per", [jitter_per], ("sample", "image"))
        if image_cache is not None and crop is not None:
            raise ValueError("image_cache: copies are of whole images; expected no crop beside it")
        self.root, self.image_cache = Path(root), image_cache
        index = find_index(self.root, version) if index is None else index
        self.index = open_index(index, self.root)
        self.split, self.rows = split, select_rows(self.index, split, tokens)
        self.image_size, self.crop, self.frame_ids = image_size, crop, tuple(frame_ids)
        self.neighbours, self.parts = neighbours, frozenset(parts)
        self.depth_size, self.depth_from = depth_size, depth_from
        self.depth_rounding, self.depth_collisions, self.depth_min_m = depth_rounding, depth_collisions, depth_min_m
        self.semantic_size, self.label_pixel, self.unlabelled = semantic_size, label_pixel, unlabelled
        self.color_jitter, self.jitter_per, self.seed = color_jitter, jitter_per, seed
        self.gts_root = gts_root or self.root / "gts"
        self.semantics_root = semantics_root or self.root / "nuscenes_semantic"
        self.depth_root = depth_root or self.root / "depth"
        self.self_mask_root = self_mask_root or self.root / "self_masks"
        self._epoch = 0
        self._masks: Bool[Tensor, "V H W"] | None = None
        self._check_index()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def tokens(self) -> list[str]:
        """Tokens of the key frames, in the order of the data set."""
        return [self.index.token(row) for row in self.rows.tolist()]

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the V cameras, in the order of every (V, ...) tensor."""
        return self.index.cameras

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that colour jitter is drawn for, in the process that reads the samples."""
        self._epoch = epoch

    def keep(self, numbers: Sequence[int]) -> None:
        """Restrict the data set to these of its key frames, in this order."""
        self.rows = self.rows[list(numbers)]

    def travel_m(self, number: int) -> float:
        """Return the shortest way in metres that the vehicle moves between a key frame and a neighbour; inf without.

        What self-supervision from neighbouring images can learn from: a parked vehicle shows no parallax.
        """
        images, exists = self._image_rows(int(self.rows[number]))
        ego = pose_matrix(self.index.image_ego_to_global[images[:, 0]])[:, :3, 3]  # (T, 3)
        travels = np.linalg.norm(ego[1:] - ego[0], axis=-1)[exists[1:, 0]]
        return float(travels.min()) if len(travels) else float("inf")

    def intervals_s(self, number: int) -> list[float]:
        """Return when the first camera took each time's image, in seconds after its image of the key frame."""
        images, _ = self._image_rows(int(self.rows[number]))
        times_us = self.index.image_time_us[images[:, 0]]
        return [float(t - times_us[0]) / 1e6 for t in times_us.tolist()]

    def released_lidar_depth(self, number: int) -> Float32[np.ndarray, "V H W"]:
        """Return a key frame's LiDAR depth drawn as the published depth files were, at the size of `lidar_depth_m`.

        A point goes to the pixel round(u), the last of several points stays, and none is too near.
        """
        row = int(self.rows[number])
        return self._scan_depth(row, self.index.key_image[row].astype(np.int64), "round", "last", 0.0)

    def image_files(self, number: int) -> list[Path]:
        """Return the image files that a sample reads, key frame first."""
        images, _ = self._image_rows(int(self.rows[number]))
        return list(dict.fromkeys(self._image_path(row) for row in images.reshape(-1).tolist()))

    def __getitem__(self, number: int) -> SurroundSample:
        """Read one key frame.

        Raises:
            BadImageError: Where an image cannot be decoded whole.
            DataError: Where any file is missing or does not hold what its format promises.
        """
        row = int(self.rows[number])
        images_at, frame_valid = self._image_rows(row)  # (T, V)
        images = self._read_images(images_at)
        key = images_at[0]
        parts = self.parts
        return SurroundSample(
            token=self.index.token(row),
            scene=self.index.scene(row),
            timestamp_s=float(self.index.sample_time_us[row]) / 1e6,
            frame_ids=self.frame_ids,
            images=images,
            network_images=self._network_images(images[0], number),
            intrinsics=torch.from_numpy(self._intrinsics(key, self.image_size).astype(np.float32)),
            cam_to_ego=torch.from_numpy(self._cam_to_ego(key).astype(np.float32)),
            cam_motion=torch.from_numpy(self._cam_motion(images_at).astype(np.float32)),
            frame_valid=torch.from_numpy(frame_valid),
            lidar_depth_m=torch.from_numpy(self._depth(row, key)) if "lidar_depth" in parts else None,
            semantic_labels=torch.from_numpy(self._semantics(row, key)) if "semantics" in parts else None,
            occupancy=self._occupancy(row) if "occupancy" in parts else None,
            valid_mask=self._valid_mask(row).clone() if "self_mask" in parts else None,
        )

    def _check_index(self) -> None:
        source, rows = self.index.source, self.rows
        rebuild = rebuild_command(self.root, source.version, dataset=source.dataset)
        if self.neighbours == "sweeps" and len(self.frame_ids) > 1 and "sweeps" in source.skipped:
            raise DataError(
                f"the index was built without sweeps; use neighbours: keyframes, or build it again: {rebuild}"
            )
        if self.neighbours == "sweeps" and {-2, 2} & set(self.frame_ids) and self.index.prev2_image is None:
            raise DataError(
                "the index lists one image before and after each key frame's, auxiliary views need two; build it "
                f"again: {rebuild} --reach 2"
            )
        if "lidar_depth" in self.parts and self.depth_from == "lidar" and "lidar" in source.skipped:
            raise DataError(f"the index was built without LiDAR; use depth_from: files, or build it again: {rebuild}")
        sizes = np.unique(self.index.image_size[self.index.key_image[rows]].reshape(-1, 2), axis=0)
        wants_native = ("lidar_depth" in self.parts and not self.depth_size) or (
            "semantics" in self.parts and not self.semantic_size
        )
        if len(sizes) > 1 and wants_native:
            raise DataError(
                f"images are of several sizes (HxW): {sizes.tolist()}; say depth_size and semantic_size, so that their "
                "cameras can be stacked"
            )
        for size in sizes.tolist():
            check_crop(self.crop, (size[0], size[1]))

    def _image_path(self, image: int) -> Path:
        return self.root / self._image_file(image)

    def _image_file(self, image: int) -> str:
        name: str = self.index.image_file[image].decode()
        return name

    def _size(self, image: int) -> Size:
        height, width = self.index.image_size[image].tolist()
        return height, width

    def _native_size(self, image: int) -> Size:
        return self._size(image) if self.crop is None else self.crop[2:]

    def _image_rows(self, row: int) -> tuple[Int64[np.ndarray, "T V"], Bool[np.ndarray, "T V"]]:
        """Return the images of all times; where a neighbour is missing, the key frame's, marked as not valid."""
        key = self.index.key_image[row].astype(np.int64)
        found = [key]
        index = self.index
        sweeps = {-1: index.prev_image, 1: index.next_image, -2: index.prev2_image, 2: index.next2_image}
        for step in self.frame_ids[1:]:
            if self.neighbours == "sweeps":
                column = sweeps[step]
                assert column is not None  # checked when the data set was opened
                found.append(column[row].astype(np.int64))
                continue
            other = row
            for _ in range(abs(step)):
                other = int((index.sample_prev if step < 0 else index.sample_next)[other]) if other >= 0 else -1
            found.append(index.key_image[other].astype(np.int64) if other >= 0 else np.full_like(key, -1))
        images = np.stack(found)  # (T, V)
        valid = images >= 0
        return np.where(valid, images, key), valid

    def _read_images(self, images_at: Int64[np.ndarray, "T V"]) -> Float[Tensor, "T V 3 H W"]:
        """Read each image once, into its place: images are most of a sample, and copies of them most of its time."""
        # Not torch's memory: it is aligned, and glibc's heap then keeps a gigabyte of holes in every worker.
        places = np.empty((images_at.size, 3, *self.image_size), np.float32)
        first: dict[int, int] = {}
        for place, image in enumerate(images_at.reshape(-1).tolist()):
            if first.setdefault(image, place) == place:
                to_unit_planes(self._read_image(image), places[place])
            else:
                places[place] = places[first[image]]
        return torch.from_numpy(places).unflatten(0, images_at.shape)

    def _read_image(self, image: int) -> UInt8[np.ndarray, "H W 3"]:
        if self.image_cache is not None:
            name, dataset = self._image_file(image), self.index.source.dataset
            return read_cached_image(self.root, self.image_cache, name, self.image_size, dataset)
        return read_image(self._image_path(image), self._size(image), self.image_size, self.crop)

    def _network_images(self, images: Float[Tensor, "V 3 H W"], number: int) -> Float[Tensor, "V 3 H W"]:
        if self.color_jitter <= 0.0:
            return images  # as they are: a copy would be made, batched and sent for nothing
        state = np.random.SeedSequence((self.seed, self._epoch, number)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        return jittered(images, self.color_jitter, self.jitter_per, generator)

    def _intrinsics(self, key: Int64[np.ndarray, " V"], size: Size) -> Float64[np.ndarray, "V 3 3"]:
        stored = self.index.intrinsics[self.index.image_calibration[key]]
        sizes = [self._size(image) for image in key.tolist()]
        return np.stack([scale_intrinsics(k, old, size, self.crop) for k, old in zip(stored, sizes, strict=True)])

    def _cam_to_ego(self, images: Int64[np.ndarray, "*N"]) -> Float64[np.ndarray, "*N 4 4"]:
        return pose_matrix(self.index.cam_to_ego[self.index.image_calibration[images]])

    def _cam_motion(self, images_at: Int64[np.ndarray, "T V"]) -> Float64[np.ndarray, "T V 4 4"]:
        """Return camera at the key frame -> camera at each time, from each image's own ego pose."""
        ego_to_global = pose_matrix(self.index.image_ego_to_global[images_at])
        cam_to_global = ego_to_global @ self._cam_to_ego(images_at)
        motion = np.linalg.inv(cam_to_global) @ cam_to_global[0]
        motion[images_at == images_at[0]] = np.eye(4)  # exactly, not to rounding
        return motion

    def _depth(self, row: int, key: Int64[np.ndarray, " V"]) -> Float32[np.ndarray, "V H W"]:
        if self.depth_from == "files":
            files = zip(self._depth_files(row), key.tolist(), strict=True)
            return np.stack([self._depth_file(path, image, self._depth_size(key)) for path, image in files])
        return self._scan_depth(row, key, self.depth_rounding, self.depth_collisions, self.depth_min_m)

    def _depth_size(self, key: Int64[np.ndarray, " V"]) -> Size:
        return self.depth_size or self._native_size(int(key[0]))

    def _scan_depth(
        self, row: int, key: Int64[np.ndarray, " V"], rounding: Rounding, collisions: Collisions, min_m: float
    ) -> Float32[np.ndarray, "V H W"]:
        size = self._depth_size(key)
        points = read_key_scan(self.index, self.root, row)
        return lidar_depth(
            points,
            lidar_to_cams(self.index, row, key),
            self._intrinsics(key, size),
            size,
            rounding=rounding,
            collisions=collisions,
            min_depth_m=min_m,
        )

    def _depth_file(self, path: Path, image: int, size: Size) -> Float32[np.ndarray, "H W"]:
        stored = self._size(image)
        depth_m = read_depth_file(path, stored)
        if size == stored and self.crop is None:
            return depth_m
        return resample_depth(depth_m, scale_intrinsics(np.eye(3), stored, size, self.crop), size)

    def _semantics(self, row: int, key: Int64[np.ndarray, " V"]) -> Int64[np.ndarray, "V H W"]:
        labels = []
        for path, image in zip(self._semantic_files(row), key.tolist(), strict=True):
            without = IGNORE if self.unlabelled == "ignore" else FREE
            stored = self._cropped(read_semantic_labels(path, self._size(image), without))
            at = 0.5 if self.label_pixel == "center" else 0.0
            labels.append(resize_nearest(stored, self.semantic_size or self._native_size(image), at))
        return np.stack(labels)

    def _occupancy(self, row: int) -> OccupancyLabels:
        return read_occ3d(occ3d_path(self.gts_root, self.index.scene(row), self.index.token(row)))

    def _depth_files(self, row: int) -> list[Path]:
        return [depth_path(self.depth_root, self._image_file(i)) for i in self.index.key_image[row].tolist()]

    def _semantic_files(self, row: int) -> list[Path]:
        return [semantic_path(self.semantics_root, self._image_file(i)) for i in self.index.key_image[row].tolist()]

    def _valid_mask(self, row: int) -> Bool[Tensor, "V H W"]:
        """Return the masks of all cameras, which are the same for all of nuScenes."""
        if self._masks is None:
            files = [mask_path(self.self_mask_root, camera) for camera in self.camera_names]
            self._masks = self._read_masks(files, row, zero_is_valid=False)
        return self._masks

    def _read_masks(self, files: Sequence[Path], row: int, *, zero_is_valid: bool) -> Bool[Tensor, "V H W"]:
        """Read one mask per camera; a pixel that shows the vehicle in part is not valid."""
        masks = []
        for path, image in zip(files, self.index.key_image[row].tolist(), strict=True):
            mask = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
            if mask is None:
                meaning = "zero" if zero_is_valid else "non-zero"
                raise DataError(f"{path}: no readable self-occlusion mask; expected a PNG, {meaning} where valid")
            if mask.shape[:2] != self._size(image):
                raise DataError(f"{path}: expected a mask of {self._size(image)} (H, W), got {mask.shape[:2]}")
            valid = self._cropped(((mask[..., 0] == 0) == zero_is_valid).astype(np.float32))
            masks.append(torch.from_numpy(resize(valid, self.image_size)) > 0.999)
        return torch.stack(masks)

    def _cropped(self, values: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return values
        top, left, height, width = self.crop
        return values[top : top + height, left : left + width]


def mask_path(mask_root: Path, camera: str) -> Path:
    """Return the self-occlusion mask of a camera: a PNG of the stored size, non-zero where it sees the world."""
    return mask_root / f"{camera}_mask.png"


def _check_frame_ids(frame_ids: tuple[int, ...]) -> None:
    times = tuple(frame_ids)
    if not times or times[0] != 0 or len(set(times)) != len(times) or not set(times) <= {-2, -1, 0, 1, 2}:
        raise ValueError(f"frame_ids: expected 0 first, then any of -1, 1, -2 and 2 once, got {times}")


def _check_choices(name: str, given: Collection[str], known: Sequence[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{name}: expected {' or '.join(known)}, got {', '.join(unknown)}")
