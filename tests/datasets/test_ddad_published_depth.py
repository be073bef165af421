"""LiDAR depth of DDAD drawn as its published depth files were, on real samples."""

from pathlib import Path

import pytest

from gsocc.datasets.ddad import DdadDataset, build_index


def test_published_depth_is_dgps_own(real_data_root: Path, tmp_path: Path) -> None:
    """Pixels that TRI's dgp fills in CAMERA_01 of scene_01's three steps: 4822, 4783, 4816; floor fills fewer."""
    root = real_data_root / "ddad_scenes" / "test_scene"
    if not root.is_dir():
        pytest.skip("the sample has no DDAD scenes")
    cameras = ("CAMERA_01", "CAMERA_05", "CAMERA_06")
    index = build_index(root, tmp_path / "index.npz", cameras=cameras)
    data = DdadDataset(
        root=root, index=index, split="train", image_size=(48, 80), frame_ids=(0,), parts=("lidar_depth",)
    )
    data.keep([n for n, token in enumerate(data.tokens) if token.startswith("scene_01")])
    published = [int((data.released_lidar_depth(n)[0] > 0).sum()) for n in range(3)]
    assert published == [4822, 4783, 4816]
    assert int((data[0].lidar_depth_m[0] > 0).sum()) <= 4818
