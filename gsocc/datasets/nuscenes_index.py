"""Build the index of a nuScenes root: one pass with the official devkit."""

from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

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
from gsocc.datasets.listing import missing_files, some
from gsocc.errors import DataError, MissingExtraError
from gsocc.files import read_json
from gsocc.progress import track

CAMERAS: tuple[str, ...] = (
    "CAM_FRONT",
    "CAM_FRONT_LEFT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
    "CAM_FRONT_RIGHT",
)
"""Counter-clockwise from the front, so that neighbours in the list are neighbours on the vehicle."""

LIDAR = "LIDAR_TOP"
SPLITS: tuple[str, ...] = ("train", "val", "test", "mini_train", "mini_val")
PARTS: tuple[Part, ...] = ("sweeps", "lidar")

# What the devkit opens, and, of it, what the index is made from.
TABLES: tuple[str, ...] = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
INDEXED_TABLES: tuple[str, ...] = ("calibrated_sensor", "ego_pose", "sample", "sample_data", "scene", "sensor")

_QUATERNION_TOLERANCE = 1e-3  # of its length; the tables hold about 15 digits


def build_index(
    root: Path,
    version: str = "v1.0-trainval",
    out: Path | None = None,
    *,
    skip: Collection[str] = (),
    reach: int = 1,
) -> Path:
    """Read the tables of a nuScenes root, check them, and write the index.

    Args:
        root: The folder that holds `samples/`, `sweeps/`, `maps/` and the folder of tables.
        version: Name of the folder of tables.
        out: Where the index goes; `<root>/gsocc_index_<version>.npz` by default.
        skip: What to leave out of the index because it was not downloaded: "sweeps" (camera images between the key
            frames) or "lidar".
        reach: How many images before and after a key frame's are listed for each camera: 1, or 2, which auxiliary views
            need and which makes the index larger.

    Returns:
        The path of the index.

    Raises:
        DataError: Where a folder, table or listed file is missing, a table is damaged, or a calibration or pose is not
            one.
        MissingExtraError: Where the devkit is not installed.
        ValueError: Where `skip` or `reach` holds something else.
    """
    if reach not in (1, 2):
        raise ValueError(f"build_index: reach must be 1 or 2, got {reach}")
    unknown = sorted(set(skip) - set(PARTS))
    if unknown:
        raise ValueError(f"build_index: skip must be among {', '.join(PARTS)}, got {', '.join(unknown)}")
    tables = _check_layout(root, version)
    # Described before they are read: a table that changes meanwhile must not pass for what was read.
    sources = {f"{name}.json": table_source(tables / f"{name}.json") for name in INDEXED_TABLES}
    devkit = _load_devkit(root, version)
    skipped = tuple(part for part in PARTS if part in skip)
    builder = _Builder(devkit, tables, skip_sweeps="sweeps" in skip, skip_lidar="lidar" in skip, reach=reach)
    source = IndexSource("nuscenes", version, metadata.version("nuscenes-devkit"), skipped, sources)
    try:
        index = builder.build(source)
    except KeyError as error:
        raise DataError(f"{tables}: a record lacks the field {error}; copy the nuScenes metadata again") from error
    _check_files(root, index)
    path = out or default_index_path(root, version)
    save_index(path, index)
    return path


def official_splits() -> dict[str, list[str]]:
    """Return the scene names of the official splits.

    Raises:
        MissingExtraError: Where the devkit is not installed.
    """
    try:
        from nuscenes.utils.splits import create_splits_scenes
    except ImportError as error:
        raise _missing_devkit(error) from error
    splits = create_splits_scenes()
    return {name: splits[name] for name in SPLITS}


def table_versions(root: Path) -> list[str]:
    """Return the names of the folders of tables below a root, spelt as the official ones: v1.0-trainval."""
    return sorted(path.name for path in root.glob("v1.0-*") if path.is_dir() and path.name[5:].isalpha())


