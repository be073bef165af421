"""Twists, and the motion of a rig from flow and depth: exact worlds have exact answers."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gsocc.datasets.world.sensors import cameras
from gsocc.geometry.ego_motion import EgoMotion, SolverOptions, solve_ego_motion
from gsocc.geometry.projection import pixel_centers, project, unproject
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.geometry.twist import motion_to_twist, rotation_angle, twist_to_motion

SIZE = (24, 40)
TURN = (-0.8, 0.05, 0.01, 0.003, -0.005, 0.04)  # forward 0.8 m, turning left by 2.3 degrees with some pitch and roll


def rig() -> tuple[Tensor, Tensor]:
    """Return intrinsics and cam_to_ego, (1, V, ...) in float64, of the synthetic world's six cameras."""
    six = cameras(SIZE)
    return tuple(torch.tensor(np.stack([getattr(c, n) for c in six]))[None] for n in ("intrinsics", "cam_to_ego"))  # type: ignore[return-value]


def scenery(seed: int = 0) -> Tensor:
    """Return depths between 3 and 40 m, (1, V, H, W)."""
    noise = torch.rand(1, 6, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 3.0 * (40.0 / 3.0) ** noise


def exact_flow(depth_m: Tensor, motion: Tensor) -> Tensor:
    """Return the flow that a static world of this depth shows to a rig that moves by `motion`, (1, V, 2, H, W)."""
    intrinsics, cam_to_ego = rig()
    cam_motion = invert_rigid(cam_to_ego) @ motion[:, None] @ cam_to_ego
    there, _ = project(transform_points(cam_motion, unproject(depth_m, intrinsics).flatten(2, 3)), intrinsics)
    flow = there - pixel_centers(*SIZE, dtype=torch.float64).flatten(0, 1)
    return flow.transpose(-1, -2).unflatten(-1, SIZE)


def solve(flow_px: Tensor, depth_m: Tensor, **options: object) -> EgoMotion:
    return solve_ego_motion(flow_px, depth_m, *rig(), **options)  # type: ignore[arg-type]


def motion_of(*twist: float) -> Tensor:
    return twist_to_motion(torch.tensor([twist], dtype=torch.float64))


def test_a_quarter_turn_while_driving_ends_where_the_circle_does() -> None:
    """A velocity of pi/2 m along x and a turn of pi/2 about z: a quarter of a circle of radius 1 m, to (1, 1)."""
    motion = motion_of(math.pi / 2, 0, 0, 0, 0, math.pi / 2)[0]
    torch.testing.assert_close(motion[:3, 3], torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(motion[:3, 0], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 9.9e-5, 1.1e-4, 0.1, 2.0, 3.1])
def test_logarithm_undoes_the_exponential_at_every_angle(angle: float) -> None:
    """On both sides of the switch to series."""
    twist = torch.tensor([0.3, -1.0, 2.0, 0.6, 0.0, -0.8], dtype=torch.float64)
    twist[3:] *= angle
    torch.testing.assert_close(motion_to_twist(twist_to_motion(twist)), twist, atol=1e-11, rtol=1e-9)
    torch.testing.assert_close(rotation_angle(twist_to_motion(twist)), twist[3:].norm(), atol=1e-12, rtol=1e-9)


def test_the_exponential_has_a_gradient_at_rest() -> None:
    """Pose networks start there; sin(t)/t written naively has none."""
    twist = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(twist_to_motion, (twist,))


def test_exact_flow_of_a_turning_rig_gives_its_motion_back() -> None:
    true = motion_of(*TURN)
    depth = scenery()
    found = solve(exact_flow(depth, true), depth)
    torch.testing.assert_close(found.ego_motion, true, atol=1e-6, rtol=0)
    assert found.inlier_share.item() > 0.99


def test_direction_of_the_motion_is_from_the_key_frame_to_the_other_time() -> None:
    """A car that drove 1 m forward sees a point 10 m ahead at 9 m: the matrix takes x = 10 to x = 9."""
    depth = scenery()
    found = solve(exact_flow(depth, motion_of(-1.0, 0, 0, 0, 0, 0)), depth)
    ahead = transform_points(found.ego_motion, torch.tensor([[[10.0, 0.0, 0.0]]], dtype=torch.float64))
    torch.testing.assert_close(ahead[0, 0], torch.tensor([9.0, 0.0, 0.0], dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_a_third_of_wrong_flow_moves_the_answer_by_less_than_a_centimetre(seed: int) -> None:
    """30 % of the pixels point anywhere within 15 px, the rest carries noise of 0.1 px."""
    generator = torch.Generator().manual_seed(seed)
    true, depth = motion_of(*TURN), scenery(seed)
    flow = exact_flow(depth, true)
    flow += 0.1 * torch.randn(flow.shape, generator=generator, dtype=torch.float64)
    wrong = torch.rand(1, 6, 1, *SIZE, generator=generator) < 0.3
    flow = torch.where(wrong, 30.0 * torch.rand(flow.shape, generator=generator, dtype=torch.float64) - 15.0, flow)
    found = solve(flow, depth)
    off = motion_to_twist(found.ego_motion @ invert_rigid(true))[0]
    assert off[:3].norm() < 1e-2
    assert torch.rad2deg(off[3:].norm()) < 0.1
    assert 0.55 < found.inlier_share.item() < 0.9


def test_one_camera_that_lies_does_not_matter() -> None:
    """The flow of one camera in six says that it stands still, as where rain sticks to its glass."""
    true, depth = motion_of(*TURN), scenery(4)
    flow = exact_flow(depth, true)
    flow[:, 2] = 0.0
    torch.testing.assert_close(solve(flow, depth).ego_motion, true, atol=1e-3, rtol=0)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_world_of_another_size_gives_the_same_rotation_and_a_scaled_translation(factor: float) -> None:
    """From one camera centre. With several, the known distances between them break the tie: here they are set to 0."""
    intrinsics, cam_to_ego = rig()
    cam_to_ego[..., :3, 3] = 0.0
    true, depth = motion_of(*TURN), scenery()
    cam_motion = invert_rigid(cam_to_ego) @ true[:, None] @ cam_to_ego
    there, _ = project(transform_points(cam_motion, unproject(depth, intrinsics).flatten(2, 3)), intrinsics)
    flow = (there - pixel_centers(*SIZE, dtype=torch.float64).flatten(0, 1)).transpose(-1, -2).unflatten(-1, SIZE)
    found = solve_ego_motion(flow, depth * factor, intrinsics, cam_to_ego).ego_motion
    torch.testing.assert_close(found[:, :3, :3], true[:, :3, :3], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, :3, 3], factor * true[:, :3, 3], atol=1e-6, rtol=0)


def test_a_frame_that_nothing_explains_falls_back_to_the_prior_and_says_so() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 40.0 * torch.rand(1, 6, 2, *SIZE, generator=generator, dtype=torch.float64) - 20.0
    prior = motion_of(-0.7, 0, 0, 0, 0, 0.01)
    found = solve(noise, scenery(), prior=prior)
    assert found.inlier_share.item() == 0.0
    torch.testing.assert_close(found.ego_motion, prior)
    assert torch.isinf(found.covariance.diagonal(dim1=1, dim2=2)).all()


@pytest.mark.parametrize("nothing", ["valid", "depth", "flow"])
def test_frames_without_a_usable_pixel_stay_at_the_prior_beside_good_ones(nothing: str) -> None:
    """A batch of a good frame and an empty one: the good one is solved as if alone."""
    true, depth = motion_of(*TURN), scenery().repeat(2, 1, 1, 1)
    flow = exact_flow(scenery(), true).repeat(2, 1, 1, 1, 1)
    valid = torch.ones(depth.shape, dtype=torch.bool)
    if nothing == "valid":
        valid[1] = False
    elif nothing == "depth":
        depth[1] = 0.0
    else:
        flow[1] = float("nan")
    intrinsics, cam_to_ego = (m.expand(2, *m.shape[1:]) for m in rig())
    found = solve_ego_motion(flow, depth, intrinsics, cam_to_ego, valid)
    alone = solve(flow[:1], depth[:1])
    torch.testing.assert_close(found.ego_motion[0], alone.ego_motion[0], atol=1e-9, rtol=0)
    assert torch.equal(found.ego_motion[1], torch.eye(4, dtype=torch.float64))
    assert found.inlier_share[1] == 0.0


def test_spread_of_repeated_solutions_is_what_the_covariance_says() -> None:
    """Independent noise of 0.15 px on every flow vector, 40 times: within a third of the predicted deviation.

    The chance error of a deviation from 40 draws is 11 %; the robust weights cost a few percent.
    """
    true, depth = motion_of(*TURN), scenery(1).expand(40, -1, -1, -1)
    flow = exact_flow(depth[:1], true).expand(40, -1, -1, -1, -1)
    flow = flow + 0.15 * torch.randn(flow.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    intrinsics, cam_to_ego = (m.expand(40, *m.shape[1:]) for m in rig())
    found = solve_ego_motion(flow, depth, intrinsics, cam_to_ego)
    off = motion_to_twist(found.ego_motion @ invert_rigid(true))
    predicted = found.covariance.mean(0).diagonal().sqrt()
    assert ((off.std(0) / predicted - 1).abs() < 1 / 3).all()


def test_a_subset_of_the_pixels_is_enough_and_nothing_carries_a_gradient() -> None:
    true = motion_of(*TURN)
    depth = scenery().requires_grad_()
    found = solve(exact_flow(depth, true), depth, options=SolverOptions(max_points=500))
    torch.testing.assert_close(found.ego_motion, true, atol=1e-6, rtol=0)
    assert not found.ego_motion.requires_grad


def test_float32_in_gives_float32_out_at_a_tenth_of_a_millimetre() -> None:
    true, depth = motion_of(*TURN), scenery()
    flow = exact_flow(depth, true).float()
    found = solve_ego_motion(flow, depth.float(), *(m.float() for m in rig()))
    assert found.ego_motion.dtype == torch.float32
    torch.testing.assert_close(found.ego_motion, true.float(), atol=1e-4, rtol=0)
