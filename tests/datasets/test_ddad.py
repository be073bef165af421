"""DDAD as surround samples: a root whose numbers are known, and TRI's own scenes where they lie beside the project."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dgp_files import CAMERA_HEIGHT_M, CAMERAS, SIZE, SPEED_M_S, YAWS_DEG, Parts, grey, write_dgp_root

from gsocc.datasets import build_dataset
from gsocc.datasets.ddad import DdadDataset, build_index, mask_path, semantic_path
from gsocc.datasets.ddad_index import pose_row
from gsocc.datasets.index import open_index, pose_matrix
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.datasets.loader import make_loader
from gsocc.datasets.split import SurroundDataConfig, open_split
from gsocc.errors import DataError
from gsocc.geometry.projection import project
from gsocc.geometry.sampling import sample_image
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.structures import SurroundSample


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of three samples, indexed; tests must not change them."""
    root = write_dgp_root(tmp_path_factory.mktemp("dgp") / "ddad")
    build_index(root)
    return root


def open_tiny(root: Path, **options: Any) -> DdadDataset:
    return DdadDataset(**{"root": root, "split": "train", "image_size": SIZE} | options)


def test_an_index_holds_the_ring_and_both_splits(root: Path) -> None:
    """Two scenes of three samples and six cameras, front first and then counter-clockwise; one scene for each split."""
    train, val = open_tiny(root), open_tiny(root, split="val")
    assert (
        train.camera_names == CAMERAS == ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
    )
    assert train.tokens == [f"000000_{15_569_195_900_000_000 + i * 10**6}" for i in range(3)]
    assert [val[i].scene for i in range(3)] == ["000001"] * 3
    assert len(open_tiny(root, split="all")) == 6
    with pytest.raises(DataError, match="expected one of train, val, all"):
        open_tiny(root, split="test")


