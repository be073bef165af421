"""Voxel files place every voxel, on boxes and on grids without end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gsocc.interop.voxel_files import VoxelFrame, centers_m, edges_m, write_voxels_npz
from gsocc.structures import OCC3D_GRID, ContractedGrid, VoxelGrid

BOX = VoxelGrid((-1.0, 0.0, 2.0), (2, 3, 4), (0.5, 1.0, 0.25))
SHAPE = (12, 12, 6)
CELLS = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), SHAPE)
ENDS = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), SHAPE, lattice="ends")


def test_edges_of_a_box_by_hand() -> None:
    x, y, z = edges_m(BOX)
    assert x.tolist() == [-1.0, -0.5, 0.0]
    assert y.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert z.tolist() == [2.0, 2.25, 2.5, 2.75, 3.0]
    assert OCC3D_GRID.shape == tuple(len(axis) - 1 for axis in edges_m(OCC3D_GRID))


@pytest.mark.parametrize("grid", [BOX, CELLS, ENDS], ids=["box", "cells", "ends"])
def test_a_point_lies_between_the_edges_of_the_voxel_that_the_grid_names(grid: VoxelGrid | ContractedGrid) -> None:
    """`to_index` is what lifting and sampling use: two ways to the same voxel."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.tensor(grid.min_m), torch.tensor(grid.max_m)
    margin = 0.0 if isinstance(grid, VoxelGrid) else 2.0
    points = low + (high - low) * ((1 + 2 * margin) * torch.rand(200, 3, generator=generator) - margin)
    index = grid.to_index(points.double()).floor().long().numpy()
    for axis, edges in enumerate(edges_m(grid)):
        assert len(edges) == grid.shape[axis] + 1
        assert (np.diff(edges) > 0).all()
        found = np.searchsorted(edges, points[:, axis].double().numpy(), side="right") - 1
        np.testing.assert_array_equal(found, index[:, axis])


@pytest.mark.parametrize("grid", [CELLS, ENDS], ids=["cells", "ends"])
def test_the_outermost_voxels_of_a_contracted_grid_have_no_end(grid: ContractedGrid) -> None:
    for edges, centers in zip(edges_m(grid), centers_m(grid), strict=True):
        assert np.isneginf(edges[0])
        assert np.isposinf(edges[-1])
        assert np.isfinite(edges[1:-1]).all()
        assert np.isfinite(centers).all()
        assert (centers[1:-1] > edges[1:-2]).all()
        assert (centers[1:-1] < edges[2:-1]).all()


def test_a_file_holds_the_keys_that_the_documentation_names(tmp_path: Path) -> None:
    semantics = np.full(BOX.shape, 17, np.uint8)
    semantics[1, 2, 3] = 4
    occupancy = (semantics == 4).astype(np.float32)
    frame = VoxelFrame("t", "s", 1.5, BOX, semantics, occupancy, {"threshold": 0.3})
    write_voxels_npz(tmp_path / "v.npz", frame)
    with np.load(tmp_path / "v.npz", allow_pickle=False) as arrays:
        (i, j, k), *rest = np.argwhere(arrays["semantics"] != 17)
        assert not rest
        assert (arrays["x_m"][i], arrays["y_m"][j], arrays["z_m"][k]) == (-0.25, 2.5, 2.875)
        assert arrays["class_names"][arrays["semantics"][i, j, k]] == "car"
        assert arrays["colors"][4].tolist() == [255, 158, 0]
        assert arrays["occupancy"].dtype == np.float32
        header = json.loads(str(arrays["meta"]))
    assert (header["token"], header["grid"], header["free"], header["threshold"]) == ("t", "box", 17, 0.3)


def test_an_array_of_another_shape_is_refused(tmp_path: Path) -> None:
    frame = VoxelFrame("t", "s", 0.0, BOX, np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="shape of its grid"):
        write_voxels_npz(tmp_path / "v.npz", frame)
