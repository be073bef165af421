"""Build the index of a DDAD root, or of any other dataset in DGP format with such a rig."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from gsocc.datasets.dgp_format import (
    Image,
    PointCloud,
    Sample,
    Scene,
    column_names,
    open_scene_dataset,
    split_names,
)
from gsocc.datasets.index import (
    ALL_SCENES,
    IndexSource,
    Part,
    SurroundIndex,
    TableSource,
    default_index_path,
    encode_names,
    save_index,
    table_source,
)
from gsocc.datasets.listing import missing_files, some
from gsocc.errors import DataError
from gsocc.progress import track

CAMERAS: tuple[str, ...] = ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
"""Counter-clockwise from the front: front, front left, back left, back, back right, front right."""

LIDAR = "LIDAR"
VERSION = "ddad"
PARTS: tuple[Part, ...] = ("lidar",)

_LOG = logging.getLogger(__name__)
_AXES = ("X", "Y", "Z")


def build_index(
    path: Path,
    out: Path | None = None,
    *,
    cameras: Sequence[str] = CAMERAS,
    skip: Collection[str] = (),
    tick_s: float | None = None,
) -> Path:
    """Read the scenes of a dataset, check them, and write the index.

    Every sample is a key frame, and its neighbours in time are the samples before and after it in its scene, a tenth of
    a second away in DDAD. Samples that lack a sensor are left out, as TRI's dgp does; no neighbour lies beyond them.
    The ego frame is the format's vehicle frame, and each image and scan has the pose of its own moment.

    Args:
        path: The dataset's JSON (`ddad.json`), or its folder; files are looked for beside it.
        out: Where the index goes; `gsocc_index_ddad.npz` beside the JSON by default.
        cameras: Names of the cameras in the order of every (V, ...) tensor; not case-sensitive.
        skip: "lidar" leaves the scans out, where they were not downloaded.
        tick_s: See `open_scene_dataset`.

    Returns:
        The path of the index.

    Raises:
        DataError: Where a file is missing or damaged, no sample has all sensors, or names are not unique.
        ValueError: Where `skip` holds something else.
    """
    unknown = sorted(set(skip) - set(PARTS))
    if unknown:
        raise ValueError(f"build_index: skip must be among {', '.join(PARTS)}, got {', '.join(unknown)}")
    if not path.exists():
        raise DataError(f"{path}: no such folder; expected a data root, or the JSON of a dataset in DGP format")
    splits = {name: open_scene_dataset(path, name) for name in split_names(path)}
    if not splits:
        raise DataError(f"{path}: the dataset lists no scenes; copy its JSON again")
    file = next(iter(splits.values())).path
    files = {name: [scene.path for scene in split.scenes] for name, split in splits.items()}
    scenes = list(dict.fromkeys(scene for listed in files.values() for scene in listed))
    _check_scene_names(scenes)
    # Described before they are read: a file that changes meanwhile must not pass for what was read.
    tables = {file.name: table_source(file)}
    builder = _Builder(file.parent, tuple(name.upper() for name in cameras), with_lidar="lidar" not in skip)
    for number, scene in enumerate(track(scenes, label="indexing scenes", unit="scenes")):
        tables |= _scene_tables(scene, file.parent)
        builder.add(number, Scene(scene, tick_s))
    skipped = tuple(part for part in PARTS if part in skip)
    source = IndexSource("ddad", VERSION, metadata.version("gsocc"), skipped, tables)
    members = {name: np.array([scene in listed for scene in scenes]) for name, listed in files.items()}
    index = builder.build(source, scenes, members)
    _check_files(file.parent, index)
    target = out or default_index_path(file.parent, VERSION)
    save_index(target, index)
    return target


def pose_row(matrix: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "7"]:
    """Return a rigid transform as (w, x, y, z, tx, ty, tz).

    The quaternion is the eigenvector that Bar-Itzhack, "New method for extracting the quaternion from a rotation
    matrix" (2000) derives: exact to rounding for every rotation, where formulas by cases lose digits.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix[:3, :3].tolist()
    k = np.array(
        [
            [xx - yy - zz, 0.0, 0.0, 0.0],
            [yx + xy, yy - xx - zz, 0.0, 0.0],
            [zx + xz, zy + yz, zz - xx - yy, 0.0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(k, UPLO="L")[1][:, -1].tolist()
    sign = -1.0 if w < 0 else 1.0
    return np.array([sign * w, sign * x, sign * y, sign * z, *matrix[:3, 3].tolist()])


@dataclass
class _Columns:
    """Columns of key frames, images and calibrations, filled scene by scene."""

    token: list[str] = field(default_factory=list)
    scene: list[int] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    key_image: list[list[int]] = field(default_factory=list)
    image_file: list[str] = field(default_factory=list)
    image_time_us: list[int] = field(default_factory=list)
    image_ego_to_global: list[np.ndarray] = field(default_factory=list)
    image_size: list[tuple[int, int]] = field(default_factory=list)
    image_calibration: list[int] = field(default_factory=list)
    calibration_row_of: dict[bytes, int] = field(default_factory=dict)
    intrinsics: list[np.ndarray] = field(default_factory=list)
    cam_to_ego: list[np.ndarray] = field(default_factory=list)
    lidar_file: list[str] = field(default_factory=list)
    lidar_columns: list[str] = field(default_factory=list)
    lidar_to_ego: list[np.ndarray] = field(default_factory=list)
    lidar_ego_to_global: list[np.ndarray] = field(default_factory=list)


class _Builder:
    """Turns scenes into columns, checking each on the way."""

    def __init__(self, root: Path, cameras: tuple[str, ...], *, with_lidar: bool) -> None:
        self._root, self._cameras, self._with_lidar = root, cameras, with_lidar
        self._wanted = (*cameras, LIDAR) if with_lidar else cameras
        self._columns = _Columns()
        self._left_out: list[str] = []

    def add(self, number: int, scene: Scene) -> None:
        """Append the samples of a scene."""
        before = -1
        for i, sample in enumerate(scene.samples):
            there = {name.upper() for name in sample.sensors}
            missing = [name for name in self._wanted if name not in there]
            if missing:
                self._left_out.append(f"sample {i} of scene {scene.name} has no {', '.join(missing)}")
                before = -1
                continue
            before = self._add_sample(number, scene, sample, before)

    def build(self, source: IndexSource, scenes: list[Path], splits: dict[str, np.ndarray]) -> SurroundIndex:
        """Return the index of what was added."""
        c = self._columns
        example = f"{len(self._left_out)} samples lack sensors ({some(self._left_out, 1)})"
        if not c.token:
            found = example if self._left_out else "its scenes are empty"
            raise DataError(f"{self._root}: no sample has all of {', '.join(self._wanted)}: {found}")
        if self._left_out:
            _LOG.warning("%s: left out, %s", self._root, example)
        twice = [token for token, count in Counter(c.token).items() if count > 1]
        if twice:
            raise DataError(f"{self._root}: two samples of one scene have a first image of one name: {some(twice)}")
        before = np.array(c.before, dtype=np.int32)
        after = np.full(len(before), -1, dtype=np.int32)
        after[before[before >= 0]] = (before >= 0).nonzero()[0]
        key = np.array(c.key_image, dtype=np.int32)
        around = {step: np.where((rows >= 0)[:, None], key[rows], -1) for step, rows in _steps(before, after).items()}
        index = SurroundIndex(
            source=source,
            cameras=self._cameras,
            splits=splits | {ALL_SCENES: np.ones(len(scenes), dtype=bool)},
            scene_names=encode_names([scene.parent.name for scene in scenes]),
            sample_tokens=encode_names(c.token),
            sample_scene=np.array(c.scene, dtype=np.int32),
            sample_time_us=np.array(c.time_us, dtype=np.int64),
            sample_prev=before,
            sample_next=after,
            key_image=key,
            prev_image=around[-1],
            next_image=around[1],
            image_file=encode_names(c.image_file),
            image_time_us=np.array(c.image_time_us, dtype=np.int64),
            image_ego_to_global=np.array(c.image_ego_to_global),
            image_size=np.array(c.image_size, dtype=np.int32),
            image_calibration=np.array(c.image_calibration, dtype=np.int32),
            intrinsics=np.array(c.intrinsics),
            cam_to_ego=np.array(c.cam_to_ego),
            lidar_file=encode_names(c.lidar_file),
            lidar_to_ego=np.array(c.lidar_to_ego),
            lidar_ego_to_global=np.array(c.lidar_ego_to_global),
            prev2_image=around[-2],
            next2_image=around[2],
            lidar_columns=encode_names(c.lidar_columns) if any(c.lidar_columns) else None,
        )
        _check_neighbours(self._root, index)
        return index

    def _add_sample(self, number: int, scene: Scene, sample: Sample, before: int) -> int:
        c = self._columns
        images = [sample.image(camera) for camera in self._cameras]
        c.token.append(f"{scene.name}_{images[0].path.stem}")
        c.scene.append(number)
        c.time_us.append(_microseconds(sample.ticks, sample.tick_s))
        c.before.append(before)
        c.key_image.append([self._add_image(image, sample.tick_s) for image in images])
        cloud = sample.point_cloud(LIDAR) if self._with_lidar else None
        if cloud is None:
            c.lidar_file.append("")
            c.lidar_columns.append("")
            c.lidar_to_ego.append(pose_row(np.eye(4)))
            c.lidar_ego_to_global.append(pose_row(np.eye(4)))
            return len(c.token) - 1
        c.lidar_file.append(cloud.path.relative_to(self._root).as_posix())
        c.lidar_columns.append(_columns(cloud))
        c.lidar_to_ego.append(pose_row(cloud.calibration.sensor_to_vehicle))
        c.lidar_ego_to_global.append(pose_row(cloud.vehicle_to_world))
        return len(c.token) - 1

    def _add_image(self, image: Image, tick_s: float) -> int:
        c = self._columns
        if min(image.size) <= 0:
            raise DataError(f"{image.path}: expected the scene to say its height and width, got {image.size}")
        lens, mounting = image.intrinsics, image.calibration.sensor_to_vehicle
        identity = lens.tobytes() + mounting.tobytes()
        if identity not in c.calibration_row_of:
            c.calibration_row_of[identity] = len(c.intrinsics)
            c.intrinsics.append(lens)
            c.cam_to_ego.append(pose_row(mounting))
        c.image_file.append(image.path.relative_to(self._root).as_posix())
        c.image_time_us.append(_microseconds(image.ticks, tick_s))
        c.image_ego_to_global.append(pose_row(image.vehicle_to_world))
        c.image_size.append(image.size)
        c.image_calibration.append(c.calibration_row_of[identity])
        return len(c.image_file) - 1


def _columns(cloud: PointCloud) -> str:
    """Return the names of a scan's columns where x, y, z are not the first of them, else nothing.

    Raises:
        DataError: Where a coordinate is missing.
    """
    names = column_names(cloud.point_format)
    missing = [axis for axis in _AXES if axis not in names]
    if names and missing:
        raise DataError(
            f"{cloud.path}: the scene says that columns are {', '.join(names)}; expected X, Y and Z among them, "
            f"without {', '.join(missing)} points have no place"
        )
    return "" if tuple(names[:3]) in ((), _AXES) else ",".join(names)


def _steps(before: np.ndarray, after: np.ndarray) -> dict[int, np.ndarray]:
    """Return the rows of key frames one and two samples away, -1 where there is none."""
    return {
        -1: before,
        1: after,
        -2: np.where(before >= 0, before[before], -1),
        2: np.where(after >= 0, after[after], -1),
    }


def _microseconds(ticks: int, tick_s: float) -> int:
    """Return ticks as whole microseconds, in integers: a float has too few digits for nanoseconds since 1970."""
    return ticks * round(tick_s * 1e9) // 1000


def _scene_tables(scene: Path, root: Path) -> dict[str, TableSource]:
    """Describe a scene's JSON and its calibrations; one that is missing is named when it is read."""
    files = [scene, *sorted((scene.parent / "calibration").glob("*.json"))]
    return {file.relative_to(root).as_posix(): table_source(file) for file in files if file.is_file()}


def _check_scene_names(scenes: list[Path]) -> None:
    names = [scene.parent.name for scene in scenes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{scenes[0].parent.parent}: two scene files lie in folders called {twice}; expected one each")


def _check_neighbours(root: Path, index: SurroundIndex) -> None:
    """Check that a camera keeps its size and lens from one sample to the next."""
    has = index.prev_image >= 0
    now, then = index.key_image[has], index.prev_image[has]
    lenses = index.intrinsics[index.image_calibration]
    changed = (index.image_size[now] != index.image_size[then]).any(-1) | (lenses[now] != lenses[then]).any((-2, -1))
    if changed.any():
        at = int(changed.argmax())
        names = " and ".join(index.image_file[i].decode() for i in (then[at], now[at]))
        raise DataError(f"{root}: {names}, taken one after the other by one camera, differ in size or intrinsics")


def _check_files(root: Path, index: SurroundIndex) -> None:
    """Check that what the index lists is there."""
    kinds = {
        "images": (index.image_file, "copy the scenes again"),
        "LiDAR scans": (index.lidar_file[index.lidar_file != b""], "copy them, or pass --skip lidar"),
    }
    problems = []
    for kind, (listed, advice) in kinds.items():
        missing = missing_files(root, (raw.decode() for raw in listed.tolist()))
        if missing:
            problems.append(f"{len(missing)} of {len(listed)} {kind} are missing ({some(missing)}): {advice}")
    if problems:
        raise DataError(f"{root}: the data set is incomplete: " + "; ".join(problems))
