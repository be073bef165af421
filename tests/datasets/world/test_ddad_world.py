"""A world in DDAD's format: what our reader of DGP files makes of it meets the exact truth."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gsocc.app.commands import world as command
from gsocc.datasets.ddad import DdadDataset, build_index
from gsocc.datasets.dgp_format import Sample, Scene, open_scene_dataset
from gsocc.datasets.world import DdadSpec, writer
from gsocc.datasets.world.ddad_frames import GROUND_REACH_M, REACH_M, build_ddad_scene
from gsocc.datasets.world.ddad_rig import CAMERAS, LIDAR, ddad_cameras
from gsocc.datasets.world.ddad_root import rfc3339
from gsocc.datasets.world.ddad_spec import NATIVE_SIZE
from gsocc.datasets.world.workers import run_tasks
from gsocc.datasets.world.writer import write_world
from gsocc.errors import OutputError, UserError
from gsocc.labels import RAW_TO_OCC3D

SPEC = DdadSpec(scenes=2, frames=2, seed=3, image_size=(38, 60), preset="moderate", val_scenes=1, exact=True)


@pytest.fixture(scope="session")
def street_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written world: a training and a validation scene of 2 samples at 38x60, exact truth included."""
    return write_world(SPEC, tmp_path_factory.mktemp("street") / "ddad", workers=1)


@pytest.fixture
def scene(street_root: Path) -> Scene:
    """The training scene, as our reader opens it."""
    return open_scene_dataset(street_root).scenes[0]


def test_splits_lie_in_the_folders_that_ddad_gives_them(street_root: Path) -> None:
    """Training scenes from 000000, validation scenes from 000150, each file named by the hash of its bytes."""
    assert [s.name for s in open_scene_dataset(street_root).scenes] == ["000000"]
    assert [s.name for s in open_scene_dataset(street_root, "val").scenes] == ["000150"]
    path = open_scene_dataset(street_root).scenes[0].path
    assert path.name == f"scene_{hashlib.sha1(path.read_bytes()).hexdigest()}.json"


def test_nothing_in_the_files_says_where_they_come_from(street_root: Path) -> None:
    """A reader that treats a synthetic scene differently must have looked into world.json."""
    for path in street_root.rglob("*.json"):
        if path.name != "world.json":
            assert not any(word in path.read_text().lower() for word in ("synth", "gsocc", "moderate"))


def test_stamps_are_ticks_of_100_ns_at_10_hz(scene: Scene) -> None:
    """The images are triggered together, off the scan by milliseconds but not by 22; poses move in between."""
    for before, after in pairwise(scene.samples):
        assert after.time_s - before.time_s == pytest.approx(0.1, abs=1e-3)
    for sample in scene.samples:
        assert sample.tick_s == 1e-7
        lags = {sample.image(camera).ticks - sample.ticks for camera in CAMERAS}
        assert len(lags) == 1 and 1_000 < abs(lags.pop()) < 220_000
        assert sample.point_cloud(LIDAR).path.stem == str(sample.ticks)


def test_ticks_are_written_as_the_format_has_them() -> None:
    """The stamp of a published scan, whose file is called by the same number."""
    assert rfc3339(15569195938203752) == "2463-05-15T00:38:58.203752Z"


def test_poses_agree_with_the_drive(scene: Scene) -> None:
    """Whatever the world's origin, the vehicle moves between any two recordings as the course says: to a nanometre."""
    ego = build_ddad_scene(SPEC, 0).ego
    data = [d for s in scene.samples for d in (s.point_cloud(LIDAR), s.image("CAMERA_01"), s.image("CAMERA_08"))]
    first = data[0]
    for other in data[1:]:
        motion = np.linalg.inv(first.vehicle_to_world) @ other.vehicle_to_world
        x0, y0, yaw0 = ego.pose(SPEC.time_s(0, first.ticks))
        x1, y1, yaw1 = ego.pose(SPEC.time_s(0, other.ticks))
        turn = np.array([[np.cos(yaw0), np.sin(yaw0)], [-np.sin(yaw0), np.cos(yaw0)]])
        np.testing.assert_allclose(motion[:2, 3], turn @ [x1 - x0, y1 - y0], atol=1e-9)
        assert np.arctan2(motion[1, 0], motion[0, 0]) == pytest.approx(yaw1 - yaw0, abs=1e-9)
        np.testing.assert_allclose(motion[2], [0, 0, 1, 0], atol=1e-9)
    assert np.linalg.norm(first.vehicle_to_world[:3, 3]) > 100.0


