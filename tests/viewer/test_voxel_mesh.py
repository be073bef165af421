import numpy as np
import pytest

from gsocc.structures import VoxelGrid
from gsocc.viewer.mesh import Mesh, box, cylinder, merge, rod, voxel_mesh

GRID = VoxelGrid((-1.0, 0.0, 2.0), (3, 3, 3), (0.4, 0.5, 0.25))


def _mesh(*voxels: tuple[int, int, int]) -> Mesh:
    shown = np.zeros(GRID.shape, bool)
    for voxel in voxels:
        shown[voxel] = True
    colors = np.zeros((*GRID.shape, 3), np.uint8)
    colors[..., 0] = np.arange(27).reshape(GRID.shape)
    return voxel_mesh(colors, shown, GRID)


def _volume_m3(mesh: Mesh) -> float:
    """Return the enclosed volume by the divergence theorem; positive where triangles are wound outwards."""
    a, b, c = (mesh.vertices[mesh.triangles[:, i]].astype(np.float64) for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_one_voxel_is_a_closed_box_of_its_size_and_place() -> None:
    mesh = _mesh((1, 2, 0))
    assert len(mesh.triangles) == 12
    np.testing.assert_allclose(mesh.vertices.min(0), (-0.6, 1.0, 2.0), atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.max(0), (-0.2, 1.5, 2.25), atol=1e-6)
    assert _volume_m3(mesh) == pytest.approx(0.4 * 0.5 * 0.25, rel=1e-5)
    assert (mesh.colors[:, 0] == 15).all()  # voxel (1, 2, 0) is number 9 + 6 + 0


def test_voxels_that_touch_have_no_face_in_between() -> None:
    """Two voxels have 12 faces, ten of them outside; a block of 27 has 54 outside."""
    assert len(_mesh((1, 1, 1), (1, 1, 2)).triangles) == 2 * 10
    block = _mesh(*np.ndindex(3, 3, 3))
    assert len(block.triangles) == 2 * 54
    assert _volume_m3(block) == pytest.approx(27 * 0.05, rel=1e-5)


def test_a_corner_between_voxels_is_darker_than_an_open_one() -> None:
    """A floor with one block on it: its corners at the block's foot lose light, those away from it none."""
    floor = [(i, j, 0) for i in range(3) for j in range(3)]
    mesh = _mesh(*floor, (0, 1, 1))
    on_top = np.isclose(mesh.vertices[:, 2], 2.25)
    foot = on_top & np.isclose(mesh.vertices[:, 0], -0.6)
    away = on_top & (mesh.vertices[:, 0] > -0.3)
    assert mesh.light[foot].min() < 0.7
    assert (mesh.light[away] == 1).all()
    assert (_mesh((1, 1, 1)).light == 1).all()


def test_nothing_shown_is_an_empty_mesh() -> None:
    assert len(_mesh().triangles) == 0
    assert len(merge([]).vertices) == 0


@pytest.mark.parametrize(
    ("mesh", "volume_m3"),
    [
        (box((0.0, 0.0, 0.0), (2.0, 3.0, 4.0), (1, 2, 3)), 24.0),
        # Prismatoid: h / 6 (bottom + 4 middle + top) with areas 6, 2.5 * 1.5 = 3.75 and 2 * 1 = 2.
        (box((0.0, 0.0, 0.0), (3.0, 2.0, 6.0), (0, 0, 0), (0.5, 0.5)), 6 + 4 * 3.75 + 2),
        (rod((0.0, 0.0, 0.0), (3.0, 4.0, 12.0), 0.1, (0, 0, 0)), 0.01 * 13),
        (cylinder((1.0, 2.0, 3.0), 1.0, 0.5, (0, 0, 0), sides=400), 0.5 * np.pi),
    ],
)
def test_solids_are_closed_and_wound_outwards(mesh: Mesh, volume_m3: float) -> None:
    assert _volume_m3(mesh) == pytest.approx(volume_m3, rel=1e-3)


def test_merging_keeps_triangles_with_their_vertices() -> None:
    a, b = box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (9, 9, 9)), box((5.0, 5.0, 5.0), (6.0, 6.0, 7.0), (7, 7, 7))
    both = merge([a, b])
    assert _volume_m3(both) == pytest.approx(3.0)
    assert (both.colors[both.triangles[len(a.triangles) :]] == 7).all()
