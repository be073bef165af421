"""Build the index of a rig: a folder of images, and a file that says where its cameras are."""

from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

from gsocc.datasets.ddad_index import pose_row
from gsocc.datasets.index import (
    ALL_SCENES,
    IndexSource,
    Part,
    SurroundIndex,
    default_index_path,
    encode_names,
    save_index,
    table_source,
)
from gsocc.datasets.rig_file import RIG_FILE, RigConfig, below_root, read_rig
from gsocc.datasets.rig_recordings import IMAGES, SCANS, EgoTrajectory, Recordings, find_recordings, image_file_size
from gsocc.datasets.rig_undistort import UNDISTORTED, straight_intrinsics, write_undistorted
from gsocc.errors import DataError
from gsocc.progress import note, track

VERSION = "rig"
_STILL = pose_row(np.eye(4))


def build_index(root: Path, out: Path | None = None, *, undistort: bool = False) -> Path:
    """Read `rig.yaml` and list the files that it names, check them, and write the index.

    Every image of the first camera that has partners in all others, taken within `time.tolerance_s` of it, is a key
    frame. Its neighbours in time are those `time.step` key frames before and after. The ego frame is that of the
    mountings; images have the ego pose of their own moment, or none.

    Args:
        root: The folder that holds `rig.yaml`.
        out: Where the index goes; `gsocc_index_rig.npz` in `root` by default.
        undistort: Write straightened copies of images of lenses with distortion, and list those.

    Returns:
        The path of the index.

    Raises:
        DataError: Where a file is missing or damaged, is of another size than the rig file says, shows distortion, or
            where no moment has an image of every camera.
        ConfigError: Where the rig file is not as it should be.
    """
    rig = read_rig(root)
    _check_lenses(root, rig, undistort)
    # Described before they are read: a file that changes meanwhile must not pass for what was read.
    files = [RIG_FILE, *(below_root(rig.ego_poses, scene) for scene in rig.scenes if rig.ego_poses)]
    tables = {name: table_source(root / name) for name in files if (root / name).is_file()}
    builder = _Builder(root, rig)
    for number, scene in enumerate(track(rig.scenes, label="indexing scenes", unit="scenes")):
        builder.add(number, scene)
    parts: dict[Part, object] = {"lidar": rig.lidar, "poses": rig.ego_poses}
    skipped = tuple(part for part, there in parts.items() if there is None)
    index = builder.build(IndexSource("rig", VERSION, metadata.version("gsocc"), skipped, tables))
    if undistort:
        write_undistorted(root, rig, index)
    target = out or default_index_path(root, VERSION)
    save_index(target, index)
    return target


def _check_lenses(root: Path, rig: RigConfig, undistort: bool) -> None:
    bent = [name for name, camera in rig.cameras.items() if not camera.is_straight]
    if bent and not undistort:
        raise DataError(
            f"{root / RIG_FILE}: cameras {', '.join(bent)} have lenses with distortion, and everything here takes "
            f"straight lines for straight; write straightened copies: gsocc index rig {root} --undistort"
        )


@dataclass
class _Columns:
    """Columns of key frames and images, filled scene by scene."""

    token: list[str] = field(default_factory=list)
    scene: list[int] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    key_image: list[list[int]] = field(default_factory=list)
    image_file: list[str] = field(default_factory=list)
    image_time_us: list[int] = field(default_factory=list)
    image_pose: list[np.ndarray] = field(default_factory=list)
    image_camera: list[int] = field(default_factory=list)
    lidar_file: list[str] = field(default_factory=list)
    lidar_pose: list[np.ndarray] = field(default_factory=list)


