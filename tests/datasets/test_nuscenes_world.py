"""The synthetic world through the reader: the exact truth that real data lack."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gsocc.datasets.loader import make_loader
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.geometry.projection import unproject
from gsocc.geometry.se3 import transform_points
from gsocc.labels import FREE
from gsocc.structures import OCC3D_GRID

pytestmark = pytest.mark.slow


def open_world(root: Path, **options: Any) -> NuScenesDataset:
    return NuScenesDataset(**{"root": root, "split": "train", "image_size": (48, 80)} | options)


def test_a_world_loads_with_every_part_and_keeps_its_splits_apart(tiny_world: Path) -> None:
    parts = ["lidar_depth", "semantics", "occupancy"]
    train = open_world(tiny_world, parts=parts)
    held_out = open_world(tiny_world, parts=parts, split="val")
    assert (len(train), len(held_out)) == (4, 2)
    assert not set(train.tokens) & set(held_out.tokens)
    (batch,) = make_loader(train, batch_size=4)
    batch.rig.validate()
    assert batch.frame_valid.all()  # the world has a sweep on either side of every key frame
    assert batch.occupancy is not None and batch.semantic_labels is not None


def test_projected_scans_are_the_depth_files_of_the_world(tiny_world: Path) -> None:
    """Two ways to one image: the scan through the index's poses, and what the world wrote next to it."""
    scans, files = (
        open_world(tiny_world, parts=["lidar_depth"], depth_from=source)[0].lidar_depth_m
        for source in ("lidar", "files")
    )
    assert scans is not None and files is not None
    assert int(((scans > 0) != (files > 0)).sum()) <= 0.002 * int((files > 0).sum())
    both = (scans > 0) & (files > 0)
    torch.testing.assert_close(scans[both], files[both], atol=1e-3, rtol=0)


def test_lidar_points_lie_in_occupied_voxels(tiny_world: Path) -> None:
    """Unprojected depth lands within one voxel of solid matter, through K, cam_to_ego and the grid."""
    sample = open_world(tiny_world, parts=["lidar_depth", "occupancy"], depth_size=(225, 375), frame_ids=(0,))[1]
    assert sample.lidar_depth_m is not None and sample.occupancy is not None
    k = sample.intrinsics * torch.tensor([375 / 80, 225 / 48, 1.0])[:, None]
    points = transform_points(sample.cam_to_ego, unproject(sample.lidar_depth_m, k).flatten(1, 2))
    index = OCC3D_GRID.to_index(points[sample.lidar_depth_m.flatten(1) > 0]).floor().long()
    inside = ((index >= 1) & (index < torch.tensor(OCC3D_GRID.shape) - 1)).all(-1)
    solid = (sample.occupancy.semantics != FREE).float()[None, None]
    near = torch.nn.functional.max_pool3d(solid, 3, stride=1, padding=1)[0, 0] > 0
    hit = near[tuple(index[inside].T)].float().mean()
    assert int(inside.sum()) > 3000
    assert hit > 0.97
