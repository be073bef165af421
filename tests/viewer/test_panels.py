from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from viewer_helpers import ROAD, predicted, truth

from gsocc.errors import DataError
from gsocc.labels import PALETTE
from gsocc.viewer.drawing import below, beside, depth_colors, label_colors, legend_bar, png_bytes, save_png
from gsocc.viewer.panels import frame_picture, read_images, surround_panel


def test_depth_gets_darker_with_distance_and_grey_where_there_is_none() -> None:
    depth = np.array([[2.0, 5.0, 15.0, 60.0, 0.0, np.nan]], np.float32)
    colors = depth_colors(depth)[0].astype(int)
    brightness = colors.sum(-1)
    assert (np.diff(brightness[:4]) < 0).all()
    assert (colors[4] == (40, 42, 46)).all()
    assert (colors[5] == (40, 42, 46)).all()


def test_labels_have_the_colours_of_the_palette() -> None:
    colors = label_colors(np.array([[4, 17, -1]]))[0]
    assert (colors[0] == PALETTE[4]).all()
    assert (colors[1] == PALETTE[17]).all()
    assert (colors[2] == (40, 42, 46)).all()


def test_cameras_of_ddad_are_shown_as_they_see_the_world_from_left_to_right() -> None:
    """Given counter-clockwise from the front (01, 05, ..., 06): the front left one comes first, the right one third."""
    names = ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
    images = np.stack([np.full((60, 80, 3), 40 * v, np.uint8) for v in range(6)])
    panel = surround_panel(names, images, width=6 * 80 + 5 * 6)
    shown = [int(panel[50, 86 * column + 70, 0]) // 40 for column in range(6)]
    assert [names[v] for v in shown] == [f"CAMERA_{n}" for n in ("05", "01", "06", "08", "09", "07")]


def test_panel_has_a_row_per_kind_and_front_before_back() -> None:
    """The cameras of nuScenes are shown clockwise, so the front camera comes first although it was given second."""
    names = ("CAM_BACK", "CAM_FRONT")
    images = np.zeros((2, 90, 160, 3), np.uint8)
    images[1] = 200
    panel = surround_panel(names, images, width=326)
    assert panel.shape == (90, 326, 3)
    assert (panel[60, 80] == 200).all()
    assert (panel[60, 250] == 0).all()
    depth = np.full((2, 45, 80), 10.0, np.float32)
    labels = np.full((2, 45, 80), ROAD, np.uint8)
    full = surround_panel(
        names, images, depth_m=depth, true_depth_m=depth, semantics=labels, true_semantics=labels, width=326
    )
    assert full.shape == (5 * 90 + 4 * 6, 326, 3)
    with pytest.raises(ValueError, match="none of them"):
        surround_panel(names)


def test_sparse_truth_is_drawn_as_dots_over_the_darkened_image() -> None:
    image = np.full((1, 40, 80, 3), 150, np.uint8)
    depth = np.zeros((1, 40, 80), np.float32)
    depth[0, 30, 60] = 5.0
    panel = surround_panel(("CAM_FRONT",), image, true_depth_m=depth, width=80)
    row = panel[46:]
    assert (row[35, 70] == 50).all()
    assert (row[30, 60] == depth_colors(np.full((1, 1), 5.0, np.float32))[0, 0]).all()


def test_a_whole_frame_is_as_wide_as_asked_and_has_everything_on_it() -> None:
    pytest.importorskip("open3d", reason="pictures of scenes need Open3D", exc_type=ImportError)
    images = np.full((2, 9, 16, 3), 99, np.uint8)
    picture = frame_picture(
        predicted(), truth(), images=images, shows=("prediction", "error"), width=401, title="A street", samples=1
    )
    assert picture.shape[1] == 401
    bare = frame_picture(replace(predicted(), depth_m=None, semantic_images=None), width=200, samples=1)
    assert bare.shape[0] < picture.shape[0]


def test_legend_wraps_and_pictures_join() -> None:
    entries = [(f"class {i}", (i, i, i)) for i in range(12)]
    assert legend_bar(entries, 200).shape[0] > legend_bar(entries, 2000).shape[0]
    a, b = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 7, 3), np.uint8)
    assert beside([a, b], gap_px=2).shape == (4, 14, 3)
    assert below([a, a, a], gap_px=1).shape == (14, 5, 3)


def test_png_keeps_red_red(tmp_path: Path) -> None:
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    save_png(tmp_path / "red.png", red)
    assert (tmp_path / "red.png").read_bytes() == png_bytes(red)
    assert (cv2.imread(str(tmp_path / "red.png"))[0, 0] == (0, 0, 255)).all()  # OpenCV reads BGR


def test_images_are_read_in_the_order_of_the_cameras(tmp_path: Path) -> None:
    for value, name in ((10, "a.png"), (20, "b.png")):
        save_png(tmp_path / name, np.full((9, 16, 3), value, np.uint8))
    images = read_images(tmp_path, predicted(image_files=("b.png", "a.png")))
    assert images[:, 0, 0, 0].tolist() == [20, 10]
    with pytest.raises(DataError, match=r"c\.png: is missing"):
        read_images(tmp_path, predicted(image_files=("b.png", "c.png")))
    with pytest.raises(DataError, match="names no image files"):
        read_images(tmp_path, predicted())


def test_images_of_unequal_cameras_come_at_the_size_of_the_first(tmp_path: Path) -> None:
    """Cameras of a rig may differ in size; a prediction has one."""
    for name, size in (("a.png", (6, 10)), ("b.png", (12, 30))):
        cv2.imwrite(str(tmp_path / name), np.full((*size, 3), 7, np.uint8))
    assert read_images(tmp_path, predicted(image_files=("a.png", "b.png"))).shape == (2, 6, 10, 3)
