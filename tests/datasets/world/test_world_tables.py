"""The written tables, read by the official devkit and by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsocc.datasets.world import WorldSpec
from gsocc.datasets.world.tables import quaternion
from gsocc.datasets.world.writer import write_world

pytest.importorskip("nuscenes", reason="needs pip install -c constraints.txt -e .[nuscenes]")


@pytest.fixture(scope="module")
def devkit(town_root: Path) -> Any:
    """The town, opened by nuscenes-devkit."""
    from nuscenes import NuScenes

    return NuScenes("v1.0-trainval", str(town_root), verbose=False)


def test_the_devkit_lists_scenes_categories_and_points(devkit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls that walk over every table and every lidarseg file."""
    devkit.list_scenes()
    devkit.list_categories()
    devkit.list_attributes()
    devkit.list_sample(devkit.sample[0]["token"])
    devkit.list_lidarseg_categories()
    devkit.get_sample_lidarseg_stats(devkit.sample[-1]["token"])
    text = capsys.readouterr().out
    assert "scene-0001" in text and "scene-0003" in text
    assert "vehicle.construction" in text and "flat.driveable_surface" in text


def test_train_and_val_scenes_are_apart(devkit: Any) -> None:
    """The devkit's own splits divide the scenes; no sample, instance or file is in both."""
    from nuscenes.utils.splits import create_splits_scenes

    splits = create_splits_scenes()
    names = [s["name"] for s in devkit.scene]
    assert [n in splits["train"] for n in names] == [True, False]
    assert [n in splits["val"] for n in names] == [False, True]
    files = [d["filename"] for d in devkit.sample_data]
    assert len(set(files)) == len(files)
    a, b = ((d["translation"]) for d in (devkit.ego_pose[0], devkit.ego_pose[-1]))
    assert a != b


def test_every_file_that_the_tables_name_exists(devkit: Any, town_root: Path) -> None:
    """And nothing else lies in samples/ and sweeps/."""
    named = {d["filename"] for d in devkit.sample_data}
    present = {str(p.relative_to(town_root)) for d in ("samples", "sweeps") for p in (town_root / d).rglob("*.*")}
    assert named == present
    for record in [*devkit.map, *devkit.lidarseg]:
        assert (town_root / record["filename"]).is_file()


def test_links_between_recordings_run_through_time(devkit: Any) -> None:
    """Prev and next of a camera's recordings: sweep, key frame, sweep, one twelfth of a second apart."""
    for sample in devkit.sample:
        for channel, token in sample["data"].items():
            record = devkit.get("sample_data", token)
            assert record["timestamp"] == sample["timestamp"]
            if channel == "LIDAR_TOP":
                continue
            before, after = (devkit.get("sample_data", record[k]) for k in ("prev", "next"))
            assert not before["is_key_frame"] and not after["is_key_frame"]
            assert record["timestamp"] - before["timestamp"] == pytest.approx(1e6 / 12, abs=1)
            assert after["timestamp"] - record["timestamp"] == pytest.approx(1e6 / 12, abs=1)
            assert before["next"] == after["prev"] == token


def test_boxes_hold_the_points_of_their_objects(devkit: Any) -> None:
    """The number of LiDAR points that a box claims lies inside it: nuScenes' own definition."""
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    token = devkit.sample[0]["data"]["LIDAR_TOP"]
    path, boxes, _ = devkit.get_sample_data(token)
    points = LidarPointCloud.from_file(path).points[:3]
    claimed = {a: devkit.get("sample_annotation", a)["num_lidar_pts"] for a in devkit.sample[0]["anns"]}
    assert len(boxes) == len(claimed) > 20
    for box in boxes:
        # A millimetre of slack for points on the faces.
        assert points_in_box(box, points, wlh_factor=1.002).sum() >= claimed[box.token]


def test_boxes_project_onto_their_objects(devkit: Any, town_root: Path) -> None:
    """get_sample_data keeps boxes that the image shows; their centres fall where the exact truth has an object."""
    found = 0
    for sample in devkit.sample:
        path, boxes, intrinsics = devkit.get_sample_data(sample["data"]["CAM_FRONT"])
        owners = np.load(town_root / "truth/samples/CAM_FRONT" / f"{Path(path).stem}.npz")["owners"]
        for box in boxes:
            annotation = devkit.get("sample_annotation", box.token)
            u, v = (intrinsics @ (box.center / box.center[2]))[:2]
            near = box.center[2] < 15 and annotation["visibility_token"] == "4"
            if near and 0 <= u < 80 and 0 <= v < 48 and "vehicle.bus" in box.name + "vehicle.bus" * ("car" in box.name):
                found += 1
                assert owners[int(v), int(u)] >= 0
    assert found >= 1


