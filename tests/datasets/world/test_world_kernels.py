"""The kernels of the world against cases that are solved by hand."""

import numpy as np
import pytest

from gsocc.kernels.world_noise import fractal_noise, inside, stripes, value_noise
from gsocc.kernels.world_voxels import add_triangle_area, label_voxels, mark_seen

LOW = np.array([0.0, 0.0, 0.0])


@pytest.mark.parametrize("footprint", [0.01, 0.1, 0.37, 0.9])
def test_filtered_stripes_keep_their_mean_at_any_footprint(footprint: float) -> None:
    """A box filter does not change the mean of a periodic signal: bars of 0.3 m every 1 m cover 0.3."""
    values = [stripes(x, 1.0, 0.3, footprint) for x in np.arange(0.0, 4.0, 0.001)]
    assert np.mean(values) == pytest.approx(0.3, abs=2e-3)
    assert min(values) >= 0.0 and max(values) <= 1.0 + 1e-12


def test_a_footprint_that_straddles_an_edge_takes_its_share() -> None:
    """A patch of 0.2 m centred on an edge lies half inside."""
    assert inside(1.0, 0.0, 1.0, 0.2) == pytest.approx(0.5)
    assert inside(0.5, 0.0, 1.0, 0.2) == pytest.approx(1.0)
    assert inside(1.2, 0.0, 1.0, 0.2) == pytest.approx(0.0)


def test_noise_is_continuous_and_centred() -> None:
    """Value noise is smooth across cells, also at negative coordinates; its mean is 0 and it stays in [-1, 1]."""
    x = np.arange(-40.0, 40.0, 0.01)
    values = np.array([value_noise(v, 0.3 * v + 5.0, 2.5, 7) for v in x])
    assert np.abs(values).max() <= 1.0
    assert np.abs(np.diff(values)).max() < 0.04  # the fade's slope is at most 1.5 per cell on each axis
    assert abs(values.mean()) < 0.1


def test_noise_below_the_footprint_fades_out() -> None:
    """A pixel that covers many wavelengths sees the mean, which is 0."""
    near = np.std([fractal_noise(0.13 * k, 0.2, 0.4, 1.0, 5, 0.01, 3) for k in range(500)])
    far = np.std([fractal_noise(0.13 * k, 0.2, 0.4, 1.0, 5, 5.0, 3) for k in range(500)])
    assert near > 0.2
    assert far == 0.0


def test_surface_is_shared_among_voxels_without_loss() -> None:
    """A tilted triangle inside the grid leaves exactly its own area, whatever voxels it crosses."""
    corners = np.array([[[0.3, 0.4, 0.2], [3.1, 0.9, 1.7], [1.2, 2.9, 0.8]]])
    area = np.zeros((10, 10, 10, 2), np.float32)
    add_triangle_area(area, corners, np.array([1]), LOW, 0.4, 0.06)
    true = 0.5 * np.linalg.norm(np.cross(corners[0, 1] - corners[0, 0], corners[0, 2] - corners[0, 0]))
    assert area[..., 1].sum() == pytest.approx(true, rel=1e-4)
    assert area[..., 0].sum() == 0.0


def test_a_plane_fills_one_layer_with_its_share_per_voxel() -> None:
    """A square at z = 0.5 parallel to the grid gives 0.16 m2 to each voxel of 0.4 m that it crosses."""
    square = np.array([[0.0, 0.0, 0.5], [4.0, 0.0, 0.5], [4.0, 4.0, 0.5], [0.0, 4.0, 0.5]])
    corners = square[[[0, 1, 2], [0, 2, 3]]]
    area = np.zeros((10, 10, 4, 1), np.float32)
    add_triangle_area(area, corners, np.array([0, 0]), LOW, 0.4, 0.04)
    np.testing.assert_allclose(area[:, :, 1, 0], 0.16, rtol=0.1)  # pieces are as coarse as 0.04 m
    assert area[:, :, [0, 2, 3]].sum() == 0.0


def test_a_voxel_takes_the_class_with_the_most_surface_above_a_threshold() -> None:
    """Columns are translated to classes; less than the threshold in all is free."""
    area = np.zeros((1, 1, 3, 2), np.float32)
    area[0, 0, 0] = 0.03, 0.01
    area[0, 0, 1] = 0.01, 0.015
    area[0, 0, 2] = 0.005, 0.005
    labels = np.empty((1, 1, 3), np.uint8)
    label_voxels(labels, area, np.array([4, 15]), 0.02, 17)
    assert labels[0, 0].tolist() == [4, 15, 17]


def test_a_ray_marks_voxels_up_to_the_first_occupied_one() -> None:
    """A ray along x from the middle of a row sees up to the wall, the wall included, and nothing behind."""
    labels = np.full((8, 3, 3), 17, np.uint8)
    labels[5, 1, 1] = 15
    seen = np.zeros_like(labels)
    mark_seen(seen, labels, np.array([0.2, 0.6, 0.6]), np.array([[2.0, 0.0, 0.0]]), LOW, 0.4, 17)
    assert seen[:, 1, 1].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert seen.sum() == 6


def test_a_ray_from_outside_enters_at_the_border() -> None:
    """Diagonal of a 3x3x1 grid from outside: it passes from corner voxel to corner voxel."""
    labels = np.full((3, 3, 1), 17, np.uint8)
    seen = np.zeros_like(labels)
    origin, direction = np.array([-1.0, -0.9, 0.2]), np.array([[1.0, 1.0, 0.0]])
    mark_seen(seen, labels, origin, direction, LOW, 0.4, 17)
    assert seen[0, 0, 0] and seen[1, 1, 0] and seen[2, 2, 0]
    assert not seen[0, 2, 0] and not seen[2, 0, 0]


def test_a_ray_that_misses_the_grid_marks_nothing() -> None:
    """Parallel to a face and beside it, or away from it."""
    labels = np.full((3, 3, 3), 17, np.uint8)
    seen = np.zeros_like(labels)
    directions = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.3]])
    mark_seen(seen, labels, np.array([0.2, -0.5, 0.2]), directions, LOW, 0.4, 17)
    assert seen.sum() == 0
