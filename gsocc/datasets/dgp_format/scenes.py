"""Scenes, samples and what their sensors saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from gsocc.datasets.dgp_format.calibration import SensorCalibration, read_calibration
from gsocc.datasets.dgp_format.point_clouds import read_points
from gsocc.datasets.dgp_format.records import Record, read_record
from gsocc.datasets.dgp_format.stamps import parse_stamp, tick_seconds
from gsocc.datasets.lidar import Collisions, Rounding, lidar_depth
from gsocc.errors import DataError

SPLITS = {"train": 0, "val": 1, "test": 2, "train_overfit": 3}
"""The format's numbers of splits."""


@dataclass(frozen=True)
class _Datum:
    """What one sensor recorded at one moment.

    Attributes:
        name: Of the sensor, as the scene spells it.
        path: The file.
        ticks: Time stamp; a tick is `Sample.tick_s` long.
        sensor_to_world: Pose of the sensor, not of the vehicle, at its own moment; the world is the scene's own.
        calibration: Of the sensor.
    """

    name: str
    path: Path
    ticks: int
    sensor_to_world: Float64[np.ndarray, "4 4"]
    calibration: SensorCalibration

    @property
    def vehicle_to_world(self) -> Float64[np.ndarray, "4 4"]:
        """Pose of the vehicle at the moment of this recording."""
        return self.sensor_to_world @ np.linalg.inv(self.calibration.sensor_to_vehicle)


@dataclass(frozen=True)
class Image(_Datum):
    """An image.

    Attributes:
        size: H, W of the stored image.
        annotations: Paths of its annotation files by the format's type number: 0 for 2-D boxes, 2 for semantics, ...
    """

    size: tuple[int, int]
    annotations: Mapping[int, Path]

    @property
    def intrinsics(self) -> Float64[np.ndarray, "3 3"]:
        """K in pixels of the stored image.

        Raises:
            DataError: Where the calibration has none for this camera.
        """
        if self.calibration.intrinsics is None:
            raise DataError(f"{self.path}: the calibration has no focal length for {self.name}, which has images")
        return self.calibration.intrinsics


@dataclass(frozen=True)
class PointCloud(_Datum):
    """A point cloud, read when it is asked for.

    Attributes:
        point_format: What the columns of the file hold.
    """

    point_format: tuple[str | int, ...]

    @cached_property
    def points(self) -> Float64[np.ndarray, "N 3"]:
        """Positions in the frame of the sensor, in metres."""
        return read_points(self.path, self.point_format)


class Sample:
    """What all sensors recorded at about one moment.

    Args:
        record: The sample's JSON.
        data: Data of the scene by key.
        folder: Of the scene.
        tick_s: Seconds of a tick of time stamps; None judges by the year, see `tick_seconds`.

    Raises:
        DataError: Where it refers to data that the scene does not have, or has two of one sensor.
    """

    def __init__(self, record: Record, data: Mapping[str, Record], folder: Path, tick_s: float | None) -> None:
        self._folder = folder
        identity = record.child("id")
        self.ticks = parse_stamp(identity.text("timestamp", needed=True), identity.place)
        self.tick_s = tick_seconds(self.ticks) if tick_s is None else tick_s
        self._calibration_key = record.text("calibration_key", needed=True)
        self._data: dict[str, tuple[str, Record]] = {}
        for key in record.sequence("datum_keys"):
            if key not in data:
                raise DataError(
                    f"{record.place}: datum_keys: {key} is not in the scene's data; copy the scene file again"
                )
            name = data[key].child("id").text("name", needed=True)
            if name.lower() in self._data:
                raise DataError(f"{record.place}: datum_keys: two data of sensor {name}")
            self._data[name.lower()] = (name, data[key])

    @property
    def time_s(self) -> float:
        """Seconds of its stamp; differences between samples are what is meant by it."""
        return self.ticks * self.tick_s

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of all its sensors, sorted."""
        return tuple(sorted(name for name, _ in self._data.values()))

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the sensors that took an image, sorted."""
        with_images = (name for name, datum in self._data.values() if datum.child("datum").get("image") is not None)
        return tuple(sorted(with_images))

    @cached_property
    def calibration(self) -> Mapping[str, SensorCalibration]:
        """Sensors by their names in lower case."""
        return read_calibration(self._folder / "calibration" / f"{self._calibration_key}.json")

    def image(self, camera: str) -> Image:
        """Return the image of a camera, whose name is not case-sensitive.

        Raises:
            DataError: Where the sample has no such image.
        """
        common, record = self._recording(camera, "image")
        annotations = record.child("annotations")
        return Image(
            **common,
            size=(int(record.number("height")), int(record.number("width"))),
            annotations={int(kind): self._folder / annotations.text(kind) for kind in annotations.values},
        )

    def point_cloud(self, lidar: str) -> PointCloud:
        """Return the point cloud of a sensor, whose name is not case-sensitive.

        Raises:
            DataError: Where the sample has no such point cloud.
        """
        common, record = self._recording(lidar, "point_cloud")
        return PointCloud(**common, point_format=tuple(record.sequence("point_format")))

    def project_lidar_depth(
        self,
        camera: str,
        lidar: str,
        rounding: Rounding = "floor",
        collisions: Collisions = "nearest",
    ) -> Float32[np.ndarray, "H W"]:
        """Draw a point cloud into an image: depth along the optical axis in metres, 0 where nothing fell.

        Through the poses of both sensors at their own moments, so the motion between them is accounted for.

        Args:
            camera: Whose image.
            lidar: Whose points.
            rounding: "floor", as pixel i spans [i, i + 1); "truncate" is what TRI's dgp does: it lets points up to a
                pixel left of and above the image in.
            collisions: What a pixel keeps of several points: "nearest", or "last" as TRI's dgp.

        Raises:
            DataError: Where the sample lacks one of the two, or a file is missing or damaged.
        """
        image, cloud = self.image(camera), self.point_cloud(lidar)
        lidar_to_cam = np.linalg.inv(image.sensor_to_world) @ cloud.sensor_to_world
        return lidar_depth(
            cloud.points,
            lidar_to_cam[None],
            image.intrinsics[None],
            image.size,
            rounding=rounding,
            collisions=collisions,
        )[0]

    def _recording(self, sensor: str, kind: str) -> tuple[dict[str, Any], Record]:
        """Return what all data have in common, and the record of this kind."""
        if sensor.lower() not in self._data:
            raise DataError(f"{self._folder}: the sample has no sensor {sensor}; it has {', '.join(self.sensors)}")
        name, datum = self._data[sensor.lower()]
        content = datum.child("datum")
        if content.get(kind) is None:
            kinds = ", ".join(map(str, content.values)) or "nothing"
            raise DataError(f"{datum.place}: expected {name} to have recorded {kind}, got {kinds}")
        if sensor.lower() not in self.calibration:
            raise DataError(f"{self._folder}: calibration {self._calibration_key} has no sensor {name}")
        record, identity = content.child(kind), datum.child("id")
        common = {
            "name": name,
            "path": self._folder / record.text("filename", needed=True),
            "ticks": parse_stamp(identity.text("timestamp", needed=True), identity.place),
            "sensor_to_world": record.pose("pose"),
            "calibration": self.calibration[sensor.lower()],
        }
        return common, record


