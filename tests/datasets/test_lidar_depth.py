"""LiDAR points as depth images, on cases worked out by hand."""

import numpy as np
import pytest

from gsocc.datasets.lidar import lidar_depth, resample_depth

K = np.array([[[10.0, 0.0, 4.0], [0.0, 10.0, 3.0], [0.0, 0.0, 1.0]]])
EYE = np.eye(4)[None]


def test_a_point_belongs_to_the_pixel_that_spans_it() -> None:
    """(0.16, 0, 1) projects to u = 5.6, v = 3: pixel 5 spans [5, 6). Rounding, as published, says 6."""
    points = np.array([[0.16, 0.0, 1.0]])
    assert lidar_depth(points, EYE, K, (6, 8))[0, 3, 5] == 1.0
    assert lidar_depth(points, EYE, K, (6, 8), rounding="round")[0, 3, 6] == 1.0


def test_the_nearest_point_wins_or_the_last_as_published() -> None:
    points = np.array([[0.0, 0.0, 4.0], [0.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    assert lidar_depth(points, EYE, K, (6, 8))[0, 3, 4] == 2.0
    assert lidar_depth(points, EYE, K, (6, 8), collisions="last")[0, 3, 4] == 3.0


def test_points_behind_the_camera_or_outside_the_image_leave_nothing() -> None:
    """The right edge, u = 8, belongs to no pixel; the left edge, u = 0, belongs to the first."""
    points = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.4, 0.0, 1.0], [-0.41, 0.0, 1.0], [0.0, -0.31, 1.0]])
    assert not lidar_depth(points, EYE, K, (6, 8)).any()
    assert lidar_depth(np.array([[-0.4, -0.3, 1.0]]), EYE, K, (6, 8))[0, 0, 0] == 1.0


def test_points_on_the_vehicle_do_not_hide_what_is_behind_them() -> None:
    points = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 2.0]])
    assert lidar_depth(points, EYE, K, (6, 8))[0, 3, 4] == 0.5
    assert lidar_depth(points, EYE, K, (6, 8), min_depth_m=1.0)[0, 3, 4] == 2.0


def test_depth_runs_along_the_axis_of_each_camera() -> None:
    """A second camera stands 5 m further on and looks back: a point 3 m from the first is 2 m from it."""
    back = np.diag([-1.0, 1.0, -1.0, 1.0])
    back[2, 3] = 5.0
    depth = lidar_depth(np.array([[0.1, 0.0, 3.0]]), np.stack([EYE[0], back]), np.repeat(K, 2, 0), (6, 8))
    assert depth[0].max() == pytest.approx(3.0) and depth[1].max() == pytest.approx(2.0)


def test_agrees_with_a_loop_over_points() -> None:
    """The same rule, written point by point, on 500 random points in three cameras."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(500, 3)) * 3
    matrices = np.repeat(EYE, 3, 0)
    matrices[:, :3, 3] = generator.normal(size=(3, 3))
    expected = np.zeros((3, 6, 8), dtype=np.float32)
    for view in range(3):
        for point in points:
            x, y, z = point + matrices[view, :3, 3]
            u, v = (10.0 * x / z + 4.0, 10.0 * y / z + 3.0) if z > 0 else (-1.0, -1.0)
            if 0 <= u < 8 and 0 <= v < 6 and not 0 < expected[view, int(v), int(u)] <= z:
                expected[view, int(v), int(u)] = z
    np.testing.assert_array_equal(lidar_depth(points, matrices, np.repeat(K, 3, 0), (6, 8)), expected)


def test_resampled_depth_keeps_the_nearest_and_loses_what_the_crop_cuts() -> None:
    """Halving after a crop of one column: columns (1, 2) -> 0, (3, 4) -> 1; column 0 falls outside."""
    depth = np.array([[9.0, 0.0, 3.0, 2.0, 1.0], [9.0, 5.0, 4.0, 0.0, 0.0]], dtype=np.float32)
    half = np.array([[0.5, 0.0, -0.5], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(resample_depth(depth, half, (1, 2)), [[3.0, 1.0]])
