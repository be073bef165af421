"""Key frames without images: poses of a scene, scans in the ego frame, order of time."""

from pathlib import Path

import numpy as np
import pytest

from gsocc.datasets.index import find_index, pose_matrix, read_index
from gsocc.datasets.key_frames import KeyFrameReader
from gsocc.errors import DataError
from gsocc.labels import FREE
from gsocc.structures import OCC3D_GRID


@pytest.fixture(scope="module")
def reader(tiny_world: Path) -> KeyFrameReader:
    return KeyFrameReader(read_index(find_index(tiny_world)), tiny_world)


def test_a_key_frame_knows_its_scene_its_place_in_it_and_its_neighbour(reader: KeyFrameReader) -> None:
    """Two key frames per scene: the first has none before it, the second has the first."""
    index = reader.index
    first, second = (reader.read(index.token(row)) for row in (0, 1))
    assert (first.number, first.previous) == (0, "")
    assert (second.number, second.previous) == (1, first.token)
    assert first.scene == second.scene == index.scene(0)
    np.testing.assert_array_equal(first.scene_ego_to_global, second.scene_ego_to_global)
    np.testing.assert_allclose(second.ego_to_global, pose_matrix(index.lidar_ego_to_global[1]))
    np.testing.assert_allclose(second.origin_m, index.lidar_to_ego[1, 4:])
    assert second.points_ego is None


def test_returns_lie_in_occupied_voxels_of_the_truth(reader: KeyFrameReader, tiny_world: Path) -> None:
    """The scan in the ego frame and the labels are of one world: all but returns on the border of a voxel agree."""
    frame = reader.read(reader.index.token(0), with_scan=True)
    assert frame.points_ego is not None
    voxels = np.floor((frame.points_ego - OCC3D_GRID.min_m) / OCC3D_GRID.voxel_m).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < OCC3D_GRID.shape)).all(-1)]
    truth = np.load(tiny_world / "gts" / frame.scene / frame.token / "labels.npz")["semantics"]
    assert len(voxels) > 1000
    assert (truth[tuple(voxels.T)] != FREE).mean() > 0.97


def test_tokens_are_put_in_order_of_time_and_strangers_are_named(reader: KeyFrameReader) -> None:
    tokens = [reader.index.token(row) for row in range(len(reader.index))]
    assert reader.in_order(reversed(tokens)) == tokens
    assert tokens[0] in reader
    with pytest.raises(DataError, match="nowhere: not a key frame of nuscenes"):
        reader.read("nowhere")
