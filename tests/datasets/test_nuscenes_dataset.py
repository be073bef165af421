"""Surround samples of a miniature nuScenes root whose numbers can be worked out by hand."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from gsocc.datasets import DATASETS, build_dataset
from gsocc.datasets.images import BadImageError
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.nuscenes_index import build_index
from gsocc.errors import DataError
from gsocc.labels import FREE, IGNORE, OCC3D_ID
from gsocc.structures import collate

SIZE = (24, 40)


def dataset(root: Path, **options: Any) -> NuScenesDataset:
    return NuScenesDataset(**{"root": root, "split": "train", "image_size": SIZE} | options)


def level(image: torch.Tensor) -> int:
    """Return the grey value of a flat image, which tells which file it came from."""
    return round(float(image.mean()) * 255)


def test_images_are_the_key_frame_and_the_sweeps_around_it(mini_root: Path) -> None:
    """The grey value of camera c at step s is 20 + 30 s + 10 (c mod 3); key frame 1 is step 2."""
    sample = dataset(mini_root)[1]
    assert sample.images.shape == (3, 6, 3, *SIZE)
    assert [[level(sample.images[t, v]) for v in (0, 1)] for t in range(3)] == [[80, 90], [50, 60], [110, 120]]
    assert sample.frame_valid.all()
    assert (sample.token, sample.scene, sample.timestamp_s) == ("scene-0061-key1", "scene-0061", 1000.5)
    assert sample.frame_ids == (0, -1, 1)


def test_neighbours_may_be_key_frames(mini_root: Path) -> None:
    sample = dataset(mini_root, neighbours="keyframes", frame_ids=(0, 1, -1))[1]
    assert [level(sample.images[t, 0]) for t in range(3)] == [80, 140, 20]


def test_a_missing_neighbour_is_a_copy_that_does_not_move_and_is_not_valid(mini_root: Path) -> None:
    first, last = (dataset(mini_root)[i] for i in (0, 2))
    assert first.frame_valid.tolist() == [[True] * 6, [False] * 6, [True] * 6]
    assert last.frame_valid.tolist() == [[True] * 6, [True] * 6, [False] * 6]
    assert torch.equal(first.images[1], first.images[0])
    assert torch.equal(first.cam_motion[1], torch.eye(4).expand(6, 4, 4))


@pytest.mark.parametrize(("neighbours", "seconds"), [("sweeps", 0.25), ("keyframes", 0.5)])
def test_cam_motion_is_the_way_of_a_standing_point_in_the_camera(
    mini_root: Path, neighbours: str, seconds: float
) -> None:
    """At 10 m/s a standing point comes nearer by 10 dt in front, recedes behind: camera z changes by -+10 dt.

    At 60 degrees to the left, the travel of d splits into d cos 60 towards the camera and d sin 60 to the left.
    """
    motion = dataset(mini_root, neighbours=neighbours)[1].cam_motion
    way_m = 10.0 * seconds
    assert torch.equal(motion[0], torch.eye(4).expand(6, 4, 4))
    for time, sign in ((1, 1.0), (2, -1.0)):
        torch.testing.assert_close(motion[time, 0, :3, 3], torch.tensor([0.0, 0.0, sign * way_m]), atol=1e-5, rtol=0)
        torch.testing.assert_close(motion[time, 3, :3, 3], torch.tensor([0.0, 0.0, -sign * way_m]), atol=1e-5, rtol=0)
        expected = sign * way_m * torch.tensor([np.sin(np.pi / 3), 0.0, 0.5], dtype=torch.float32)
        torch.testing.assert_close(motion[time, 1, :3, 3], expected, atol=1e-5, rtol=0)


def test_cam_to_ego_points_each_camera_where_it_looks(mini_root: Path) -> None:
    sample = dataset(mini_root, frame_ids=(0,))[0]
    forward = sample.cam_to_ego[:, :3, 2]
    yaws = torch.deg2rad(torch.tensor([0.0, 60.0, 120.0, 180.0, -120.0, -60.0]))
    expected = torch.stack([yaws.cos(), yaws.sin(), torch.zeros(6)], -1)
    torch.testing.assert_close(forward, expected, atol=1e-6, rtol=0)
    down = sample.cam_to_ego[:, :3, 1]
    torch.testing.assert_close(down, torch.tensor([0.0, 0.0, -1.0]).expand(6, 3), atol=1e-6, rtol=0)


def test_intrinsics_follow_crop_and_resize(mini_root: Path) -> None:
    """Cutting 4 rows and 10 columns moves the centre; halving halves every number. No half-pixel term."""
    k = dataset(mini_root, image_size=(10, 10), crop=(4, 10, 20, 20))[0].intrinsics[0]
    torch.testing.assert_close(k, torch.tensor([[10.0, 0.0, 5.25], [0.0, 10.0, 4.25], [0.0, 0.0, 1.0]]))


def test_a_crop_outside_the_image_is_refused(mini_root: Path) -> None:
    with pytest.raises(ValueError, match=r"must lie inside the 24x40 \(HxW\) image, got \(4, 10, 24, 20\)"):
        dataset(mini_root, crop=(4, 10, 24, 20))


def test_lidar_points_travel_from_the_time_of_the_scan_to_that_of_the_image(mini_root: Path) -> None:
    """A point 10 m ahead of the LiDAR, 1.5 m above the road, is level with the cameras: it falls on row 12.

    CAM_FRONT fires with the scan: z = 10, column 20. The point at 20 m falls on the same pixel and is hidden. CAM_BACK
    fires 30 ms later, 0.3 m further on: the point 8 m behind is then 8.3 m away.
    """
    depth = dataset(mini_root, parts=["lidar_depth"])[0].lidar_depth_m
    assert depth is not None and depth.shape == (6, *SIZE)
    assert depth.count_nonzero() == 2
    torch.testing.assert_close(depth[0, 12, 20], torch.tensor(10.0))
    torch.testing.assert_close(depth[3, 12, 20], torch.tensor(8.3))


def test_depth_can_be_drawn_smaller_and_as_the_published_files_have_it(mini_root: Path) -> None:
    depth = dataset(mini_root, parts=["lidar_depth"], depth_size=(6, 10), depth_collisions="last")[0].lidar_depth_m
    assert depth is not None and depth.shape == (6, 6, 10)
    assert depth[0, 3, 5] == 20.0  # the scan lists the far point after the near one


def test_depth_files_are_read_and_resampled(mini_root: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "parts": ["lidar_depth"],
        "depth_from": "files",
        "depth_root": tmp_path,
        "frame_ids": (0,),
    }
    files = dataset(mini_root, **options)
    with pytest.raises(DataError, match="no depth file for this image"):
        files[0]
    for path in files.image_files(0):
        depth_m = np.zeros(SIZE, dtype=np.float32)
        depth_m[8:12, 12:16] = 7.0
        depth_m[9, 13] = 5.0
        out = tmp_path / path.relative_to(mini_root).with_suffix(".npy")
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, depth_m)
    whole = files[0].lidar_depth_m
    assert whole is not None and whole.count_nonzero() == 6 * 16
    small = dataset(mini_root, depth_size=(6, 10), **options)[0].lidar_depth_m
    assert small is not None and small.count_nonzero() == 6
    assert small[0, 2, 3] == 5.0  # the nearest of the sixteen
    np.save(out, np.zeros((3, 3), dtype=np.float32))
    with pytest.raises(DataError, match=r"expected depth of shape \(24, 40\) \(H, W\), got \(3, 3\)"):
        files[0]
    np.save(out, np.full(SIZE, np.nan, dtype=np.float32))
    with pytest.raises(DataError, match="must be finite"):
        files[0]


def test_semantic_labels_are_occ3d_ids_and_unlabelled_stays_unlabelled(mini_root: Path) -> None:
    """Raw 16 is sky, raw 2 is road; raw -1 would wrap to sky in the published loaders."""
    labels = dataset(mini_root, parts=["semantics"])[0].semantic_labels
    assert labels is not None and labels.shape == (6, *SIZE)
    assert (labels[:, :, 0] == IGNORE).all()
    assert (labels[:, :12, 1:] == FREE).all()
    assert (labels[:, 12:, 1:] == OCC3D_ID["driveable_surface"]).all()


def test_semantic_labels_resize_to_the_pixel_under_the_centre(mini_root: Path) -> None:
    """Of each block of 4x4 the pixel at (2, 2) is taken, so that the first column, without labels, is not."""
    labels = dataset(mini_root, parts=["semantics"], semantic_size=(6, 10))[0].semantic_labels
    assert labels is not None and labels.shape == (6, 6, 10)
    assert (labels[:, :3] == FREE).all() and (labels[:, 3:] == OCC3D_ID["driveable_surface"]).all()


def test_occupancy_labels_and_masks_are_read(mini_root: Path) -> None:
    occupancy = dataset(mini_root, parts=["occupancy"])[0].occupancy
    assert occupancy is not None
    assert (occupancy.semantics[:, :, 2] == OCC3D_ID["driveable_surface"]).all()
    assert not occupancy.mask_camera[:100].any() and occupancy.mask_camera[100:].all()
    assert occupancy.mask_lidar.dtype == torch.bool


def test_self_masks_exclude_pixels_that_show_the_vehicle_in_part(mini_root: Path) -> None:
    """The last 4 of 24 rows of CAM_BACK are masked: at 5 rows, the last one is 80 % covered, at 6 exactly."""
    six = dataset(mini_root, parts=["self_mask"], image_size=(6, 10))[0].valid_mask
    five = dataset(mini_root, parts=["self_mask"], image_size=(5, 10))[0].valid_mask
    assert six is not None and five is not None
    for mask in (six, five):
        assert mask[[0, 1, 2, 4, 5]].all()
        assert mask[3, :-1].all() and not mask[3, -1].any()


def test_optional_parts_are_read_only_when_asked_for(mini_root: Path, broken_root: Path) -> None:
    for folder in ("gts", "nuscenes_semantic", "self_masks", "samples/LIDAR_TOP"):
        shutil.rmtree(broken_root / folder)
    index = mini_root / "gsocc_index_v1.0-trainval.npz"
    sample = dataset(broken_root, index=index)[0]
    assert sample.lidar_depth_m is sample.semantic_labels is sample.occupancy is sample.valid_mask is None
    for part, message in (
        ("occupancy", "no Occ3D labels"),
        ("semantics", "no semantic labels"),
        ("self_mask", "no readable self-occlusion mask"),
        ("lidar_depth", "LiDAR scan is missing"),
    ):
        with pytest.raises(DataError, match=message):
            dataset(broken_root, index=index, parts=[part])[0]


def test_samples_collate_into_a_rig_that_validates(mini_root: Path) -> None:
    data = dataset(mini_root, parts=["lidar_depth", "semantics", "occupancy", "self_mask"])
    batch = collate([data[0], data[1]])
    batch.rig.validate()
    assert batch.images.shape == (2, 3, 6, 3, *SIZE)
    assert batch.occupancy is not None and batch.occupancy.semantics.shape == (2, 200, 200, 16)


def test_jitter_touches_only_network_images_and_depends_on_seed_epoch_and_index(mini_root: Path) -> None:
    data = dataset(mini_root, color_jitter=1.0, seed=3)
    first = data[0]
    assert not torch.equal(first.network_images, first.images[0])
    assert torch.equal(first.images, dataset(mini_root)[0].images)
    assert torch.equal(first.network_images, data[0].network_images)
    data.set_epoch(1)
    assert not torch.equal(first.network_images, data[0].network_images)
    data.set_epoch(0)
    assert torch.equal(first.network_images, data[0].network_images)
    assert not torch.equal(first.network_images, dataset(mini_root, color_jitter=1.0, seed=4)[0].network_images)


def test_half_of_the_samples_are_jittered_at_probability_one_half(mini_root: Path) -> None:
    """200 fair draws lie within 100 +- 35 (five standard deviations)."""
    data = dataset(mini_root, color_jitter=0.5, frame_ids=(0,), image_size=(2, 4))
    changed = 0
    for epoch in range(200):
        data.set_epoch(epoch)
        sample = data[0]
        changed += not torch.equal(sample.network_images, sample.images[0])
    assert 65 < changed < 135


def test_jitter_is_the_same_for_all_cameras(mini_root: Path) -> None:
    """Cameras 0 and 3 of a key frame have the same grey, and keep having it."""
    sample = dataset(mini_root, color_jitter=1.0)[1]
    torch.testing.assert_close(sample.network_images[0], sample.network_images[3])


def test_tokens_restrict_and_order_a_split(mini_root: Path) -> None:
    data = dataset(mini_root, tokens=["scene-0061-key2", "scene-0061-key0"])
    assert data.tokens == ["scene-0061-key2", "scene-0061-key0"] and data[0].token == "scene-0061-key2"
    with pytest.raises(DataError, match=r"2 of 3 listed .* split train .*\(nope, scene-0103-key0\); 1 of them belong"):
        dataset(mini_root, tokens=["nope", "scene-0103-key0", "scene-0061-key0"])
    with pytest.raises(DataError, match="list of tokens is empty"):
        dataset(mini_root, tokens=[])


def test_options_that_make_no_sense_are_refused(mini_root: Path) -> None:
    with pytest.raises(ValueError, match=r"frame_ids: expected 0 first, .* got \(-1, 0\)"):
        dataset(mini_root, frame_ids=(-1, 0))
    with pytest.raises(ValueError, match=r"parts: expected lidar_depth or .*, got radar"):
        dataset(mini_root, parts=["radar"])
    with pytest.raises(ValueError, match="dataset: expected one of nuscenes, ddad, rig, got 'kitti'"):
        build_dataset("kitti")
    assert len(build_dataset("nuscenes", root=mini_root, split="val", image_size=SIZE)) == 2
    assert "nuscenes" in DATASETS


def test_an_index_without_sweeps_or_lidar_says_so(broken_root: Path) -> None:
    build_index(broken_root, skip=["sweeps", "lidar"])
    with pytest.raises(
        DataError, match="built without sweeps; use neighbours: keyframes, or build it again: gsocc index"
    ):
        dataset(broken_root)
    with pytest.raises(DataError, match="built without LiDAR; use depth_from: files"):
        dataset(broken_root, neighbours="keyframes", parts=["lidar_depth"])
    assert dataset(broken_root, neighbours="keyframes")[1].frame_valid.all()


def damage(root: Path, content: bytes | None) -> Path:
    """Replace the first front image of scene-0061 (None: by an image of another size)."""
    path = root / "samples/CAM_FRONT/scene-0061__CAM_FRONT__1000000000.jpg"
    if content is None:
        cv2.imwrite(str(path), np.zeros((24, 44, 3), dtype=np.uint8))
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kept_bytes", "message"), [(0, "is empty"), (-1, "is cut short"), (-2, "is cut short"), (300, "is cut short")]
)
def test_truncated_images_are_named(broken_root: Path, mini_root: Path, kept_bytes: int, message: str) -> None:
    path = damage(broken_root, b"")
    path.write_bytes((mini_root / path.relative_to(broken_root)).read_bytes()[:kept_bytes])
    with pytest.raises(BadImageError, match=f"{path}: .*{message}"):
        dataset(broken_root, index=mini_root / "gsocc_index_v1.0-trainval.npz")[0]


def test_files_that_are_no_images_or_of_another_size_are_named(broken_root: Path, mini_root: Path) -> None:
    data = dataset(broken_root, index=mini_root / "gsocc_index_v1.0-trainval.npz")
    path = damage(broken_root, b"not a picture")
    with pytest.raises(BadImageError, match=f"{path}: is not a JPEG or PNG image"):
        data[0]
    damage(broken_root, None)
    with pytest.raises(DataError, match=rf"{path}: expected an image of 24x40 \(HxW\) .*, got 24x44"):
        data[0]
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: the image is missing"):
        data[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0] * 7, "expected a whole number of points of 20 bytes .* got 28 bytes"),
        ([], "got 0 bytes"),
        ([1.0] * 5 + [float("nan")] * 5, "1 of 2 points are not finite, the first at row 1"),
        ([float("inf")] + [0.0] * 4, "1 of 1 points are not finite"),
    ],
)
def test_damaged_scans_are_named(mini_root: Path, broken_root: Path, values: list[float], message: str) -> None:
    path = broken_root / "samples/LIDAR_TOP/scene-0061__LIDAR_TOP__1000000000.pcd.bin"
    np.array(values, dtype=np.float32).tofile(path)
    data = dataset(broken_root, index=mini_root / "gsocc_index_v1.0-trainval.npz", parts=["lidar_depth"])
    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        data[0]


def test_damaged_semantic_labels_are_named(mini_root: Path, broken_root: Path) -> None:
    path = broken_root / "nuscenes_semantic/samples/CAM_FRONT/scene-0061__CAM_FRONT__1000000000_mask.bin"
    data = dataset(broken_root, index=mini_root / "gsocc_index_v1.0-trainval.npz", parts=["semantics"])
    raw = np.fromfile(path, dtype=np.int8)
    raw[:3] = 17, 0, -2
    raw.tofile(path)
    with pytest.raises(DataError, match=rf"{path}: unknown class ids \[0, 17, -2\]; expected -1 or 1..16"):
        data[0]
    raw[1:].tofile(path)
    with pytest.raises(DataError, match=r"expected 960 bytes, one per pixel of a 24x40 .* image, got 959"):
        data[0]