class Scene:
    """One drive; its file is read when its samples are asked for.

    Args:
        path: The scene's JSON.
        tick_s: See `Sample`.
    """

    def __init__(self, path: Path, tick_s: float | None = None) -> None:
        self.path = path
        self._tick_s = tick_s

    @property
    def name(self) -> str:
        """Name of its folder: six digits in DDAD."""
        return self.path.parent.name

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """All samples in the order of time, which is that of the file.

        Links between data (`prev_key`, `next_key`) are not looked at: in published files they contradict the order.

        Raises:
            DataError: Where the file is missing or damaged, a datum key comes twice, or samples go back in time.
        """
        record = read_record(self.path, "a scene that the dataset names")
        data: dict[str, Record] = {}
        for datum in record.items("data"):
            key = datum.text("key", needed=True)
            if key in data:
                raise DataError(f"{datum.place}: key {key} comes twice; it does not say which of the two is meant")
            data[key] = datum
        samples = tuple(Sample(sample, data, self.path.parent, self._tick_s) for sample in record.items("samples"))
        for i, (before, after) in enumerate(pairwise(samples)):
            if after.ticks <= before.ticks:
                raise DataError(f"{self.path}: samples[{i + 1}] is not later than the one before it")
        return samples


@dataclass(frozen=True)
class SceneDataset:
    """The scenes of one split.

    Attributes:
        path: The dataset's JSON.
        split: A key of `SPLITS`.
        scenes: In the order of the file; each is read when it is asked for.
    """

    path: Path
    split: str
    scenes: Sequence[Scene]


def open_scene_dataset(path: Path | str, split: str = "train", *, tick_s: float | None = None) -> SceneDataset:
    """Open a split of a dataset in DGP format.

    Args:
        path: The dataset's JSON (`ddad.json`, `scene_dataset_v1.0.json`), or the folder that holds one.
        split: "train", "val", "test" or "train_overfit".
        tick_s: Seconds of a tick of time stamps; by default 1e-6, but 1e-7 where that would be after the year 2200.

    Raises:
        DataError: Where there is no such file or split.
    """
    file = _dataset_file(Path(path))
    if split not in SPLITS:
        raise DataError(f"{file}: expected a split of {', '.join(SPLITS)}, got {split!r}")
    splits = read_record(file, "the dataset file").child("scene_splits")
    number = str(SPLITS[split])
    if splits.get(number) is None:
        names = {str(value): name for name, value in SPLITS.items()}
        there = ", ".join(names.get(str(key), str(key)) for key in splits.values) or "none"
        raise DataError(f"{file}: has no split {split}; it has {there}")
    files = splits.child(number).sequence("filenames")
    if len(set(files)) != len(files):
        twice = next(name for name in files if files.count(name) > 1)
        raise DataError(f"{file}: split {split} names {twice} twice; its samples would count double")
    return SceneDataset(file, split, tuple(Scene(file.parent / name, tick_s) for name in files))


def split_names(path: Path | str) -> tuple[str, ...]:
    """Return the splits that a dataset has, see `open_scene_dataset`.

    Raises:
        DataError: Where there is no such file.
    """
    splits = read_record(_dataset_file(Path(path)), "the dataset file").child("scene_splits")
    return tuple(name for name, number in SPLITS.items() if splits.get(str(number)) is not None)


def _dataset_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted({*path.glob("ddad*.json"), *path.glob("scene_dataset*.json")})
    if len(found) != 1:
        there = ", ".join(file.name for file in found) or "none"
        raise DataError(
            f"{path}: expected one ddad.json or scene_dataset_v*.json in this folder, got {there}; name the file"
        )
    return found[0]