class _Builder:
    """Turns recordings into columns, checking each on the way."""

    def __init__(self, root: Path, rig: RigConfig) -> None:
        self._root, self._rig, self._columns = root, rig, _Columns()
        self._left_out: list[str] = []

    def add(self, number: int, scene: str) -> None:
        """Append the key frames of a scene."""
        rig, unit_s = self._rig, self._rig.time.unit_s
        cameras = {
            name: find_recordings(self._root, below_root(camera.images, scene), IMAGES, unit_s)
            for name, camera in rig.cameras.items()
        }
        self._check_sizes(cameras)
        poses = EgoTrajectory(self._root / below_root(rig.ego_poses, scene), unit_s) if rig.ego_poses else None
        lidar = rig.lidar
        scans = find_recordings(self._root, below_root(lidar.scans, scene), SCANS, unit_s) if lidar else None
        first = next(iter(cameras.values()))
        before, used = -1, set[tuple[str, int]]()
        for time_us in first.times_us.tolist():
            chosen = {name: found.nearest(time_us) for name, found in cameras.items()}
            scan = None if scans is None else scans.nearest(time_us)
            lacking = self._lacking(cameras, chosen, used, time_us)
            if lidar and scans and scan is not None and _away_s(scans, scan, time_us) > lidar.tolerance_s:
                lacking.append("lidar")
            if lacking:
                self._left_out.append(f"{first.path(chosen[next(iter(cameras))])} has no {', '.join(lacking)}")
                before = -1
                continue
            used |= set(chosen.items())
            before = self._add_frame(number, scene, cameras, chosen, poses, before)
            self._add_scan(scans, scan, poses)

    def build(self, source: IndexSource) -> SurroundIndex:
        """Return the index of what was added."""
        c, rig = self._columns, self._rig
        advice = f"time.tolerance_s is {rig.time.tolerance_s:g} s, time.unit_s {rig.time.unit_s:g} s"
        if not c.token:
            raise DataError(
                f"{self._root}: at no moment has every camera an image: {self._left_out[0]} near it in time; {advice}"
            )
        if self._left_out:
            note(f"left out {len(self._left_out)} moments, for example {self._left_out[0]} near it in time; {advice}")
        twice = [token for token in c.token if c.token.count(token) > 1] if len(set(c.token)) < len(c.token) else []
        if twice:
            raise DataError(f"{self._root}: two key frames are called {twice[0]}")
        scenes = list(rig.scenes)
        splits = {name: np.array([scene in listed for scene in scenes]) for name, listed in rig.splits.items()}
        before = np.array(c.before, dtype=np.int32)
        after = np.full(len(before), -1, dtype=np.int32)
        after[before[before >= 0]] = (before >= 0).nonzero()[0]
        key = np.array(c.key_image, dtype=np.int32)
        steps = rig.time.step
        sizes = np.array([camera.image_size for camera in rig.cameras.values()], dtype=np.int32)
        mounting = rig.lidar.lidar_to_ego.pose(camera=False) if rig.lidar else np.eye(4)
        return SurroundIndex(
            source=source,
            cameras=tuple(rig.cameras),
            splits=splits | {ALL_SCENES: np.ones(len(scenes), dtype=bool)},
            scene_names=encode_names(scenes),
            sample_tokens=encode_names(c.token),
            sample_scene=np.array(c.scene, dtype=np.int32),
            sample_time_us=np.array(c.time_us, dtype=np.int64),
            sample_prev=before,
            sample_next=after,
            key_image=key,
            prev_image=_images_away(key, before, steps),
            next_image=_images_away(key, after, steps),
            image_file=encode_names(c.image_file),
            image_time_us=np.array(c.image_time_us, dtype=np.int64),
            image_ego_to_global=np.array(c.image_pose),
            image_size=sizes[c.image_camera],
            image_calibration=np.array(c.image_camera, dtype=np.int32),
            intrinsics=np.stack([straight_intrinsics(camera) for camera in rig.cameras.values()]),
            cam_to_ego=np.stack([pose_row(camera.cam_to_ego.pose(camera=True)) for camera in rig.cameras.values()]),
            lidar_file=encode_names(c.lidar_file),
            lidar_to_ego=np.tile(pose_row(mounting), (len(c.token), 1)),
            lidar_ego_to_global=np.array(c.lidar_pose),
            prev2_image=_images_away(key, before, 2 * steps),
            next2_image=_images_away(key, after, 2 * steps),
        )

    def _check_sizes(self, cameras: dict[str, Recordings]) -> None:
        """Hold the size in each image's header against the rig file."""
        for name, found in cameras.items():
            wanted = self._rig.cameras[name].image_size
            for number in range(len(found.files)):
                path = self._root / found.path(number)
                height, width = image_file_size(path)
                if (height, width) != wanted:
                    raise DataError(
                        f"{path}: is {height}x{width} (HxW), but {RIG_FILE} says that images of camera {name} are "
                        f"{wanted[0]}x{wanted[1]}; intrinsics belong to the size that they were measured at: give "
                        f"image_size: [{height}, {width}], and multiply fx and cx by {width / wanted[1]:g} and fy and "
                        f"cy by {height / wanted[0]:g} if the images were only resized"
                    )

    def _lacking(
        self, cameras: dict[str, Recordings], chosen: dict[str, int], used: set[tuple[str, int]], time_us: int
    ) -> list[str]:
        return [
            name
            for name, number in chosen.items()
            if (name, number) in used or _away_s(cameras[name], number, time_us) > self._rig.time.tolerance_s
        ]

    def _add_frame(
        self,
        number: int,
        scene: str,
        cameras: dict[str, Recordings],
        chosen: dict[str, int],
        poses: EgoTrajectory | None,
        before: int,
    ) -> int:
        c = self._columns
        first = next(iter(cameras))
        c.token.append(f"{scene}_{Path(cameras[first].files[chosen[first]]).stem}")
        c.scene.append(number)
        c.time_us.append(int(cameras[first].times_us[chosen[first]]))
        c.before.append(before)
        rows = []
        for camera, (name, found) in enumerate(cameras.items()):
            time_us = int(found.times_us[chosen[name]])
            rows.append(len(c.image_file))
            path = found.path(chosen[name])
            c.image_file.append(path if self._rig.cameras[name].is_straight else f"{UNDISTORTED}/{path}")
            c.image_time_us.append(time_us)
            c.image_pose.append(_STILL if poses is None else poses.at(time_us))
            c.image_camera.append(camera)
        c.key_image.append(rows)
        return len(c.token) - 1

    def _add_scan(self, scans: Recordings | None, number: int | None, poses: EgoTrajectory | None) -> None:
        c = self._columns
        if scans is None or number is None:
            c.lidar_file.append("")
            c.lidar_pose.append(_STILL)
            return
        c.lidar_file.append(scans.path(number))
        c.lidar_pose.append(_STILL if poses is None else poses.at(int(scans.times_us[number])))


def _away_s(found: Recordings, number: int, time_us: int) -> float:
    return abs(int(found.times_us[number]) - time_us) / 1e6


def _images_away(key: np.ndarray, neighbour: np.ndarray, steps: int) -> np.ndarray:
    """Return the images of the key frames `steps` away, -1 where the way there is interrupted."""
    rows = np.arange(len(neighbour))
    for _ in range(steps):
        rows = np.where(rows >= 0, neighbour[rows], -1)
    return np.where((rows >= 0)[:, None], key[rows], -1).astype(np.int32)
