import numpy as np
import pytest
from viewer_helpers import CAR, GRID, ROAD, WALL, predicted, street, truth

from gsocc.errors import DataError
from gsocc.labels import FREE, PALETTE
from gsocc.viewer.scene import INVENTED, MISSED, RIGHT, WRONG_CLASS, build_scene, ego_car, error_classes


def test_prediction_and_truth_are_drawn_in_class_colours() -> None:
    scene = build_scene(predicted(), truth(), "truth")
    drawn = {tuple(c) for c in scene.voxels.colors}
    assert drawn == {tuple(PALETTE[i]) for i in (ROAD, CAR, WALL)}
    assert [name for name, _ in scene.legend] == ["car", "driveable surface", "manmade"]
    empty = build_scene(predicted(np.full(GRID.shape, FREE, np.uint8)))
    assert len(empty.voxels.triangles) == 0
    assert empty.legend == ()


def test_errors_are_told_apart_voxel_by_voxel() -> None:
    """One voxel of each kind, and one that no camera saw."""
    semantics = street()
    semantics[0, 5, 2] = WALL  # a road voxel of the wrong class
    semantics[0, 5, 5] = CAR  # where nothing is
    semantics[1, 5, 2] = FREE  # a road voxel missed
    semantics[2, 5, 2] = FREE  # missed, but unseen
    seen = np.ones(GRID.shape, bool)
    seen[2, 5, 2] = False
    kinds, shown = error_classes(semantics, truth(seen))
    assert kinds[0, 5, 2] == WRONG_CLASS
    assert kinds[0, 5, 5] == INVENTED
    assert kinds[1, 5, 2] == MISSED
    assert not shown[2, 5, 2]
    assert (kinds[shown] == RIGHT).sum() == shown.sum() - 3


def test_error_legend_holds_shares() -> None:
    names = [name for name, _ in build_scene(predicted(), truth(), "error").legend]
    assert names == ["right 100%", "wrong class 0%", "invented 0%", "missed 0%"]


def test_what_no_camera_saw_can_be_left_out_beyond_a_margin_of_two_voxels() -> None:
    """Only the corner voxel is seen: road up to two voxels (0.8 m) from it is shown."""
    seen = np.zeros(GRID.shape, bool)
    seen[19, 15, 2] = True
    scene = build_scene(predicted(), truth(seen), "prediction", seen_only=True)
    assert {tuple(c) for c in scene.voxels.colors} == {tuple(PALETTE[ROAD])}
    np.testing.assert_allclose(scene.voxels.vertices.min(0), (2.8, 2.0, -0.2), atol=1e-6)


def test_truth_that_is_missing_or_on_another_grid_is_refused() -> None:
    for show, seen_only in (("truth", False), ("error", False), ("prediction", True)):
        with pytest.raises(DataError, match="needs the labels of scene-0001/0123456789abcdef"):
            build_scene(predicted(), None, show, seen_only=seen_only)
    other = truth()
    cut = type(other)(other.semantics[:-1], other.mask_camera[:-1], other.mask_lidar[:-1])
    with pytest.raises(DataError, match="resample"):
        build_scene(predicted(), cut)


def test_cameras_look_where_their_poses_say() -> None:
    """The front camera's cone lies ahead of it, the back camera's behind, and none without cameras."""
    cones = build_scene(predicted()).cameras.vertices
    assert cones[:, 0].max() == pytest.approx(1.7 + 1.6, abs=0.05)
    assert cones[:, 0].min() == pytest.approx(1.7 - 1.6, abs=0.05)
    assert len(build_scene(predicted(), cameras=False).cameras.vertices) == 0


def test_the_car_stands_on_the_ground_around_the_rear_axle() -> None:
    """4.08 m long, 1.73 m wide, 1.56 m high; rear wheels at x = 0."""
    low, high = ego_car().vertices.min(0), ego_car().vertices.max(0)
    np.testing.assert_allclose(high - low, (4.08, 1.74, 1.55), atol=0.02)
    assert low[2] == pytest.approx(0, abs=1e-6)
    assert low[0] < -0.5
