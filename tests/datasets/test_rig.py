"""Any rig: from a folder of images and its `rig.yaml` to the samples that both stages read."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rig_files import CAMERAS, SIZE, rig_description, write_image, write_rig, write_rig_file

from gsocc.app.commands import index as command
from gsocc.app.paths import CONFIGS
from gsocc.config import load_config
from gsocc.datasets import build_dataset
from gsocc.datasets.index import read_index
from gsocc.datasets.rig import RigDataset
from gsocc.datasets.rig_file import RigConfig
from gsocc.datasets.rig_index import build_index
from gsocc.datasets.rig_recordings import EgoTrajectory, find_recordings
from gsocc.datasets.rig_undistort import straight_intrinsics
from gsocc.datasets.scans import read_scan
from gsocc.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_rig(tmp_path / "rig")


def opened(root: Path, **options: Any) -> RigDataset:
    build_index(root)
    return RigDataset(root=root, split="train", image_size=SIZE, **options)


def test_a_heading_turns_the_optical_axis_counter_clockwise_and_a_pitch_lowers_it() -> None:
    """By hand: a camera heading left looks along ego y, its right is ego x; looking down by 90 degrees is ego -z."""
    left = load(cam={"position_m": [0, 0, 1], "heading_deg": 90.0})
    np.testing.assert_allclose(left[:3, :3], [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)
    down = load(cam={"position_m": [0, 0, 1], "heading_deg": 0.0, "pitch_deg": 90.0})
    np.testing.assert_allclose(down[:3, 2], [0, 0, -1], atol=1e-12)
    rolled = load(cam={"position_m": [0, 0, 1], "heading_deg": 0.0, "roll_deg": 90.0})
    np.testing.assert_allclose(rolled[:3, 0], [0, 0, -1], atol=1e-12)


def load(cam: dict[str, Any]) -> np.ndarray:
    description = rig_description()
    description["cameras"]["front"]["cam_to_ego"] = cam
    return RigConfig.model_validate(description).cameras["front"].cam_to_ego.pose(camera=True)


def test_the_example_file_is_valid_and_its_three_ways_to_say_a_pose_agree() -> None:
    rig = load_config(CONFIGS / "rigs" / "example.yaml", RigConfig)
    poses = {name: camera.cam_to_ego.pose(camera=True) for name, camera in rig.cameras.items()}
    headings = {name: np.degrees(np.arctan2(pose[1, 2], pose[0, 2])) for name, pose in poses.items()}
    assert headings == pytest.approx({"front": 0, "left": 90, "rear": 180, "right": -90}, abs=1e-4)
    assert all(np.allclose(pose[:3, 1], (0, 0, -1), atol=1e-6) for pose in poses.values()), "image y points down"
    assert [name for name, camera in rig.cameras.items() if not camera.is_straight] == ["right"]


def test_moments_are_matched_in_time_and_carry_poses_of_their_own_instants(root: Path) -> None:
    """Cameras lag by 5 ms each; the vehicle moves by 1 m in 100 ms, so that poses of one moment differ by 5 cm."""
    dataset = opened(root, parts={"lidar_depth"}, depth_size=SIZE)
    assert dataset.camera_names == CAMERAS
    assert dataset.tokens == [f"a_img_{t:06d}" for t in (0, 100, 200, 300)]
    sample = dataset[1]
    assert sample.images.shape == (3, 3, 3, *SIZE)
    assert sample.timestamp_s == pytest.approx(0.1)
    # Ego moves by +y: in the front camera a point moves by +x, to the right.
    torch.testing.assert_close(sample.cam_motion[2, 0, :3, 3], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(sample.cam_motion[1, 0, :3, 3], torch.tensor([-1.0, 0.0, 0.0]))
    poses = read_index(root / "gsocc_index_rig.npz").image_ego_to_global[:3, 5]
    np.testing.assert_allclose(poses, [0.0, 0.05, 0.10])
    # 7 m ahead, and half a pixel beyond the middle of the image: pixel (12, 16).
    assert sample.lidar_depth_m is not None
    assert sample.lidar_depth_m[0].nonzero().tolist() == [[12, 16]]
    assert sample.lidar_depth_m[0, 12, 16] == pytest.approx(7.0)
    assert not dataset[0].frame_valid[1].any()


def test_neighbours_can_be_several_moments_away(root: Path) -> None:
    write_rig_file(root, time={"unit_s": 0.001, "step": 2})
    dataset = opened(root, frame_ids=(0, -1, 1))
    torch.testing.assert_close(dataset[1].cam_motion[2, 0, :3, 3], torch.tensor([2.0, 0.0, 0.0]))
    assert dataset[1].frame_valid.all(1).tolist() == [True, False, True]


def test_a_rig_without_poses_and_scans_is_still_a_data_set(root: Path) -> None:
    write_rig_file(root, ego_poses=None, lidar=None)
    dataset = opened(root)
    assert dataset.index.source.skipped == ("lidar", "poses")
    torch.testing.assert_close(dataset[0].cam_motion, torch.eye(4).expand(3, 3, 4, 4))
    with pytest.raises(DataError, match="built without LiDAR"):
        RigDataset(root=root, split="train", image_size=SIZE, parts={"lidar_depth"})


def test_a_moment_that_a_camera_missed_is_left_out_and_parts_its_neighbours(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "a/left/img_000105.png").unlink()
    dataset = opened(root)
    assert dataset.tokens == ["a_img_000000", "a_img_000200", "a_img_000300"]
    assert "left out 1 moments" in (said := capsys.readouterr().err) and "a/front/img_000100.png has no left" in said
    assert not dataset[0].frame_valid[1:].any(), "no neighbour beyond the gap"


def test_cameras_of_several_sizes_come_at_one(root: Path) -> None:
    for path in (root / "a/rear").iterdir():
        write_image(path, (16, 20))
    for path in (root / "b/rear").iterdir():
        write_image(path, (16, 20))
    description = rig_description()
    description["cameras"]["rear"] |= {"image_size": [16, 20], "intrinsics": [8.0, 8.0, 10.0, 8.0]}
    write_rig_file(root, cameras=description["cameras"])
    sample = opened(root, parts={"lidar_depth"})[0]
    assert sample.images.shape[-2:] == SIZE
    assert sample.lidar_depth_m is not None and sample.lidar_depth_m.shape == (3, *SIZE), "that of the first camera"
    torch.testing.assert_close(sample.intrinsics[2], torch.tensor([[8 * 1.6, 0, 16], [0, 8 * 1.5, 12], [0, 0, 1]]))


def test_derived_files_lie_where_those_of_ddad_do(root: Path) -> None:
    """Masks are zero where valid; labels are int8 raw ids, one file per image."""
    for camera in CAMERAS:
        mask = np.zeros(SIZE, np.uint8)
        mask[20:] = 255
        (root / "mask" / camera / "a").mkdir(parents=True)
        cv2.imwrite(str(root / "mask" / camera / "a" / "mask.png"), mask)
        for path in (root / "a" / camera).iterdir():
            labels = root / "semantics" / "a" / camera / f"{path.stem}_mask.bin"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_bytes(np.full(SIZE, 1, np.int8).tobytes())
    sample = opened(root, parts={"self_mask", "semantics"})[0]
    assert sample.valid_mask is not None and sample.semantic_labels is not None
    assert sample.valid_mask[:, :20].all() and not sample.valid_mask[:, 20:].any()
    assert (sample.semantic_labels == 4).all()


def test_the_index_is_stale_when_the_rig_file_changes(root: Path) -> None:
    opened(root)
    write_rig_file(root, time={"unit_s": 0.002})
    with pytest.raises(DataError, match=r"rig\.yaml has .* gsocc index rig"):
        build_dataset("rig", root=root, split="train", image_size=SIZE)


def test_the_command_says_what_it_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.rig(root, cache="12x16")
    said = capsys.readouterr().out
    assert "8 key frames of 2 scenes, 24 images" in said
    assert "24 images written at 12x16" in said


def _without_folder(root: Path) -> None:
    (root / "a/left").rename(root / "a/elsewhere")


def _same_time(root: Path) -> None:
    os.link(root / "a/front/img_000000.png", root / "a/front/x_0.png")


def _nameless(root: Path) -> None:
    os.link(root / "a/front/img_000000.png", root / "a/front/first.png")


def _other_size(root: Path) -> None:
    write_image(root / "a/left/img_000005.png", (48, 64))


def _no_image(root: Path) -> None:
    (root / "a/left/img_000005.png").write_bytes(b"\x89PNG nothing")


def _late(root: Path) -> None:
    for path in sorted((root / "a/left").iterdir(), reverse=True):
        path.rename(path.with_name(f"img_{int(path.stem[4:]) + 5000:06d}.png"))
    for path in sorted((root / "b/left").iterdir(), reverse=True):
        path.rename(path.with_name(f"img_{int(path.stem[4:]) + 5000:06d}.png"))


def _short_poses(root: Path) -> None:
    path = root / "a/poses.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:4]) + "\n")


def _bad_pose(root: Path) -> None:
    path = root / "a/poses.csv"
    path.write_text(path.read_text().replace("50, 0, 0.5", "50, zero, 0.5"))


def _no_column(root: Path) -> None:
    path = root / "a/poses.csv"
    path.write_text(path.read_text().replace("qw", "w"))


def _backwards(root: Path) -> None:
    path = root / "a/poses.csv"
    path.write_text(path.read_text().replace("\n100, ", "\n10, "))


def _no_rig_file(root: Path) -> None:
    (root / "rig.yaml").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_folder, "there is no such folder"),
        (_same_time, "x_0.png are of the same time|x_0.png and img_000000.png are of the same time"),
        (_nameless, "its name holds no number"),
        (_other_size, "is 48x64 .* multiply fx and cx by 2"),
        (_no_image, "is not a JPEG or PNG image"),
        (_late, "at no moment has every camera an image: .* has no left"),
        (_short_poses, "there is no pose after .* in the time of the images' names"),
        (_bad_pose, "line 3: expected 8 numbers"),
        (_no_column, "qw missing"),
        (_backwards, "line 4: time does not grow"),
        (_no_rig_file, r"copy configs/rigs/example\.yaml"),
    ],
)
def test_bad_folders_say_what_is_wrong_with_them(root: Path, spoil: Any, words: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=words):
        build_index(root)


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"intrinsics": [16.0, 16.0, 160.0, 12.0]}, "principal point .* outside of the image of 24x32"),
        ({"image_size": [32, 24], "intrinsics": [16.0, 16.0, 26.0, 12.0]}, r"image_size, which is \[H, W\]"),
        ({"intrinsics": [-16.0, 16.0, 16.0, 12.0]}, "positive focal lengths"),
        ({"cam_to_ego": {"position_m": [1700.0, 0, 1500.0], "heading_deg": 0}}, "positions are in metres"),
        ({"cam_to_ego": {"position_m": [1.7, 0, 1.5]}}, "quaternion_wxyz or heading_deg"),
        ({"cam_to_ego": {"matrix": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}}, r"determinant \+1"),
        ({"cam_to_ego": {"position_m": [1, 0, 1], "quaternion_wxyz": [1, 1, 0, 0]}}, "expected a unit quaternion"),
        ({"images": "front"}, r"the same for all 2 scenes; put \{scene\}"),
        ({"images": "../{scene}/front"}, "below the root"),
        ({"images": "{scene}/left"}, "two of them have their images"),
        ({"distortion": [0.1, 0.2]}, "has 4 or 5 or 8"),
        ({"focal": 3.0}, "focal"),
    ],
)
def test_bad_rig_files_name_key_and_remedy(root: Path, camera: dict[str, Any], words: str) -> None:
    description = rig_description()
    description["cameras"]["front"] |= camera
    write_rig_file(root, cameras=description["cameras"])
    with pytest.raises(ConfigError, match=words):
        build_index(root)


def test_bent_lenses_are_refused_or_straightened(root: Path) -> None:
    """A straight wall seen through a barrel lens is straight again in the copies that the index then lists."""
    description = rig_description()
    height, width = 96, 128
    bent = {"image_size": [height, width], "intrinsics": [60.0, 60.0, 64.0, 48.0], "distortion": [-0.2, 0.02, 0, 0]}
    description["cameras"]["front"] |= bent
    write_rig_file(root, cameras=description["cameras"])
    camera = RigConfig.model_validate(description).cameras["front"]
    # The pixels of the plane y = 0.5 z, seen by the bent lens.
    x = np.linspace(-2, 2, 4001)
    rays = np.stack([x, np.full_like(x, 0.5), np.ones_like(x)], -1)
    pixels, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion))
    image = np.zeros((height, width, 3), np.uint8)
    cv2.polylines(image, [np.rint(pixels[(np.abs(x) < 1.2)] * 8).astype(np.int32)], False, (255, 255, 255), 2, shift=3)
    for path in [*(root / "a/front").iterdir(), *(root / "b/front").iterdir()]:
        cv2.imwrite(str(path), image)
    with pytest.raises(DataError, match=r"gsocc index rig .* --undistort"):
        build_index(root)
    build_index(root, undistort=True)
    dataset = RigDataset(root=root, split="train", image_size=(height, width))
    assert dataset.image_files(0)[0] == root / "undistorted/a/front/img_000000.png"
    seen = dataset[0].images[0, 0, 0].numpy()
    k = straight_intrinsics(camera)
    row = 0.5 * k[1, 1] + k[1, 2]
    columns = (seen.max(0) > 0.5).nonzero()[0][8:-8]  # the ends of the stroke are round
    centre = (seen[:, columns] * np.arange(height)[:, None]).sum(0) / seen[:, columns].sum(0)
    assert len(columns) > 60
    np.testing.assert_allclose(centre, row, atol=0.8)  # the stroke is two pixels wide
    curved = (image[..., 0] * np.arange(height)[:, None]).sum(0) / np.maximum(image[..., 0].sum(0), 1)
    assert np.ptp(curved[columns]) > 1.5, "the original is bent by more than the tolerance"


def test_poses_are_interpolated_along_a_straight_way_and_an_even_turn(tmp_path: Path) -> None:
    """Half-way between headings of 0 and 90 degrees is 45; the longer way round (-q) is not taken."""
    s = np.sqrt(0.5)
    (tmp_path / "p.csv").write_text(f"time,x,y,z,qw,qx,qy,qz\n0,0,0,0,1,0,0,0\n0.5,2,4,0,{-s},0,0,{-s}\n")
    pose = EgoTrajectory(tmp_path / "p.csv", 1.0).at(250_000)
    half = np.radians(22.5)
    np.testing.assert_allclose(pose, [np.cos(half), 0, 0, np.sin(half), 1, 2, 0], atol=1e-12)


def test_times_of_names_keep_every_digit_of_nanoseconds(tmp_path: Path) -> None:
    for name in ("cam0_1700000000123456789.png", "cam0_1700000000123459789.png"):
        write_image(tmp_path / "x" / name, SIZE)
    assert find_recordings(tmp_path, "x", (".png",), 1e-9).times_us.tolist() == [1700000000123456, 1700000000123459]
    for name in ("12.25.png", "12.5.png"):
        write_image(tmp_path / "y" / name, SIZE)
    assert find_recordings(tmp_path, "y", (".png",), 1.0).times_us.tolist() == [12_250_000, 12_500_000]


def test_scans_of_other_sensors_are_read(tmp_path: Path) -> None:
    """KITTI's bin holds four float32 per point; what is neither is refused."""
    points = np.arange(12, dtype=np.float32).reshape(3, 4)
    points.tofile(tmp_path / "1.bin")
    np.save(tmp_path / "2.npy", points)
    for name in ("1.bin", "2.npy"):
        np.testing.assert_array_equal(read_scan(tmp_path / name), points[:, :3])
    (tmp_path / "3.bin").write_bytes(b"123456")
    np.save(tmp_path / "4.npy", points.astype(int))
    np.save(tmp_path / "5.npy", np.full((2, 3), np.nan))
    for name, words in (
        ("3.bin", "four float32"),
        ("4.npy", "expected floats"),
        ("5.npy", "not finite"),
        ("6.npy", "missing"),
    ):
        with pytest.raises(DataError, match=words):
            read_scan(tmp_path / name)