def test_calibration_is_that_of_the_rig(scene: Scene) -> None:
    """Lenses and mountings survive the file; those of another scene's car are a little different."""
    for sample in scene.samples:
        for camera in ddad_cameras(SPEC.image_size, SPEC.scene_seed(0)):
            image = sample.image(camera.name)
            np.testing.assert_allclose(image.intrinsics, camera.intrinsics)
            np.testing.assert_allclose(image.calibration.sensor_to_vehicle, camera.cam_to_ego, atol=1e-12)
            assert cv2.imread(str(image.path)).shape == (*SPEC.image_size, 3)
    one, other = (ddad_cameras(NATIVE_SIZE, SPEC.scene_seed(k)) for k in (0, 1))
    for a, b in zip(one, other, strict=True):
        assert 0.001 < np.linalg.norm(a.cam_to_ego - b.cam_to_ego) < 0.15
        assert 0.5 < np.linalg.norm(a.intrinsics - b.intrinsics) < 60.0


def test_the_front_camera_is_long_and_the_six_see_all_around() -> None:
    """Horizontal fields of view of 48 and 85 degrees; no gap between neighbours."""
    rig = ddad_cameras(NATIVE_SIZE, [0])
    field = {c.name: 2 * np.degrees(np.arctan(NATIVE_SIZE[1] / 2 / c.intrinsics[0, 0])) for c in rig}
    assert field["CAMERA_01"] == pytest.approx(48.0, abs=0.5)
    assert all(field[name] == pytest.approx(84.8, abs=0.8) for name in CAMERAS[1:])
    ring = sorted((np.degrees(np.arctan2(c.cam_to_ego[1, 2], c.cam_to_ego[0, 2])), field[c.name]) for c in rig)
    for (a, wide_a), (b, wide_b) in pairwise([*ring, (ring[0][0] + 360.0, ring[0][1])]):
        assert b - a < 0.5 * (wide_a + wide_b)


