import numpy as np
import pytest
from viewer_helpers import GRID, predicted, truth

pytest.importorskip("open3d", reason="pictures of scenes need Open3D", exc_type=ImportError)

from gsocc.labels import FREE
from gsocc.viewer.picture import VIEWS, View, baked_colors, render
from gsocc.viewer.scene import build_scene

SIZE = (48, 80)


def _colorfulness(picture: np.ndarray) -> float:
    return float((picture.max(-1).astype(int) - picture.min(-1)).mean())


def test_the_same_scene_gives_the_same_picture_and_another_another() -> None:
    scene = build_scene(predicted())
    first, again = render(scene, VIEWS["corner"], SIZE), render(scene, VIEWS["corner"], SIZE)
    assert first.shape == (*SIZE, 3)
    assert (first == again).all()
    empty = render(build_scene(predicted(np.full(GRID.shape, FREE, np.uint8))), VIEWS["corner"], SIZE)
    assert (first != empty).any()


def test_from_above_ahead_is_up_and_left_is_left() -> None:
    """The wall lies at y = -3, to the right of the car: its colour must appear on the right of the picture only."""
    view = View((0.0, 0.0, 30.0), (0.0, 0.0, 0.0), 20.0)
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[:, 0, 3:7] = 4  # orange, on the right
    semantics[19, :, 3:7] = 16  # green, ahead
    picture = render(build_scene(predicted(semantics)), view, (60, 60)).astype(int)
    orange = (picture[..., 0] > picture[..., 2] + 60) & (picture[..., 0] > picture[..., 1])
    green = picture[..., 1] > picture[..., 0] + 40
    rows, columns = np.nonzero(orange)
    assert len(columns) > 10
    assert columns.min() > 30
    rows, _ = np.nonzero(green)
    assert len(rows) > 10
    assert rows.max() < 30


def test_shadows_and_corners_darken_but_an_open_face_keeps_its_light() -> None:
    scene = build_scene(predicted(), truth(), "truth", cameras=False)
    baked = baked_colors(scene.voxels)
    assert baked.min() >= 0
    assert baked.max() <= 1
    top = scene.voxels.vertices[:, 2] > 1.7  # of the wall
    assert baked[top].mean() > 0.3


def test_a_view_is_a_rigid_camera() -> None:
    for view in VIEWS.values():
        matrix = view.ego_to_cam()
        rotation = matrix[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        target = matrix[:3, :3] @ np.array(view.target_m) + matrix[:3, 3]
        np.testing.assert_allclose(target[:2], 0, atol=1e-9)
        assert target[2] > 0


def test_a_picture_of_a_street_has_colour_and_a_picture_of_nothing_has_hardly_any() -> None:
    view = View((-9.0, 6.0, 7.0), (0.0, 0.0, 0.0))
    street = render(build_scene(predicted(), cameras=False), view, SIZE)
    empty = render(build_scene(predicted(np.full(GRID.shape, FREE, np.uint8)), cameras=False), view, SIZE)
    assert _colorfulness(street) > 5 * _colorfulness(empty)