def map_files(tables: Path) -> list[str]:
    """Return the paths of the map files, which the devkit looks for, below the root.

    Raises:
        DataError: Where the table of maps is damaged.
    """
    records = read_json(tables / "map.json")
    if not isinstance(records, list) or not all(isinstance(r, dict) and "filename" in r for r in records):
        raise DataError(f"{tables / 'map.json'}: expected a list of map records; copy the nuScenes metadata again")
    return [str(record["filename"]) for record in records]


def _check_layout(root: Path, version: str) -> Path:
    """Check for the folders and tables that the devkit needs, whose absence it reports by a bare assertion."""
    if not root.is_dir():
        raise DataError(f"{root}: the data root does not exist or is not a folder")
    tables = root / version
    if not tables.is_dir():
        versions = table_versions(root)
        hint = f"there is {', '.join(versions)}: pass --version" if versions else "copy the nuScenes metadata there"
        raise DataError(f"{root}: no folder of tables named {version}; {hint}")
    missing = missing_files(tables, (f"{name}.json" for name in TABLES))
    if missing:
        raise DataError(f"{tables}: tables are missing: {', '.join(missing)}; copy the nuScenes metadata again")
    maps = map_files(tables)
    missing = missing_files(root, maps)
    if missing:
        raise DataError(
            f"{root}: {len(missing)} of {len(maps)} map files are missing ({some(missing)}); the devkit needs them: "
            "copy the maps folder of nuScenes"
        )
    return tables


def _load_devkit(root: Path, version: str) -> Any:
    try:
        from nuscenes.nuscenes import NuScenes
    except ImportError as error:
        raise _missing_devkit(error) from error
    try:
        # The devkit reads gigabytes in one call: the bar says what is happening, without a rate.
        for _ in track([None], label=f"reading the tables of {version}"):
            devkit = NuScenes(version, str(root), verbose=False)
    except (AssertionError, KeyError, ValueError, TypeError, OSError) as error:
        raise DataError(
            f"{root / version}: the nuScenes devkit cannot load these tables ({type(error).__name__}: {error}); "
            "they are damaged or belong to different downloads: copy the metadata again"
        ) from error
    return devkit


def _missing_devkit(error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"building an index needs the nuScenes devkit ({error}): pip install -c constraints.txt -e .[nuscenes]"
    )


@dataclass
class _Images:
    """Columns of images and calibrations, filled row by row."""

    row_of: dict[str, int] = field(default_factory=dict)
    file: list[str] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    ego_to_global: list[list[float]] = field(default_factory=list)
    size: list[tuple[int, int]] = field(default_factory=list)
    calibration: list[int] = field(default_factory=list)
    calibration_row_of: dict[str, int] = field(default_factory=dict)
    intrinsics: list[np.ndarray] = field(default_factory=list)
    cam_to_ego: list[list[float]] = field(default_factory=list)


