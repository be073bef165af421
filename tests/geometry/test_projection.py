"""Rigid transforms, quaternions, projection and sampling."""

import math

import pytest
import torch

from gsocc.geometry.projection import camera_directions, pixel_centers, project, unproject
from gsocc.geometry.quaternion import quat_to_matrix
from gsocc.geometry.sampling import sample_image, sample_volume
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.structures import VoxelGrid


def _pose(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4)
    pose[:3, :3] = quat_to_matrix(torch.randn(4, generator=generator))
    pose[:3, 3] = torch.randn(3, generator=generator) * 10
    return pose


def test_inverse_of_a_rigid_transform_undoes_it() -> None:
    """T^-1 T = 1, to float32 rounding of coordinates of about 10 m."""
    pose = _pose(0)
    torch.testing.assert_close(invert_rigid(pose) @ pose, torch.eye(4), atol=1e-5, rtol=0)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    """(cos 45, 0, 0, sin 45) turns by 90 degrees; quaternions need not be normalised."""
    half = math.sqrt(0.5)
    turn = quat_to_matrix(3.0 * torch.tensor([half, 0.0, 0.0, half]))
    torch.testing.assert_close(turn @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1.0, 0]), atol=1e-6, rtol=0)


def test_first_pixel_centre_is_at_one_half() -> None:
    """Pixel i spans [i, i + 1)."""
    centers = pixel_centers(2, 3)
    assert centers[0, 0].tolist() == [0.5, 0.5]
    assert centers[1, 2].tolist() == [2.5, 1.5]


def test_unprojected_pixels_project_back_to_their_centres() -> None:
    """project(unproject(d)) is the identity on pixel centres, with the depth returned."""
    intrinsics = torch.tensor([[[100.0, 0.0, 8.0], [0.0, 90.0, 6.0], [0.0, 0.0, 1.0]]])
    depth = torch.rand(1, 12, 16, generator=torch.Generator().manual_seed(1)) * 50 + 1
    pixels, z_m = project(unproject(depth, intrinsics).flatten(1, 2), intrinsics)
    torch.testing.assert_close(pixels[0], pixel_centers(12, 16).flatten(0, 1), atol=1e-4, rtol=0)
    torch.testing.assert_close(z_m[0], depth.flatten())


def test_directions_have_unit_depth() -> None:
    """The ray parameter is depth along the optical axis, so z is 1."""
    intrinsics = torch.tensor([[50.0, 0.0, 4.0], [0.0, 50.0, 3.0], [0.0, 0.0, 1.0]])
    assert bool((camera_directions(intrinsics, (6, 8))[..., 2] == 1).all())


def test_points_behind_the_camera_stay_finite_and_are_told_by_their_depth() -> None:
    """The division is clamped; the sign of z is not."""
    pixels, z_m = project(torch.tensor([[[1.0, 1.0, -2.0]]]), torch.eye(3)[None])
    assert bool(torch.isfinite(pixels).all())
    assert z_m.item() == -2.0


def test_transform_moves_points_by_rotation_then_translation() -> None:
    """Against the product with homogeneous coordinates."""
    pose, points = _pose(3), torch.randn(5, 3, generator=torch.Generator().manual_seed(4))
    expected = (pose @ torch.cat([points, torch.ones(5, 1)], 1).T).T[:, :3]
    torch.testing.assert_close(transform_points(pose, points), expected, atol=1e-5, rtol=1e-5)


def test_sampling_at_pixel_centres_returns_the_pixels() -> None:
    """Half-integer centres and align_corners=False agree."""
    image = torch.rand(1, 2, 5, 7, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(sample_image(image, pixel_centers(5, 7)[None]), image, atol=1e-5, rtol=0)


def test_volume_sampling_at_voxel_centres_returns_the_voxels() -> None:
    """Voxel (i, j, k) is centred at min + (ijk + 0.5) * voxel, axes in the order x, y, z."""
    grid = VoxelGrid((-1.0, -2.0, 0.5), (3, 4, 5), (0.5, 0.7, 0.9))
    volume = torch.rand(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(6))
    points = grid.centers_m().reshape(1, -1, 3)
    for mode in ("bilinear", "nearest"):
        sampled = sample_volume(volume, grid, points, mode).unflatten(-1, grid.shape)
        torch.testing.assert_close(sampled, volume, atol=1e-5, rtol=0)


@pytest.mark.parametrize("outside", [[-5.0, 0.0, 1.0], [0.0, 0.0, 99.0]])
def test_nothing_lies_outside_the_volume(outside: list[float]) -> None:
    """Zero padding."""
    grid = VoxelGrid((-1.0, -1.0, 0.0), (4, 4, 4), (0.5, 0.5, 0.5))
    assert sample_volume(torch.ones(1, 1, 4, 4, 4), grid, torch.tensor([[outside]])).item() == 0
