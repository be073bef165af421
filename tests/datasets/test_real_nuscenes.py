"""Real frames: 21 key-frame files of nuScenes v1.0-mini, an Occ3D label file, and masks of the vehicle.

Numbers come from the notes that lie beside the data. Skipped where the data are not.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsocc.datasets.index import open_index, pose_matrix
from gsocc.datasets.loader import make_loader
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.nuscenes_index import build_index
from gsocc.datasets.occ3d import occ3d_path, read_occ3d
from gsocc.errors import DataError
from gsocc.geometry.projection import project
from gsocc.geometry.sampling import sample_image
from gsocc.geometry.se3 import invert_rigid, transform_points

VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def root(real_data_root: Path) -> Path:
    return real_data_root / "nuscenes_mini_subset"


@pytest.fixture(scope="module")
def index_path(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_index(root, VERSION, tmp_path_factory.mktemp("real") / "index.npz")


def open_real(root: Path, index: Path, **options: Any) -> NuScenesDataset:
    return NuScenesDataset(**{"root": root, "index": index, "split": "mini_val", "image_size": (450, 800)} | options)


def test_key_frames_lie_half_a_second_and_four_metres_apart(root: Path, index_path: Path) -> None:
    """scene-0103: 0.500435 s, 4.261 m and -1.035 degrees of yaw between the ego poses of the two scans."""
    index = open_index(index_path, root)
    a, b = index.split_rows("mini_val").tolist()
    assert index.sample_next[a] == b and index.sample_prev[b] == a
    assert index.sample_time_us[b] - index.sample_time_us[a] == 500_435
    poses = pose_matrix(index.lidar_ego_to_global[[a, b]])
    motion = np.linalg.inv(poses[0]) @ poses[1]
    assert np.linalg.norm(motion[:3, 3]) == pytest.approx(4.261, abs=5e-4)
    assert np.degrees(np.arctan2(motion[1, 0], motion[0, 0])) == pytest.approx(-1.035, abs=5e-4)


def test_real_frames_batch_into_a_valid_rig(root: Path, index_path: Path, real_data_root: Path) -> None:
    """The mask of CAM_BACK leaves out 3.18 % of its pixels, the other five nothing."""
    masks = real_data_root / "self_masks" / "nuscenes_mask"
    data = open_real(root, index_path, parts=["lidar_depth", "self_mask"], self_mask_root=masks, image_size=(225, 400))
    (batch,) = make_loader(data, batch_size=2)
    batch.rig.validate()
    assert batch.images.shape == (2, 3, 6, 3, 225, 400)
    assert batch.frame_valid[:, :, 0].tolist() == [[True, False, True], [True, True, False]]
    assert 0.3 < batch.images.mean() < 0.5
    assert batch.valid_mask is not None
    masked = 1.0 - batch.valid_mask[0].float().mean((1, 2))
    assert masked[[0, 1, 2, 4, 5]].max() == 0.0
    assert masked[3] == pytest.approx(0.0318, abs=0.002)


def test_lidar_depth_agrees_with_the_official_devkit(root: Path, index_path: Path) -> None:
    """The devkit projects by its own chain of transforms and drops points nearer than 1 m or at the border.

    It moves float32 points through global coordinates of kilometres, which shifts them by some hundredths of a pixel:
    up to one point in a hundred falls on the neighbouring pixel.
    """
    from nuscenes.nuscenes import NuScenes

    devkit = NuScenes(VERSION, str(root), verbose=False)
    data = open_real(root, index_path, split="mini_train", parts=["lidar_depth"])
    sample = data[0]
    depth = sample.lidar_depth_m
    assert depth is not None and depth.shape == (6, 900, 1600)
    tokens = devkit.get("sample", sample.token)["data"]
    for view, camera in enumerate(data.camera_names):
        points, z_m, _ = devkit.explorer.map_pointcloud_to_image(tokens["LIDAR_TOP"], tokens[camera])
        u, v = np.floor(points[:2]).astype(int)
        ours = depth[view].numpy()[v, u]
        assert len(z_m) > 3000
        assert (np.abs(ours - z_m) < 1e-3).mean() > 0.99
        assert len(z_m) <= int((depth[view] > 0).sum()) < 1.01 * len(z_m)


def test_returns_from_the_vehicle_itself_are_left_out(root: Path, index_path: Path) -> None:
    """The second scan of scene-0103 has 687 of them, all within 1 m of CAM_BACK; the first was cleaned."""
    counts = [
        (open_real(root, index_path, parts=["lidar_depth"], depth_min_m=min_m, frame_ids=(0,))[1]).lidar_depth_m
        for min_m in (0.0, 1.0)
    ]
    near = [((depth > 0) & (depth < 1.0)).sum((1, 2)).tolist() for depth in counts if depth is not None]
    assert near[0][3] > 600 and sum(near[0]) == near[0][3]
    assert sum(near[1]) == 0


@pytest.mark.parametrize("view", range(6))
def test_lidar_depth_and_camera_motion_carry_pixels_into_the_next_image(
    root: Path, index_path: Path, view: int
) -> None:
    """Where the LiDAR knows the depth, the next key frame shows at the warped pixel what this one shows here.

    Colours correlate by 0.64 to 0.89; with the inverse motion by less than 0.45. So K, cam_to_ego, the poses of each
    image and the direction of `cam_motion` are right. The poses of nuScenes all have z = 0, although their rotations
    pitch: on this bridge that lifts the vehicle by 7 cm in 4.3 m (about 1 degree), up to 8 px of 450 at the railing.
    Taking the lift out makes the correlation better in every camera (0.10 -> 0.68 in CAM_BACK_RIGHT).
    """
    sample = open_real(root, index_path, parts=["lidar_depth"], depth_size=(450, 800), neighbours="keyframes")[0]
    assert sample.lidar_depth_m is not None
    depth = sample.lidar_depth_m[view]
    rows, columns = ((depth > 3.0) & (depth < 40.0)).nonzero(as_tuple=True)
    pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones(len(rows))], -1)
    points = (pixels @ torch.linalg.inv(sample.intrinsics[view]).T) * depth[rows, columns, None]

    def correlation(cam_motion: torch.Tensor) -> float:
        warped, z_m = project(transform_points(cam_motion, points), sample.intrinsics[view])
        inside = (z_m > 0) & (warped > 0).all(-1) & (warped < torch.tensor([800.0, 450.0])).all(-1)
        assert int(inside.sum()) > 400
        here = sample_image(sample.images[0, view][None], pixels[inside, :2][None, None])
        there = sample_image(sample.images[2, view][None], warped[inside][None, None])
        return float(torch.corrcoef(torch.stack([here.flatten(), there.flatten()]))[0, 1])

    cam_to_ego, motion = sample.cam_to_ego[view], sample.cam_motion[2, view]
    level = cam_to_ego @ motion @ invert_rigid(cam_to_ego)
    level[2, 3] = 0.0
    level = invert_rigid(cam_to_ego) @ level @ cam_to_ego
    assert correlation(level) > 0.6
    assert correlation(level) > correlation(motion)
    assert correlation(invert_rigid(level)) < 0.45


def test_occ3d_labels_hold_what_their_notes_say(real_data_root: Path) -> None:
    """Occupied 39092, mask_lidar 56601, mask_camera 43355, occupied inside mask_camera 22864."""
    path = occ3d_path(real_data_root / "occ3d_labels" / "gts", "scene-1077", "29796060110c4163b07f06eff4af0753")
    labels = read_occ3d(path)
    occupied = labels.semantics != 17
    assert labels.semantics.unique().tolist() == [0, 1, 3, 4, 6, 11, 13, 14, 15, 16, 17]
    counts = [m.sum().item() for m in (occupied, labels.mask_lidar, labels.mask_camera, occupied & labels.mask_camera)]
    assert counts == [39092, 56601, 43355, 22864]


def test_labels_of_another_occupancy_set_are_refused(real_data_root: Path) -> None:
    """OpenOcc: 16 is free, no masks, flow and instances beside."""
    path = real_data_root / "occ3d_labels" / "other_format" / "labels_openocc_flow.npz"
    with pytest.raises(DataError, match=r"lacks mask_camera, mask_lidar and holds flow, instances, semantics"):
        read_occ3d(path)
