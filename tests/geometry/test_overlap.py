"""Overlap masks: cameras at one point can be solved by hand, a rig like that of nuScenes says what to expect."""

import math

import numpy as np
import pytest
import torch

from gsocc.datasets.world.sensors import cameras
from gsocc.errors import UserError
from gsocc.geometry.overlap import choose_sides, given_up, overlap_masks, shared_columns
from gsocc.geometry.projection import camera_directions, project
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.structures import CameraRig


def looking(yaw_deg: float, position: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """Return cam_to_ego of a level camera: x right, y down, z forward at the given yaw."""
    yaw = math.radians(yaw_deg)
    c, s = math.cos(yaw), math.sin(yaw)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = (
        torch.tensor(v, dtype=torch.float64) for v in ((s, -c, 0.0), (0.0, 0.0, -1.0), (c, s, 0.0))
    )
    pose[:3, 3] = torch.tensor(position, dtype=torch.float64)
    return pose


def make_rig(cameras: list[tuple[float, ...]], size: tuple[int, int] = (20, 40)) -> CameraRig:
    """Return a rig of (x, y, z, yaw_deg, field_of_view_deg)."""
    height, width = size
    intrinsics = []
    for *_, fov_deg in cameras:
        focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
        intrinsics.append([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    poses = torch.stack([looking(yaw, (x, y, z)) for x, y, z, yaw, _ in cameras])
    return CameraRig(torch.tensor(intrinsics)[None], poses.float()[None], size)


def nuscenes_like(size: tuple[int, int] = (36, 64)) -> CameraRig:
    """Return the rig of the synthetic world: nuScenes' positions and headings, 70 degrees wide, the back one 110."""
    rig = cameras(size)
    intrinsics, poses = (torch.tensor(np.stack([getattr(c, n) for c in rig])) for n in ("intrinsics", "cam_to_ego"))
    return CameraRig(intrinsics.float()[None], poses.float()[None], size)


def sampled_masks(rig: CameraRig, max_depth_m: float, steps: int) -> torch.Tensor:
    """Draw every sample: the definition, slowly."""
    height, width = rig.image_size
    views = rig.num_views
    rays = camera_directions(rig.intrinsics.double(), rig.image_size)[0].flatten(1, 2)  # (V, HW, 3)
    counts = torch.zeros(views, views, height * width)
    for k in range(1, steps + 1):
        points = rays * (k * max_depth_m / steps)
        for j in range(views):
            to_j = invert_rigid(rig.cam_to_ego[0, j].double()) @ rig.cam_to_ego[0].double()
            pixels, z_m = project(transform_points(to_j, points), rig.intrinsics[0, j].double().expand(views, 3, 3))
            inside = (pixels >= 0).all(-1) & (pixels <= torch.tensor([width, height])).all(-1) & (z_m > 1e-3)
            counts[:, j] += inside
    masks = counts.unflatten(-1, rig.image_size) > 1
    masks[torch.arange(views), torch.arange(views)] = False
    return masks[None]


def test_two_cameras_at_one_point_share_the_columns_that_trigonometry_says() -> None:
    """Field of view 90 degrees, f = W / 2 = 20 px, turned by 60 degrees: the other image ends at tan(15 degrees).

    The right camera's left edge is at 45 degrees to its left, which the left camera sees 15 degrees to its right; so
    the left camera shares u > 20 + 20 tan(15) = 25.36: pixel centres 25.5 to 39.5. Rows far from the horizon may leave
    the other image, the middle ones do not.
    """
    rig = make_rig([(0, 0, 0, 30.0, 90.0), (0, 0, 0, -30.0, 90.0)])
    masks = overlap_masks(rig, 80.0)
    middle = masks[0, :, :, 9:11].all(-2)
    left, right = middle[0, 1], middle[1, 0]
    assert left.nonzero().flatten().tolist() == list(range(25, 40))
    assert right.nonzero().flatten().tolist() == list(range(15))
    assert not masks[0, 0, 0].any() and not masks[0, 1, 1].any()


def test_a_corner_pixel_climbs_out_of_the_other_image() -> None:
    """At azimuth 45 degrees in one and -15 in the other, elevation e gives v = 20 tan(e) / cos(azimuth) off the centre.

    The last column centre (u = 39.5, azimuth 44.28 degrees) has in the other view azimuth 15.72: the same ray stands
    cos(44.28) / cos(15.72) = 0.744 times as high there, so all its rows fit; back the ratio is 1.344, so of the other
    camera's rows only those with |v| <= 10 / 1.344 = 7.44 px do: 7 above and 7 below.
    """
    rig = make_rig([(0, 0, 0, 30.0, 90.0), (0, 0, 0, -30.0, 90.0)])
    masks = overlap_masks(rig, 80.0)
    assert masks[0, 0, 1, :, 39].all()
    column = 20 + 20 * math.tan(math.radians(-15.72))  # where the other camera sees the last column
    rows = masks[0, 1, 0, :, int(column)].nonzero().flatten().tolist()
    assert rows == list(range(3, 17))


def test_counting_agrees_with_drawing_every_sample() -> None:
    """The closed form is the definition; a handful of pixels lie on a border to rounding."""
    rig = nuscenes_like((18, 32))
    drawn = sampled_masks(rig, 60.0, 40)
    counted = overlap_masks(rig, 60.0, steps=40)
    assert int(drawn.sum()) > 1000
    assert int((drawn != counted).sum()) <= 2


def test_only_neighbours_overlap_on_a_ring_of_six() -> None:
    """Fields of view of 70 degrees turned by 55 share 15 degrees or more: 15 to 30 % of columns."""
    shares = shared_columns(overlap_masks(nuscenes_like(), 80.0))[0]
    for i in range(6):
        for j in range(6):
            if (i - j) % 6 in (1, 5):
                assert 0.15 <= shares[i, j] <= 0.30, (i, j, float(shares[i, j]))
            else:
                assert shares[i, j] == 0.0, (i, j)


def test_cameras_that_look_apart_are_refused_with_the_reason() -> None:
    rig = make_rig([(1, 0, 1, 0.0, 60.0), (-1, 0, 1, 180.0, 60.0)])
    with pytest.raises(UserError, match=r"no two of the 2 cameras.*cannot give metric scale"):
        overlap_masks(rig, 80.0)
    assert not overlap_masks(rig, 80.0, require=False).any()


def test_what_lies_beyond_the_largest_depth_is_not_shared() -> None:
    """Parallel cameras 10 m apart with a right angle of view: one sees the other's axis from a depth of 10 m on."""
    rig = make_rig([(0, 0, 0, 0.0, 90.0), (0, 10.0, 0, 0.0, 90.0)])
    assert overlap_masks(rig, 40.0)[0, 0, 1, 10, 20]
    assert not overlap_masks(rig, 9.0, require=False)[0, 0, 1, 10, 20]


def test_erosion_moves_the_inner_border_and_not_that_of_the_image() -> None:
    rig = make_rig([(0, 0, 0, 30.0, 90.0), (0, 0, 0, -30.0, 90.0)])
    eroded = overlap_masks(rig, 80.0, erode_px=3)
    assert eroded[0, 0, 1, 10].nonzero().flatten().tolist() == list(range(28, 40))
    with pytest.raises(UserError, match=r"erosion of 12 px leaves nothing"):
        overlap_masks(rig, 80.0, erode_px=12)


def test_the_vehicle_is_in_no_overlap_whichever_camera_shows_it() -> None:
    """A masked pixel shares nothing, and a ray that ends on masked pixels of the other camera is not seen there."""
    rig = make_rig([(0, 0, 0, 30.0, 90.0), (0, 0, 0, -30.0, 90.0)])
    plain = overlap_masks(rig, 80.0)
    valid = torch.ones(1, 2, 20, 40, dtype=torch.bool)
    valid[0, 0, :, 35:] = False
    masks = overlap_masks(rig, 80.0, valid_mask=valid)
    assert not masks[0, 0, 1, :, 35:].any()
    assert torch.equal(masks[0, 0, 1, :, :35], plain[0, 0, 1, :, :35])
    # They look 36.87 to 45 degrees to its right, which is 23.13 to 15 degrees to the left of the other camera: from
    # u = 20 - 20 tan(23.13) = 11.46 on its pixels are lost, and column 11 has its centre at 11.5.
    assert plain[0, 1, 0, 10].nonzero().flatten().tolist() == list(range(15))
    assert masks[0, 1, 0, 10].nonzero().flatten().tolist() == list(range(11))


@pytest.mark.parametrize("rule", ["fixed", "alternating", "random"])
def test_of_every_pair_exactly_one_side_gives_up_its_pixels(rule: str) -> None:
    rig = nuscenes_like()
    masks = overlap_masks(rig, 80.0)
    sides = choose_sides(masks, rig.cam_to_ego, rule, generator=torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    overlapping = masks.any(-1).any(-1)
    assert torch.equal(sides | sides.transpose(1, 2), overlapping)
    assert not (sides & sides.transpose(1, 2)).any()
    removed = given_up(masks, sides)
    for i in range(6):
        for j in range(6):
            assert not sides[0, i, j] or removed[0, i][masks[0, i, j]].all()


def test_the_fixed_side_is_the_left_and_alternates_with_the_right() -> None:
    """Seen from inside, the left neighbour of the front camera is the front left one, at the left edge of its image."""
    rig = nuscenes_like()
    masks = overlap_masks(rig, 80.0)
    even, odd = (given_up(masks, choose_sides(masks, rig.cam_to_ego, "alternating", step=step)) for step in (0, 1))
    assert torch.equal(even, given_up(masks, choose_sides(masks, rig.cam_to_ego, "fixed")))
    assert even[0, :, :, :32].any(-1).any(-1).all() and not even[0, :, :, 32:].any()
    assert odd[0, :, :, 32:].any(-1).any(-1).all() and not odd[0, :, :, :32].any()


def test_random_sides_differ_between_draws_and_repeat_with_the_seed() -> None:
    rig = nuscenes_like()
    masks = overlap_masks(rig, 80.0)

    def draws(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [choose_sides(masks, rig.cam_to_ego, "random", generator=generator) for _ in range(8)]

    first, again = draws(0), draws(0)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(s.flatten().tolist()) for s in first}) > 3
    with pytest.raises((ValueError, TypeError), match="fixed"):  # the shape checker is first where it runs
        choose_sides(masks, rig.cam_to_ego, "both")  # type: ignore[arg-type]
