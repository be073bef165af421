"""The DGP reader on a scene of a few lines, and on TRI's own scenes where they lie beside the project."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsocc.datasets.dgp_format import TICK_100_NS, open_scene_dataset, parse_stamp, read_points
from gsocc.errors import DataError

STAMPS = ("2463-05-15T00:38:58.203752Z", "2463-05-15T00:38:59.203480Z")


def _pose(x: float, quaternion: tuple[float, ...] | None = (1.0, 0.0, 0.0, 0.0)) -> dict[str, Any]:
    pose: dict[str, Any] = {"translation": {"x": x}}  # y and z are missing: 0
    if quaternion is not None:
        pose["rotation"] = dict(zip(("qw", "qx", "qy", "qz"), quaternion, strict=True))
    return pose


FORWARD = (0.5, -0.5, 0.5, -0.5)
"""Camera axes (right, down, forward) in a frame of x forward, y left, z up."""


def write_scene(root: Path, change: Callable[[dict[str, Any]], None] = lambda parts: None) -> Path:
    """Write two samples of a LiDAR and a camera that looks ahead, 4 x 6 pixels, after `change` has seen the parts."""
    samples, data = [], []
    for i, stamp in enumerate(STAMPS):
        keys = [f"cloud{i}", f"image{i}"]
        cloud = {
            "filename": f"point_cloud/LIDAR/{i}.npz",
            "point_format": ["INTENSITY", "X", "Y", "Z"],
            "pose": _pose(100.0 + i),
        }
        image = {
            "filename": f"rgb/CAMERA_01/{i}.png",
            "height": 4,
            "width": 6,
            "annotations": {"2": f"semantic_segmentation_2d/CAMERA_01/{i}.png"},
            "pose": _pose(100.5 + i, FORWARD),
        }
        for key, name, kind, content in zip(
            keys, ("LIDAR", "CAMERA_01"), ("point_cloud", "image"), (cloud, image), strict=True
        ):
            data.append({"id": {"name": name, "timestamp": stamp, "index": "0"}, "key": key, "datum": {kind: content}})
        samples.append({"id": {"timestamp": stamp, "index": str(i)}, "datum_keys": keys, "calibration_key": "c"})
    calibration = {
        "names": ["LIDAR", "CAMERA_01"],
        "intrinsics": [{}, {"fx": 2.0, "fy": 2.0, "cx": 3.0, "cy": 2.0}],
        "extrinsics": [_pose(0.0, None), _pose(0.5, FORWARD)],
    }
    dataset = {"scene_splits": {"0": {"filenames": ["000000/scene_a.json"]}}}
    points = np.array([[0.1, 8.5, 0.0, 0.0], [0.2, 4.5, 0.0, 0.0], [0.3, -1.0, 0.0, 0.0]])
    parts = {
        "dataset": dataset,
        "samples": samples,
        "data": data[::-1],
        "calibration": calibration,
        "points": points,
    }
    change(parts)
    folder = root / "000000"
    for sub in ("calibration", "point_cloud/LIDAR"):
        (folder / sub).mkdir(parents=True)
    (root / "ddad.json").write_text(json.dumps(parts["dataset"]))
    (folder / "scene_a.json").write_text(json.dumps({"samples": parts["samples"], "data": parts["data"]}))
    (folder / "calibration" / "c.json").write_text(json.dumps(parts["calibration"]))
    for i in range(len(STAMPS)):
        np.savez(folder / "point_cloud" / "LIDAR" / f"{i}.npz", data=parts["points"])
    return root


def test_points_fall_on_the_pixels_that_their_poses_say(tmp_path: Path) -> None:
    """The camera stands half a metre ahead of the LiDAR: points 8.5 and 4.5 m ahead are 8 and 4 m deep in the middle.

    The nearer one hides the other; TRI's order of the file lets the last one stay, here the nearer too.
    """
    sample = open_scene_dataset(write_scene(tmp_path)).scenes[0].samples[1]
    depth_m = sample.project_lidar_depth("camera_01", "lidar")
    assert depth_m.shape == (4, 6)
    assert depth_m.dtype == np.float32
    expected = np.zeros((4, 6))
    expected[2, 3] = 4.0
    np.testing.assert_allclose(depth_m, expected, atol=1e-6)


def test_of_colliding_points_the_nearest_stays_or_the_last(tmp_path: Path) -> None:
    """Turned around in the file, the far point comes last."""

    def turn_around(parts: dict[str, Any]) -> None:
        parts["points"] = parts["points"][::-1]

    sample = open_scene_dataset(write_scene(tmp_path, turn_around)).scenes[0].samples[0]
    assert sample.project_lidar_depth("CAMERA_01", "LIDAR").max() == pytest.approx(4.0)
    assert sample.project_lidar_depth("CAMERA_01", "LIDAR", collisions="last").max() == pytest.approx(8.0)


def test_the_vehicle_follows_from_sensor_and_mounting(tmp_path: Path) -> None:
    """Poses in the file are those of sensors; both sensors agree on the vehicle, metres from where they are."""
    for i, sample in enumerate(open_scene_dataset(write_scene(tmp_path)).scenes[0].samples):
        for recording in (sample.image("CAMERA_01"), sample.point_cloud("LIDAR")):
            expected = np.eye(4)
            expected[0, 3] = 100.0 + i
            np.testing.assert_allclose(recording.vehicle_to_world, expected, atol=1e-12)


def test_stamps_are_whole_numbers_and_their_unit_follows_from_the_year(tmp_path: Path) -> None:
    """The year 2463 is 2019 in ticks of 100 ns: the two samples are a tenth of a second apart, not one."""
    assert parse_stamp(STAMPS[0], "here") == 15_569_195_938_203_752
    assert parse_stamp("2019-05-03T21:39:53.5+02:00", "here") == parse_stamp("2019-05-03T19:39:53.500000000Z", "here")
    first, second = open_scene_dataset(write_scene(tmp_path)).scenes[0].samples
    assert first.tick_s == TICK_100_NS
    assert (second.ticks - first.ticks) * first.tick_s == pytest.approx(0.0999728)
    literal = open_scene_dataset(tmp_path, tick_s=1e-6).scenes[0].samples[0]
    assert literal.time_s == pytest.approx(10 * first.time_s)


def test_camel_case_keys_are_understood(tmp_path: Path) -> None:
    """The other spelling of the same JSON mapping."""

    def respell(parts: dict[str, Any]) -> None:
        for sample in parts["samples"]:
            sample["datumKeys"], sample["calibrationKey"] = sample.pop("datum_keys"), sample.pop("calibration_key")

    sample = open_scene_dataset(write_scene(tmp_path, respell)).scenes[0].samples[0]
    assert sample.sensors == ("CAMERA_01", "LIDAR")
    assert sample.cameras == ("CAMERA_01",)
    assert sample.image("CAMERA_01").annotations[2].name == "0.png"


def _repeat_key(parts: dict[str, Any]) -> None:
    parts["data"][1]["key"] = parts["data"][0]["key"]


def _lose_data(parts: dict[str, Any]) -> None:
    parts["data"].pop()


def _bend(parts: dict[str, Any]) -> None:
    parts["calibration"]["intrinsics"][1]["k1"] = -0.1


def _stretch(parts: dict[str, Any]) -> None:
    parts["data"][0]["datum"]["image"]["pose"]["rotation"]["qw"] = 0.9


def _shorten(parts: dict[str, Any]) -> None:
    parts["calibration"]["extrinsics"].pop()


def _swap_time(parts: dict[str, Any]) -> None:
    parts["samples"].reverse()


def _double_sensor(parts: dict[str, Any]) -> None:
    parts["data"][0]["id"]["name"] = "lidar"


def _break_points(parts: dict[str, Any]) -> None:
    parts["points"] = np.full((2, 4), np.nan)


def _drop_column(parts: dict[str, Any]) -> None:
    parts["points"] = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_repeat_key, "comes twice"),
        (_lose_data, "is not in the scene's data"),
        (_bend, r"CAMERA_01 is not a plain pinhole camera \(k1 = -0.1\); rectify"),
        (_stretch, "expected a quaternion of length 1"),
        (_shorten, "as many names as intrinsics and extrinsics, got 2, 2 and 1"),
        (_swap_time, r"samples\[1\] is not later"),
        (_double_sensor, "two data of sensor"),
        (_break_points, "2 of 2 points are not finite"),
        (_drop_column, "columns are INTENSITY, X, Y, Z, but data has 3"),
    ],
)
def test_what_would_corrupt_silently_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    """The message names the file and what is wrong with it."""
    with pytest.raises(DataError, match=message):
        for sample in open_scene_dataset(write_scene(tmp_path, change)).scenes[0].samples:
            sample.project_lidar_depth("CAMERA_01", "LIDAR")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """Split, dataset file, scene file, sensor, point cloud."""
    root = write_scene(tmp_path / "ddad")
    with pytest.raises(DataError, match="has no split val; it has train"):
        open_scene_dataset(root, split="val")
    with pytest.raises(DataError, match="got none; name the file"):
        open_scene_dataset(tmp_path)
    sample = open_scene_dataset(root).scenes[0].samples[0]
    with pytest.raises(DataError, match="no sensor CAMERA_09; it has CAMERA_01, LIDAR"):
        sample.image("CAMERA_09")
    with pytest.raises(DataError, match="expected LIDAR to have recorded image, got point_cloud"):
        sample.image("LIDAR")
    (root / "000000" / "point_cloud" / "LIDAR" / "0.npz").unlink()
    with pytest.raises(DataError, match="the point cloud is missing"):
        sample.project_lidar_depth("CAMERA_01", "LIDAR")
    (root / "000000" / "scene_a.json").unlink()
    with pytest.raises(DataError, match=r"scene_a\.json: a scene that the dataset names is missing"):
        _ = open_scene_dataset(root).scenes[0].samples


def test_named_columns_and_pickles(tmp_path: Path) -> None:
    """A structured array is read by its names; an array of objects is refused, not run."""
    cloud = np.zeros(3, dtype=[("INTENSITY", "f4"), ("Z", "f8"), ("Y", "f8"), ("X", "f8")])
    cloud["X"], cloud["Z"] = 1.0, 3.0
    np.savez(tmp_path / "named.npz", data=cloud)
    np.testing.assert_array_equal(read_points(tmp_path / "named.npz"), [[1.0, 0.0, 3.0]] * 3)
    np.savez(tmp_path / "objects.npz", data=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="without pickled objects"):
        read_points(tmp_path / "objects.npz")


# Points, distinct pixels by floor, by truncation (last stays), by rounding, and the range of depth in metres.
FACTS = [
    (40733, 4818, 4822, 4814, 5.0609, 226.0882),
    (40523, 4777, 4783, 4779, 5.0953, 224.9205),
    (40239, 4814, 4816, 4813, 5.0632, 225.4480),
]


def test_real_scenes_hold_what_is_known_of_them(real_data_root: Path) -> None:
    """TRI's own reader finds these numbers; motion per step, intrinsics and a pose as they stand in the files."""
    root = real_data_root / "ddad_scenes" / "test_scene"
    if not root.is_dir():
        pytest.skip("the sample has no DDAD scenes")
    parked, moving = open_scene_dataset(root).scenes
    for sample, facts in zip(parked.samples, FACTS, strict=True):
        depths = [
            sample.project_lidar_depth("CAMERA_01", "LIDAR"),
            sample.project_lidar_depth("CAMERA_01", "LIDAR", "truncate", "last"),
            sample.project_lidar_depth("CAMERA_01", "LIDAR", "round"),
        ]
        assert (len(sample.point_cloud("LIDAR").points), *(int((d > 0).sum()) for d in depths)) == facts[:4]
        assert (depths[0][depths[0] > 0].min(), depths[0].max()) == pytest.approx(facts[4:], abs=1e-4)
    lens = parked.samples[0].image("CAMERA_01").intrinsics
    assert (lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]) == pytest.approx(
        (2167.69260, 2156.23099, 951.51933, 604.98929), abs=1e-5
    )
    start = parked.samples[0].point_cloud("LIDAR").sensor_to_world[:3, 3]
    np.testing.assert_allclose(start, (400.8593689910, -259.6111707516, 12.4990003730), atol=1e-9)
    places = [sample.point_cloud("LIDAR").vehicle_to_world[:3, 3] for sample in moving.samples]
    steps = [float(np.linalg.norm(b - a)) for a, b in itertools.pairwise(places)]
    assert steps == pytest.approx([1.257, 1.277], abs=1e-3)
    assert moving.samples[0].cameras == tuple(f"CAMERA_0{n}" for n in (1, 5, 6, 7, 8, 9))