class _Builder:
    """Turns the devkit's records into columns, checking each on the way."""

    def __init__(self, devkit: Any, tables: Path, *, skip_sweeps: bool, skip_lidar: bool, reach: int) -> None:
        self._devkit, self._tables, self._reach = devkit, tables, reach
        self._skip_sweeps, self._skip_lidar = skip_sweeps, skip_lidar
        self._images = _Images()

    def build(self, source: IndexSource) -> SurroundIndex:
        samples = [(number, record) for number, scene in enumerate(self._devkit.scene) for record in self._chain(scene)]
        if not samples:
            raise DataError(f"{self._tables}: the tables hold no key frames; copy the metadata again")
        row_of = {record["token"]: row for row, (_, record) in enumerate(samples)}
        key_image, neighbours, lidar = [], [], []
        for _, record in track(samples, label="indexing key frames", unit="frames"):
            data = [self._get("sample_data", self._key_data(record, camera)) for camera in CAMERAS]
            key_image.append([self._image_row(image) for image in data])
            steps = [(step, count) for count in range(1, self._reach + 1) for step in ("prev", "next")]
            neighbours.append([[self._neighbour_row(image, *step) for image in data] for step in steps])
            lidar.append(self._lidar(record))
        names = [scene["name"] for scene in self._devkit.scene]
        splits = {name: np.isin(names, scenes) for name, scenes in official_splits().items()}
        images, around = self._images, np.array(neighbours, dtype=np.int32)
        lidar_files, lidar_to_ego, lidar_poses = zip(*lidar, strict=True)
        return SurroundIndex(
            source=source,
            cameras=CAMERAS,
            splits=splits | {ALL_SCENES: np.ones(len(names), dtype=bool)},
            scene_names=encode_names(names),
            sample_tokens=encode_names(list(row_of)),
            sample_scene=np.array([number for number, _ in samples], dtype=np.int32),
            sample_time_us=np.array([record["timestamp"] for _, record in samples], dtype=np.int64),
            sample_prev=np.array([row_of.get(record["prev"], -1) for _, record in samples], dtype=np.int32),
            sample_next=np.array([row_of.get(record["next"], -1) for _, record in samples], dtype=np.int32),
            key_image=np.array(key_image, dtype=np.int32),
            prev_image=around[:, 0],
            next_image=around[:, 1],
            image_file=encode_names(images.file),
            image_time_us=np.array(images.time_us, dtype=np.int64),
            image_ego_to_global=np.array(images.ego_to_global),
            image_size=np.array(images.size, dtype=np.int32),
            image_calibration=np.array(images.calibration, dtype=np.int32),
            intrinsics=np.array(images.intrinsics),
            cam_to_ego=np.array(images.cam_to_ego),
            lidar_file=encode_names(list(lidar_files)),
            lidar_to_ego=np.array(lidar_to_ego),
            lidar_ego_to_global=np.array(lidar_poses),
            prev2_image=around[:, 2] if self._reach > 1 else None,
            next2_image=around[:, 3] if self._reach > 1 else None,
        )

    def _get(self, table: str, token: str) -> dict[str, Any]:
        try:
            record: dict[str, Any] = self._devkit.get(table, token)
        except KeyError as error:
            raise DataError(
                f"{self._tables / table}.json: no record {token!r}, which another table names; the tables are cut "
                "short or belong to different downloads: copy the metadata again"
            ) from error
        return record

    def _chain(self, scene: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the key frames of a scene in order."""
        records: list[dict[str, Any]] = []
        token = scene["first_sample_token"]
        while token:
            records.append(self._get("sample", token))
            token = records[-1]["next"]
            if len(records) > scene["nbr_samples"]:
                break
        if len(records) != scene["nbr_samples"]:
            raise DataError(
                f"{self._tables}/sample.json: {scene['name']} should have {scene['nbr_samples']} key frames, following "
                f"`next` gives {'more' if token else len(records)}; copy the metadata again"
            )
        return records

    def _key_data(self, sample: dict[str, Any], channel: str) -> str:
        if channel not in sample["data"]:
            raise DataError(
                f"{self._tables}/sample_data.json: key frame {sample['token']} has no {channel}; it has "
                f"{', '.join(sorted(sample['data'])) or 'nothing'}: copy the metadata again"
            )
        token: str = sample["data"][channel]
        return token

    def _image_row(self, data: dict[str, Any]) -> int:
        images = self._images
        if data["token"] in images.row_of:
            return images.row_of[data["token"]]
        row = images.row_of[data["token"]] = len(images.file)
        if data["height"] <= 0 or data["width"] <= 0:
            raise DataError(
                f"{self._tables}/sample_data.json: {data['filename']} is said to be {data['height']}x{data['width']} "
                "pixels (HxW); expected its true size"
            )
        images.file.append(data["filename"])
        images.time_us.append(data["timestamp"])
        images.ego_to_global.append(self._pose("ego_pose", data["ego_pose_token"]))
        images.size.append((data["height"], data["width"]))
        images.calibration.append(self._calibration_row(data["calibrated_sensor_token"]))
        return row

    def _neighbour_row(self, data: dict[str, Any], step: str, count: int) -> int:
        other = data
        for _ in range(count):
            if not other[step]:
                return -1
            other = self._get("sample_data", other[step])
            if self._skip_sweeps and not other["is_key_frame"]:
                return -1
        a, b = other["calibrated_sensor_token"], data["calibrated_sensor_token"]
        alike = a == b or np.array_equal(self._intrinsics(a), self._intrinsics(b))
        if not alike or (other["height"], other["width"]) != (data["height"], data["width"]):
            raise DataError(
                f"{self._tables}/sample_data.json: {other['filename']} and {data['filename']}, taken one after the "
                "other by one camera, differ in size or intrinsics; copy the metadata again"
            )
        return self._image_row(other)

    def _calibration_row(self, token: str) -> int:
        images = self._images
        if token not in images.calibration_row_of:
            images.calibration_row_of[token] = len(images.intrinsics)
            images.intrinsics.append(self._intrinsics(token))
            images.cam_to_ego.append(self._pose("calibrated_sensor", token))
        return images.calibration_row_of[token]

    def _intrinsics(self, token: str) -> np.ndarray:
        stored = self._get("calibrated_sensor", token)["camera_intrinsic"]
        k = np.array(stored, dtype=np.float64) if np.shape(stored) == (3, 3) else np.full((3, 3), np.nan)
        good = np.isfinite(k).all() and np.array_equal(k[2], [0.0, 0.0, 1.0]) and k[1, 0] == 0.0
        if not good or min(k[0, 0], k[1, 1]) <= 0.0:
            raise DataError(
                f"{self._tables}/calibrated_sensor.json: camera_intrinsic of {token} must be an invertible "
                f"[[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths, got {stored}"
            )
        return k

    def _pose(self, table: str, token: str) -> list[float]:
        record = self._get(table, token)
        pose = [*record["rotation"], *record["translation"]]
        length = float(np.linalg.norm(pose[:4]))
        if len(pose) != 7 or not np.isfinite(pose).all() or abs(length - 1.0) > _QUATERNION_TOLERANCE:
            raise DataError(
                f"{self._tables}/{table}.json: {token} is not a rigid transform; expected a unit quaternion "
                f"(w, x, y, z) and three metres, got rotation {record['rotation']} (length {length:.6g}) and "
                f"translation {record['translation']}"
            )
        return pose

    def _lidar(self, sample: dict[str, Any]) -> tuple[str, list[float], list[float]]:
        if self._skip_lidar:
            identity = [1.0] + [0.0] * 6
            return "", identity, identity
        data = self._get("sample_data", self._key_data(sample, LIDAR))
        to_ego = self._pose("calibrated_sensor", data["calibrated_sensor_token"])
        return data["filename"], to_ego, self._pose("ego_pose", data["ego_pose_token"])


def _check_files(root: Path, index: SurroundIndex) -> None:
    """Check that what the index lists is there."""
    key = np.zeros(len(index.image_file), dtype=bool)
    key[index.key_image] = True
    kinds = {
        "key-frame images": (index.image_file[key], "copy the samples folder again"),
        "images of sweeps": (index.image_file[~key], "copy the sweeps folder, or pass --skip sweeps"),
        "LiDAR scans": (index.lidar_file[index.lidar_file != b""], "copy them, or pass --skip lidar"),
    }
    problems = []
    for kind, (listed, advice) in kinds.items():
        missing = missing_files(root, (raw.decode() for raw in listed.tolist()))
        if missing:
            problems.append(f"{len(missing)} of {len(listed)} {kind} are missing ({some(missing)}): {advice}")
    if problems:
        raise DataError(f"{root}: the data set is incomplete: " + "; ".join(problems))