def _rays_through_points(sample: Sample, camera: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the depths of the LiDAR points in an image and their image points, by the poses of the files alone."""
    image, cloud = sample.image(camera), sample.point_cloud(LIDAR)
    lidar_to_cam = np.linalg.inv(image.sensor_to_world) @ cloud.sensor_to_world
    points = cloud.points @ lidar_to_cam[:3, :3].T + lidar_to_cam[:3, 3]
    points = points[points[:, 2] > 0.5]
    uv = (points @ image.intrinsics.T)[:, :2] / points[:, 2:]
    inside = ((uv > 0) & (uv < image.size[::-1])).all(-1)
    return points[inside, 2], uv[inside]


@pytest.mark.parametrize("camera", CAMERAS)
def test_lidar_projected_into_a_camera_meets_exact_depth(scene: Scene, camera: str) -> None:
    """A ray from the camera to a LiDAR point ends there to a millimetre, or before it where something hides the point.

    Without the vehicle's motion between the two stamps it would miss by up to 20 cm. What moves by itself is the
    exception, and rare.
    """
    sample, number = scene.samples[1], CAMERAS.index(camera)
    depth_m, uv = _rays_through_points(sample, camera)
    assert len(depth_m) > 500
    rig = ddad_cameras(SPEC.image_size, SPEC.scene_seed(0))[number]
    time_s = SPEC.time_s(0, sample.image(camera).ticks)
    caster = build_ddad_scene(SPEC, 0).snapshot(time_s, REACH_M, GROUND_REACH_M).caster
    exact = caster.cast(rig.cam_to_ego[:3, 3], rig.rays(uv[:, 0], uv[:, 1])).distance
    assert (np.abs(exact - depth_m) < 1e-3 + 1e-4 * depth_m).mean() > 0.5
    assert (exact > depth_m * 1.001 + 0.01).mean() < 0.03


def test_the_scan_is_one_cloud_all_around_the_vehicle(street_root: Path, scene: Scene) -> None:
    """Float64 x, y, z and intensity; the ground is z = 0, no point lies on the ego's own car or beyond 250 m."""
    with np.load(scene.samples[0].point_cloud(LIDAR).path) as file:
        data = file["data"]
    assert data.dtype == np.float64 and data.shape[1] == 4 and 30_000 < len(data) < 60_000
    assert data[:, 3].min() >= 0.0 and data[:, 3].max() <= 1.0
    distance = np.linalg.norm(data[:, :3], axis=-1)
    assert distance.max() < 252.0 and distance.max() > 60.0
    assert abs(np.median(data[data[:, 2] < 0.05, 2])) < 1e-4
    own = (np.abs(data[:, 1]) < 0.9) & (data[:, 0] > -1.0) & (data[:, 0] < 3.8) & (data[:, 2] > 0.2)
    assert not own.any()
    azimuth = np.degrees(np.arctan2(data[:, 1], data[:, 0]))
    assert (np.histogram(azimuth, 12, (-180, 180))[0] > 1000).all()


def test_masks_are_exactly_the_own_car(street_root: Path, scene: Scene) -> None:
    """The car is the scene's last object; the front camera looks over it, all others have it at the lower edge."""
    own_car = len(build_ddad_scene(SPEC, 0).objects) - 1
    share = {}
    for camera in CAMERAS:
        mask = cv2.imread(str(street_root / "truth" / "mask" / camera / scene.name / "mask.png"), cv2.IMREAD_UNCHANGED)
        for sample in scene.samples:
            stem = sample.image(camera).path.stem
            with np.load(street_root / "truth" / "views" / scene.name / camera / f"{stem}.npz") as view:
                np.testing.assert_array_equal(mask, np.where(view["owners"] == own_car, 255, 0))
        share[camera] = (mask > 0).mean()
        assert not (mask[: SPEC.image_size[0] // 3] > 0).any()
    assert share["CAMERA_01"] == 0.0
    assert all(0.01 < share[camera] < 0.35 for camera in CAMERAS[1:])


def test_the_own_car_stands_still_in_its_images(street_root: Path, scene: Scene) -> None:
    """Inside the mask the colours stay while the street goes by: what masks are estimated from."""
    for camera in ("CAMERA_07", "CAMERA_08", "CAMERA_09"):
        mask = cv2.imread(str(street_root / "truth" / "mask" / camera / scene.name / "mask.png"), cv2.IMREAD_UNCHANGED)
        before, after = (cv2.imread(str(s.image(camera).path)).astype(int) for s in scene.samples)
        inner = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
        change = np.abs(before - after).max(-1)
        assert np.percentile(change[inner], 95) <= 2
        assert change[mask == 0].mean() > 5 * change[inner].mean()


def test_semantic_files_hold_the_exact_classes(street_root: Path, scene: Scene) -> None:
    """int8 raw ids of image size, named after the image; mapped back they are the classes of the truth."""
    for camera in CAMERAS:
        stem = scene.samples[0].image(camera).path.stem
        raw = np.fromfile(street_root / "ddad_semantic" / scene.name / camera / f"{stem}_mask.bin", np.int8)
        with np.load(street_root / "truth" / "views" / scene.name / camera / f"{stem}.npz") as view:
            np.testing.assert_array_equal(np.asarray(RAW_TO_OCC3D)[raw.reshape(SPEC.image_size)], view["labels"])


def test_the_own_car_occupies_nothing(street_root: Path, scene: Scene) -> None:
    """Above the road below the car all is free; the road itself is there."""
    stem = scene.samples[0].image("CAMERA_01").path.stem
    path = street_root / "truth" / "gts" / scene.name / f"{scene.name}_{stem}" / "labels.npz"
    with np.load(path) as labels:
        semantics, seen = labels["semantics"], labels["mask_camera"]
    below = semantics[99:109, 98:102]  # x from -0.4 to 3.6 m, y from -0.8 to 0.8
    assert (below[..., 2] == 11).all() and (below[..., 3:7] == 17).all()
    assert 0.05 < seen.mean() < 0.5


def test_an_interrupted_world_goes_on(street_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the first sample: no ddad.json; the next run ends with the bytes of one that was not disturbed."""

    def stop_after_one(*arguments: object) -> Iterator:
        yield next(iter(run_tasks(*arguments)))
        raise KeyboardInterrupt

    out = tmp_path / "world"
    with monkeypatch.context() as patch:
        patch.setattr(writer, "run_tasks", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            write_world(SPEC, out, workers=1)
    assert not (out / "ddad.json").exists()
    write_world(SPEC, out, workers=1)
    files = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()} for root in (street_root, out)
    ]
    assert files[0] == files[1]


def test_another_folder_is_not_overwritten(street_root: Path, tmp_path: Path) -> None:
    """Neither another world nor anything that was there before."""
    with pytest.raises(OutputError, match=r"another world \(seed 3 instead of 4\)"):
        write_world(replace(SPEC, seed=4), street_root, workers=1)
    (tmp_path / "ddad.json").write_text("{}")
    with pytest.raises(OutputError, match=r"not empty \(it holds ddad.json\)"):
        write_world(SPEC, tmp_path, workers=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames: expected at least 1, got 0"),
        ({"image_size": (1217, 1936)}, "image_size: expected at most 1216x1936"),
        ({"image_format": "gif"}, "image_format: expected one of png, jpg, got 'gif'"),
        ({"scenes": 152}, "DDAD has 150 train scenes, got 151"),
        ({"preset": "huge"}, "preset: expected one of full, moderate, got 'huge'"),
    ],
)
def test_bad_arguments_are_refused(change: dict, message: str) -> None:
    """Each message says what was expected and what came."""
    with pytest.raises(UserError, match=message):
        replace(SPEC, **change)


def test_arguments_survive_their_file(street_root: Path) -> None:
    """`world.json` holds what a process that writes a part of the world is told."""
    assert DdadSpec.from_json(json.loads((street_root / "world.json").read_text())) == SPEC


@pytest.mark.slow
def test_the_command_writes_a_world_that_is_read_as_ddad(tmp_path: Path) -> None:
    """`gsocc world ddad OUT`, images as jpg, two processes; the exact masks lie as the data set wants them."""
    app, root = typer.Typer(), tmp_path / "w"
    app.command()(command.ddad)
    arguments = ["--scenes", "1", "--val-scenes", "0", "--frames", "3", "--image-format", "jpg", "--exact"]
    done = CliRunner().invoke(
        app, [str(root), *arguments, "--workers", "2", "--image-size", "19x30", "--preset", "moderate"]
    )
    assert done.exit_code == 0, done.output
    build_index(root)
    dataset = DdadDataset(
        root=root, split="train", image_size=(19, 30), parts=("lidar_depth", "semantics", "occupancy", "self_mask"),
        gts_root=root / "truth" / "gts", self_mask_root=root / "truth" / "mask",
    )  # fmt: skip
    sample = dataset[1]
    assert sample.frame_valid.all() and sample.images.shape[-2:] == (19, 30)
    assert sample.valid_mask is not None and sample.occupancy is not None
    view = dataset.camera_names.index("CAMERA_09")
    assert sample.valid_mask[view].float().mean() < 0.95 and sample.valid_mask[0].all()
    assert (sample.occupancy.semantics != 17).any()
