"""Pixels as Gaussians, and the two ways to compare neighbouring cameras."""

import math

import pytest
import torch

from gsocc.errors import UserError
from gsocc.geometry.projection import pixel_centers, project
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.structures import CameraRig
from pose_stage.config import GspConfig
from pose_stage.gsp import SplatCrossView, match_exposure, pixel_gaussians
from pose_stage.overlaps import OverlapCache

SIZE = (16, 24)


def _rig(yaws: tuple[float, ...], size: tuple[int, int] = SIZE) -> CameraRig:
    k = torch.tensor([[14.0, 0, size[1] / 2], [0, 14.0, size[0] / 2], [0, 0, 1]])
    poses = []
    for yaw in yaws:
        c, s = math.cos(yaw), math.sin(yaw)
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[s, 0, c], [-c, 0, s], [0, -1.0, 0]])
        pose[:3, 3] = torch.tensor([c, s, 1.5])
        poses.append(pose)
    return CameraRig(k.expand(1, len(yaws), 3, 3), torch.stack(poses)[None], size)


def _inputs(views: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    depth_m = 2 + 10 * torch.rand(1, views, *SIZE, generator=generator)
    return depth_m, torch.rand(1, views, 3, *SIZE, generator=generator)


def test_every_gaussian_projects_to_the_pixel_it_came_from() -> None:
    """Unprojection and projection are inverse; the order is view, row, column."""
    rig = _rig((0.0, 1.0))
    depth_m, images = _inputs(2)
    scene = pixel_gaussians(depth_m, images, rig, GspConfig())
    means = scene.means.unflatten(1, (2, -1))
    for view in range(2):
        points = transform_points(invert_rigid(rig.cam_to_ego[:, view]), means[:, view])
        pixels, z_m = project(points, rig.intrinsics[:, view])
        torch.testing.assert_close(pixels[0], pixel_centers(*SIZE).flatten(0, 1), atol=1e-3, rtol=0)
        torch.testing.assert_close(z_m[0], depth_m[0, view].flatten(), rtol=1e-4, atol=0)
    torch.testing.assert_close(scene.features[0, SIZE[1] + 2], images[0, 0, :, 1, 2])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("cap", lambda depth, share: torch.full_like(depth, 0.02)), ("focal", lambda depth, share: 0.5 * depth / 14.0),
     ("learned", lambda depth, share: 0.02 * share)],
)  # fmt: skip
def test_scale_rules_say_how_large_a_gaussian_is(rule: str, expected) -> None:
    """The cap in metres, a share of a pixel at its depth, or a predicted share of the cap; equal on all axes."""
    rig = _rig((0.0,))
    depth_m, images = _inputs(1)
    share = torch.rand(1, 1, *SIZE)
    scene = pixel_gaussians(depth_m, images, rig, GspConfig(scale=rule, focal_factor=0.5), scale=share)
    wanted = expected(depth_m, share).flatten(1)[..., None].expand(-1, -1, 3)
    torch.testing.assert_close(scene.scales, wanted, rtol=1e-4, atol=1e-6)


def test_the_learned_rule_asks_for_its_map() -> None:
    """A cap in its place would be another method under the same name."""
    depth_m, images = _inputs(1)
    with pytest.raises(ValueError, match="scale map"):
        pixel_gaussians(depth_m, images, _rig((0.0,)), GspConfig(scale="learned"))


def test_pixels_that_gave_way_are_not_drawn() -> None:
    """Without the only view's pixels the picture is empty, with them it is full."""
    rig = _rig((0.0,))
    depth_m, images = _inputs(1)
    loss = SplatCrossView(GspConfig(renderer="splat_cpu", scale="focal", focal_factor=0.5), 0.85)
    for kept in (True, False):
        mask = torch.full((1, 1, *SIZE), kept)
        scene = pixel_gaussians(torch.full_like(depth_m, 5.0), images, rig, loss.config, mask)
        opacity = loss.renderer.render(scene, rig).opacity
        assert bool((opacity > 0.5).all()) == kept
        assert kept or float(opacity.max()) == 0.0


def test_gradient_reaches_depth_through_the_neighbour_that_redraws_alone() -> None:
    """Two cameras, one side masked out: what is compared was drawn by the other one's Gaussians."""
    rig = _rig((0.0, 0.9))
    depth_m, images = _inputs(2)
    depth_m = torch.full_like(depth_m, 6.0).requires_grad_()
    config = GspConfig(renderer="splat_cpu", scale="focal", focal_factor=0.5, mask_out="fixed", erosion_px=0)
    overlaps = OverlapCache(40.0, 0)(rig)
    loss = SplatCrossView(config, 0.85)
    loss(depth_m, images, rig, overlaps).backward()
    assert depth_m.grad is not None
    kept, _ = loss._regions(rig, overlaps, 0, None)
    assert kept is not None
    assert float(depth_m.grad[kept].abs().sum()) > 0
    assert float(depth_m.grad[~kept].abs().max()) == 0


def test_alternating_sides_swap_from_step_to_step() -> None:
    """So that both sides of every overlap learn."""
    rig = _rig((0.0, 0.9))
    overlaps = OverlapCache(40.0, 0)(rig)
    loss = SplatCrossView(GspConfig(renderer="splat_cpu", mask_out="alternating"), 0.85)
    compared = [loss._regions(rig, overlaps, step, None)[1] for step in (0, 1, 2)]
    assert torch.equal(compared[0], compared[2])
    assert not bool((compared[0] & compared[1]).any())
    assert torch.equal(compared[0] | compared[1], overlaps.inner.any(2))


def test_a_gain_between_cameras_is_taken_out_and_a_shift_of_content_is_not() -> None:
    """Exposure is no depth: least squares undoes gain and offset exactly where they alone differ."""
    generator = torch.Generator().manual_seed(0)
    images = 0.2 + 0.5 * torch.rand(1, 2, 3, 8, 8, generator=generator)
    where = torch.rand(1, 2, 8, 8, generator=generator) > 0.3
    darker = 0.8 * images - 0.05
    torch.testing.assert_close(match_exposure(darker, images, where), images, atol=1e-4, rtol=0)
    other = images.roll(3, -1)
    assert float((match_exposure(other, images, where) - images).abs().mean()) > 0.05


def test_a_rig_without_overlap_is_refused_with_the_reason() -> None:
    """Two cameras back to back share nothing: no splat can tell them how large the world is."""
    with pytest.raises(UserError, match="cannot give metric scale"):
        OverlapCache(40.0, 0)(_rig((0.0, math.pi)))