def test_a_sample_holds_what_was_written(root: Path) -> None:
    """Images by their greys, the sample before and after, cameras by their yaw, K at half size."""
    sample = open_tiny(root, image_size=(SIZE[0] // 2, SIZE[1] // 2))[1]
    for time, step in enumerate((1, 0, 2)):
        for view in range(6):
            assert sample.images[time, view].unique().tolist() == pytest.approx([grey(0, step, view) / 255])
    assert sample.frame_valid.all()
    k = [[3.0, 0.0, 3.0], [0.0, 3.0, 2.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(sample.intrinsics[4], k)
    for view, camera in enumerate(CAMERAS):
        yaw = np.radians(YAWS_DEG[camera])
        np.testing.assert_allclose(sample.cam_to_ego[view, :3, 2], [np.cos(yaw), np.sin(yaw), 0.0], atol=1e-6)
        np.testing.assert_allclose(sample.cam_to_ego[view, :3, 3], [0.0, 0.0, CAMERA_HEIGHT_M], atol=1e-6)
    ends = [open_tiny(root)[i].frame_valid[:, 0].tolist() for i in (0, 2)]
    assert ends == [[True, False, True], [True, True, False]]


def test_stamps_are_ticks_of_100_ns_and_motion_is_that_of_each_camera(root: Path) -> None:
    """Neighbours are 0.1 s and 1 m away, although the stamps read literally say 1 s; each camera sees it aslant."""
    data = open_tiny(root)
    assert data.intervals_s(1) == pytest.approx([0.0, -0.1, 0.1], abs=2e-6)
    assert data.travel_m(1) == pytest.approx(0.1 * SPEED_M_S)
    sample = data[1]
    for view, camera in enumerate(CAMERAS):
        yaw = np.radians(YAWS_DEG[camera])
        ahead = [np.sin(yaw), 0.0, np.cos(yaw)]  # the vehicle's x in the camera's frame: right, down, forward
        np.testing.assert_allclose(sample.cam_motion[1, view, :3, 3], ahead, atol=1e-6)
        np.testing.assert_allclose(sample.cam_motion[2, view, :3, 3], np.negative(ahead), atol=1e-6)


def test_two_samples_away_is_known_too(root: Path) -> None:
    """The last of three samples from the first; nothing lies before the first."""
    sample = open_tiny(root, frame_ids=(0, -2, 2))[0]
    assert sample.frame_valid[:, 0].tolist() == [True, False, True]
    assert sample.images[2, 3].mean() == pytest.approx(grey(0, 2, 3) / 255)


def test_lidar_depth_goes_through_both_poses(root: Path) -> None:
    """A point 10.2 m ahead is that deep in front; behind, where the image is 15 ms younger, 8 m have become 8.15."""
    sample = open_tiny(root, parts=["lidar_depth"], frame_ids=(0,))[0]
    depth = sample.lidar_depth_m
    assert depth is not None
    assert depth[0].max() == pytest.approx(10.2, abs=1e-5)
    assert depth[3].max() == pytest.approx(8.0 + 0.015 * SPEED_M_S, abs=1e-5)
    last = open_tiny(root, parts=["lidar_depth"], frame_ids=(0,), depth_collisions="last")[0].lidar_depth_m
    assert last is not None
    np.testing.assert_array_equal(depth[0], last[0])  # the nearer point comes last in the file too
    assert int((depth[0] > 0).sum()) == 1
    assert KeyFrameReader(open_index(root / "gsocc_index_ddad.npz", root), root).read(
        sample.token, with_scan=True
    ).points_ego == pytest.approx(np.array([[20.2, 0.1, 1.4], [10.2, 0.1, 1.4], [-8.0, 0.1, 1.4]]))


def test_masks_are_those_of_the_scene_and_zero_is_valid(root: Path, tmp_path: Path) -> None:
    """The lower rows of one camera show the bonnet in one scene, the left columns in the other."""
    bonnets = {"000000": np.s_[6:], "000001": np.s_[:, :3]}
    for scene, bonnet in bonnets.items():
        for camera in CAMERAS:
            mask = np.zeros(SIZE, dtype=np.uint8)
            if camera == "CAMERA_09":
                mask[bonnet] = 255
            path = mask_path(tmp_path, camera, scene)
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), mask)
    data = open_tiny(root, split="all", parts=["self_mask"], self_mask_root=tmp_path, frame_ids=(0,))
    for number in (0, 3, 1):
        sample = data[number]
        assert sample.valid_mask is not None
        hidden = torch.zeros(6, *SIZE, dtype=torch.bool)
        hidden[3][bonnets[sample.scene]] = True
        assert torch.equal(~sample.valid_mask, hidden)
    with pytest.raises(DataError, match=r"mask/CAMERA_01/000000/mask.png: .*zero where valid"):
        open_tiny(root, parts=["self_mask"])[0]


def test_labels_are_found_by_scene_camera_and_image(root: Path, tmp_path: Path) -> None:
    """Raw 1 is a car, 16 sky; the names are those of the images."""
    data = open_tiny(root, parts=["semantics"], semantics_root=tmp_path, frame_ids=(0,))
    for view, camera in enumerate(CAMERAS):
        path = semantic_path(tmp_path, "000000", camera, data.image_files(1)[view].name)
        assert path.relative_to(tmp_path).as_posix() == f"000000/{camera}/15569195901000000_mask.bin"
        path.parent.mkdir(parents=True)
        np.full(SIZE, 16 if view else 1, dtype=np.int8).tofile(path)
    labels = data[1].semantic_labels
    assert labels is not None
    assert [plane.unique().tolist() for plane in labels] == [[4], *[[17]] * 5]


def test_a_run_opens_it_by_name(root: Path) -> None:
    """The configuration of both stages, the registry, and the loader."""
    config = SurroundDataConfig(dataset="ddad", root=root, image_size=SIZE)
    (batch, *_) = make_loader(open_split(config, "val"), batch_size=3)
    batch.rig.validate()
    assert batch.images.shape == (3, 3, 6, 3, *SIZE)
    assert isinstance(build_dataset("ddad", root=root, split="val", image_size=SIZE), DdadDataset)


def test_names_of_sensors_are_not_case_sensitive(tmp_path: Path) -> None:
    """The scene spells its sensors in lower case, the calibration in mixed case."""

    def respell(_: str, parts: Parts) -> None:
        for datum in parts["scene"]["data"]:
            datum["id"]["name"] = datum["id"]["name"].lower()
        parts["calibration"]["names"] = [name.capitalize() for name in parts["calibration"]["names"]]

    build_index(write_dgp_root(tmp_path, change=respell))
    assert open_tiny(tmp_path).camera_names == CAMERAS


def _lose_camera(scene: str, parts: Parts) -> None:
    """Take CAMERA_08 out of the second sample of the first scene, and out of all of the second scene."""
    for i, sample in enumerate(parts["scene"]["samples"]):
        if scene == "000001" or i == 1:
            sample["datum_keys"].remove(f"{i}CAMERA_08")


def test_samples_that_lack_a_sensor_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No neighbour lies beyond the gap: two samples away is no longer the motion of a tenth of a second."""
    build_index(write_dgp_root(tmp_path, change=_lose_camera))
    assert "4 samples lack sensors (sample 1 of scene 000000 has no CAMERA_08" in caplog.text
    data = open_tiny(tmp_path, split="all")
    assert len(data) == 2
    assert not any(data[i].frame_valid[1:].any() for i in range(2))
    with pytest.raises(DataError, match="split val has no key frames in ddad"):
        open_tiny(tmp_path, split="val")
    build_index(tmp_path, cameras=["camera_01", "camera_05"])
    assert open_tiny(tmp_path, split="all")[4].images.shape[:2] == (3, 2)
    with pytest.raises(DataError, match="no sample has all of CAMERA_02, LIDAR: 6 samples lack sensors"):
        build_index(tmp_path, cameras=["CAMERA_02"])


def _zoom(scene: str, parts: Parts) -> None:
    parts["scene"]["data"][7]["datum"]["image"]["height"] = 9


def _turn_columns(scene: str, parts: Parts) -> None:
    """Say that the first column of every scan is the intensity, by name or by the format's numbers."""
    names = ["INTENSITY", "X", "Y", "Z"] if scene == "000000" else [3, 0, 1, 2]
    for datum in parts["scene"]["data"]:
        if "point_cloud" in datum["datum"]:
            datum["datum"]["point_cloud"]["point_format"] = names


def _lose_column(scene: str, parts: Parts) -> None:
    parts["scene"]["data"][6]["datum"]["point_cloud"]["point_format"] = ["X", "Y", "INTENSITY", "RING"]


def _forget_size(scene: str, parts: Parts) -> None:
    del parts["scene"]["data"][0]["datum"]["image"]["width"]


def test_columns_of_scans_are_read_by_their_names(root: Path, tmp_path: Path) -> None:
    """The same points with the intensity first give the same depth images and returns, wherever scans are read."""
    turned = write_dgp_root(tmp_path / "ddad", change=_turn_columns)
    for path in turned.rglob("LIDAR/*.npz"):
        np.savez(path, data=np.load(path)["data"][:, [3, 0, 1, 2]])
    build_index(turned)
    options: dict[str, Any] = {"split": "all", "parts": ["lidar_depth"], "frame_ids": (0,)}
    for here, there in zip(open_tiny(root, **options), open_tiny(turned, **options), strict=True):
        assert here.lidar_depth_m is not None
        assert there.lidar_depth_m is not None
        assert torch.equal(here.lidar_depth_m, there.lidar_depth_m)
    readers = [KeyFrameReader(open_index(r / "gsocc_index_ddad.npz", r), r) for r in (root, turned)]
    for row in (0, 5):
        token = readers[0].index.token(row)
        returns = [reader.read(token, with_scan=True).points_ego for reader in readers]
        np.testing.assert_array_equal(returns[0], returns[1])
    assert readers[0].index.lidar_columns is None  # the usual order is not written down


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_zoom, "taken one after the other by one camera, differ in size or intrinsics"),
        (_lose_column, r"columns are X, Y, INTENSITY, RING; expected X, Y and Z among them, without Z points have no"),
        (_forget_size, "expected the scene to say its height and width"),
    ],
)
def test_scenes_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    """Before anything is written."""
    with pytest.raises(DataError, match=message):
        build_index(write_dgp_root(tmp_path, change=change))
    assert not (tmp_path / "gsocc_index_ddad.npz").exists()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """The index, an image, a scan; and a scene that changed since the index was built."""
    root = write_dgp_root(tmp_path)
    with pytest.raises(DataError, match=r"there is no index; build it: gsocc index ddad"):
        open_tiny(root)
    (root / "000001/point_cloud/LIDAR/15569196900000000.npz").unlink()
    with pytest.raises(DataError, match=r"1 of 6 LiDAR scans are missing .*pass --skip lidar"):
        build_index(root)
    build_index(root, skip=["lidar"])
    with pytest.raises(DataError, match=r"built without LiDAR; .*gsocc index ddad"):
        open_tiny(root, parts=["lidar_depth"])
    file = root / "000000" / "scene_0.json"
    file.write_text(file.read_text().replace("000", "001", 1))
    with pytest.raises(DataError, match=r"scene_0.json has other contents.*gsocc index ddad"):
        open_tiny(root)
    (root / "000000/rgb/CAMERA_05/15569195900000000.png").unlink()
    with pytest.raises(DataError, match="1 of 36 images are missing"):
        build_index(root, skip=["lidar"])