def test_a_fisheye_becomes_a_pinhole_whose_rays_are_those_of_the_lens(root: Path) -> None:
    """Equidistant lens (k = 0): a ray at angle t falls f t from the centre; in the copy it falls f' tan t from it."""
    description = rig_description()
    height, width = 96, 128
    lens = {"image_size": [height, width], "intrinsics": [50.0, 50.0, 64.0, 48.0], "lens": "fisheye"}
    description["cameras"]["front"] |= lens | {"distortion": [0.0, 0.0, 0.0, 0.0]}
    write_rig_file(root, cameras=description["cameras"])
    angle = 0.6
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, (round(64 + 50 * angle), 48), 2, (255, 255, 255), -1)
    for path in [*(root / "a/front").iterdir(), *(root / "b/front").iterdir()]:
        cv2.imwrite(str(path), image)
    with pytest.raises(DataError, match="--undistort"):
        build_index(root)
    build_index(root, undistort=True)
    dataset = RigDataset(root=root, split="train", image_size=(height, width), frame_ids=(0,))
    seen = dataset[0].images[0, 0, 0].numpy()
    k = dataset[0].intrinsics[0].numpy()
    row, column = (float((seen * axis).sum() / seen.sum()) for axis in np.indices(seen.shape))
    assert column == pytest.approx(k[0, 0] * np.tan(angle) + k[0, 2], abs=1.0)
    assert row == pytest.approx(k[1, 2], abs=0.7)
    kept = (root / "undistorted/a/front/img_000000.png").stat().st_mtime_ns
    build_index(root, undistort=True)
    assert (root / "undistorted/a/front/img_000000.png").stat().st_mtime_ns == kept, "written once"