def test_movers_have_tracks_with_their_speed(devkit: Any) -> None:
    """box_velocity from a track gives the mover's speed; parked things stand still."""
    speeds: dict[str, list[float]] = {}
    for annotation in devkit.sample_annotation:
        attributes = [devkit.get("attribute", t)["name"] for t in annotation["attribute_tokens"]]
        velocity = devkit.box_velocity(annotation["token"])
        if np.isfinite(velocity).all():
            speeds.setdefault(attributes[0] if attributes else "", []).append(float(np.linalg.norm(velocity)))
    assert max(speeds["vehicle.parked"]) == 0.0
    assert min(speeds["vehicle.moving"]) > 4.0 and max(speeds["vehicle.moving"]) < 10.0
    assert min(speeds["pedestrian.moving"]) > 0.5 and max(speeds["pedestrian.moving"]) < 2.0


def test_lidar_lands_in_the_image_through_the_devkit(devkit: Any, town_root: Path) -> None:
    """The devkit's chain of transforms (lidar, ego, global, ego, camera) meets the exact depth image."""
    data = devkit.sample[0]["data"]
    points, depth, image = devkit.explorer.map_pointcloud_to_image(data["LIDAR_TOP"], data["CAM_FRONT"], min_dist=1.0)
    name = Path(devkit.get("sample_data", data["CAM_FRONT"])["filename"]).stem
    exact = np.load(town_root / "truth/samples/CAM_FRONT" / f"{name}.npz")["depth_m"]
    there = exact[points[1].astype(int), points[0].astype(int)]
    assert image.size == (80, 48) and len(depth) > 1000
    assert np.median(np.abs(there - depth) / depth) < 0.02


def test_the_ego_is_on_the_map(devkit: Any) -> None:
    """Road and sidewalk are the map's foreground; every recorded pose lies on it."""
    for scene in devkit.scene:
        mask = devkit.get("map", devkit.get("log", scene["log_token"])["map_token"])["mask"]
        sample = devkit.get("sample", scene["first_sample_token"])
        pose = devkit.get("ego_pose", devkit.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
        x, y = pose["translation"][:2]
        assert mask.is_on_mask(np.array([x]), np.array([y]))[0]
        assert not mask.is_on_mask(np.array([2.0]), np.array([2.0]))[0]


def test_all_sweeps_fill_the_time_between_key_frames(tmp_path: Path) -> None:
    """At 12 Hz there are five sweeps between key frames at 2 Hz; each belongs to the key frame after it."""
    spec = WorldSpec(
        scenes=1, keyframes=2, seed=0, image_size=(16, 24), preset="moderate", val_scenes=1, sweeps="all",
        version="v1.0-mini",
    )  # fmt: skip
    root = write_world(spec, tmp_path / "world", workers=1)
    samples, data = (json.loads((root / "v1.0-mini" / f"{n}.json").read_text()) for n in ("sample", "sample_data"))
    front = sorted((d for d in data if "CAM_FRONT/" in d["filename"]), key=lambda d: d["timestamp"])
    assert [d["is_key_frame"] for d in front] == [False, True, *[False] * 5, True, False]
    steps = np.diff([d["timestamp"] for d in front])
    assert np.abs(steps - 1e6 / 12).max() <= 1.0
    first, last = (s["token"] for s in samples)
    assert [d["sample_token"] for d in front] == [first] * 2 + [last] * 7


@pytest.mark.parametrize("seed", range(5))
def test_quaternions_describe_their_rotation(seed: int) -> None:
    """Against pyquaternion, for random rotations and for half turns, where w is 0."""
    from pyquaternion import Quaternion

    rng = np.random.default_rng(seed)
    for truth in (Quaternion(rng.normal(size=4)).unit, Quaternion(axis=rng.normal(size=3), degrees=180.0)):
        found = Quaternion(quaternion(truth.rotation_matrix))
        np.testing.assert_allclose(found.rotation_matrix, truth.rotation_matrix, atol=1e-9)