def test_quaternions_of_all_rotations_are_exact() -> None:
    """There and back, half turns about each axis included, where the scalar part vanishes."""
    quaternions = np.random.default_rng(0).normal(size=(50, 4))
    quaternions = np.concatenate([quaternions, np.eye(4), [[1e-9, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]])
    for quaternion in quaternions:
        matrix = pose_matrix(np.array([*quaternion, 400.0, -259.6, 12.5]))
        row = pose_row(matrix)
        np.testing.assert_allclose(pose_matrix(row), matrix, atol=1e-15)
        assert row[0] >= 0


@pytest.fixture(scope="module")
def real_root(real_data_root: Path) -> Path:
    root = real_data_root / "ddad_scenes" / "test_scene"
    if not root.is_dir():
        pytest.skip("the sample has no DDAD scenes")
    return root


@pytest.fixture(scope="module")
def real_index(real_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(real_root, tmp_path_factory.mktemp("real_ddad") / "index.npz")


def test_of_the_real_scenes_one_has_all_cameras(real_root: Path, real_index: Path) -> None:
    """scene_01 has three cameras and is left out; scene_02 drives 1.257 and 1.277 m between its scans."""
    index = open_index(real_index, real_root)
    assert [index.scene(row) for row in range(len(index))] == ["scene_02"] * 3
    places = pose_matrix(index.lidar_ego_to_global)[:, :3, 3]
    assert np.linalg.norm(np.diff(places, axis=0), axis=-1) == pytest.approx([1.257, 1.277], abs=1e-3)
    assert np.diff(index.sample_time_us) == pytest.approx([1e5, 1e5], rel=0.02)


def _correlation(sample: SurroundSample, view: int, cam_motion: torch.Tensor) -> float:
    """Correlate colours at LiDAR points with those where the motion takes them in the next image."""
    assert sample.lidar_depth_m is not None
    depth, k = sample.lidar_depth_m[view], sample.intrinsics[view]
    rows, columns = (depth > 0).nonzero(as_tuple=True)
    pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones(len(rows))], -1)
    points = (pixels @ torch.linalg.inv(k).T) * depth[rows, columns, None]
    warped, z_m = project(transform_points(cam_motion, points), k)
    inside = (z_m > 0) & (warped > 0).all(-1) & (warped < torch.tensor([968.0, 608.0])).all(-1)
    assert int(inside.sum()) > 2000
    here = sample_image(sample.images[0, view][None], pixels[inside, :2][None, None])
    there = sample_image(sample.images[2, view][None], warped[inside][None, None])
    return float(torch.corrcoef(torch.stack([here.flatten(), there.flatten()]))[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_real_depth_and_motion_carry_pixels_into_the_next_image(real_root: Path, real_index: Path, number: int) -> None:
    """Where the LiDAR knows the depth, the next image shows at the warped pixel what this one shows here.

    In all six cameras colours correlate better there than at the same pixel, and better than by the inverse motion.
    """
    sample = DdadDataset(
        root=real_root,
        index=real_index,
        split="val",
        image_size=(608, 968),
        depth_size=(608, 968),
        parts=["lidar_depth"],
    )[number]
    found = [
        [_correlation(sample, view, motion) for motion in (forward, torch.eye(4), invert_rigid(forward))]
        for view, forward in enumerate(sample.cam_motion[2])
    ]
    for warped, still, inverse in found:
        assert warped > 0.86, found
        assert warped > still, found
        assert still > inverse, found


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """Not a file below it, which would read as a damaged copy."""
    with pytest.raises(DataError, match="nowhere: no such folder"):
        build_index(tmp_path / "nowhere")
