import numpy as np
import pytest
import torch

from gsocc.structures.trajectory import Trajectory
from gsocc.viewer.overlap import overlap_picture, overlapping_pairs
from gsocc.viewer.trajectory import trajectory_picture

NAMES = ("CAM_A", "CAM_B", "CAM_C", "CAM_D")


def two_of_four() -> tuple[np.ndarray, np.ndarray]:
    """Return grey images of four cameras, of which the first two share the half that they face each other with."""
    images = np.full((4, 40, 80, 3), 100, np.uint8)
    masks = np.zeros((4, 4, 40, 80), bool)
    masks[0, 1, :, 40:] = True
    masks[1, 0, :, :40] = True
    return images, masks


def test_shared_pixels_of_a_pair_have_one_colour_in_both_images_and_others_stay_grey() -> None:
    images, masks = two_of_four()
    assert list(overlapping_pairs(masks)) == [(0, 1)]
    picture = overlap_picture(NAMES, images, masks, width=3 * 80 + 2 * 6)
    first, second, third = (picture[30, x : x + 80] for x in (0, 86, 172))
    assert (first[:40] == 100).all() and (second[40:] == 100).all() and (third == 100).all()
    assert (first[41:] == second[:39]).all()
    assert (first[60] != 100).any()


def test_what_erosion_takes_is_fainter_and_the_vehicle_is_almost_black() -> None:
    images, masks = two_of_four()
    eroded = masks.copy()
    eroded[0, 1, :, :50] = False
    valid = np.ones((4, 40, 80), bool)
    valid[0, 35:] = False
    picture = overlap_picture(NAMES, images, masks, eroded=eroded, valid=valid, width=252).astype(int)
    change = np.abs(picture[30, :80] - 100).sum(-1)
    assert 0 < change[45] < change[60]
    assert picture[38, 10].max() < 20


def test_a_rig_without_overlap_and_a_title_make_a_picture_too() -> None:
    images, masks = two_of_four()
    bare = overlap_picture(NAMES, images, np.zeros_like(masks), width=252)
    titled = overlap_picture(NAMES, images, masks, title="Rig", note="of four", width=252)
    assert titled.shape[0] > bare.shape[0] - 1
    assert titled.shape[1] == 252


def test_paths_are_drawn_ahead_upwards_and_left_to_the_left() -> None:
    """A true path that bends to the left and a straight prediction: the dark line ends left of the orange one."""
    count = 12
    poses = torch.eye(4, dtype=torch.float64).repeat(2, count, 1, 1)
    ahead = torch.arange(count, dtype=torch.float64)
    poses[:, :, 0, 3] = ahead
    poses[1, :, 1, 3] = 0.05 * ahead**2
    path = Trajectory("scene-0001", ahead / 2, poses[0], poses[1])
    picture = trajectory_picture([path], float("nan"), width=500, height=500).astype(int)
    assert picture.shape == (500, 500, 3)
    dark = np.argwhere(np.abs(picture - (38, 44, 54)).sum(-1) < 20)
    orange = np.argwhere(np.abs(picture - (213, 94, 0)).sum(-1) < 20)
    top = slice(60, 160)  # rows below the title and above the middle of the path
    rows_d, rows_o = (a[(a[:, 0] >= top.start) & (a[:, 0] < top.stop)] for a in (dark, orange))
    assert rows_d[:, 1].mean() < rows_o[:, 1].mean() - 20
    with pytest.raises(ValueError, match="at least one path"):
        trajectory_picture([], 1.0)
