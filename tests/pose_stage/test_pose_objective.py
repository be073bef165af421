"""The objective of stage 1: its terms, its phases, and the motion of cameras on a turning rig."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gsocc.geometry.projection import pixel_centers, project, unproject
from gsocc.geometry.rig_motion import camera_motion, ego_motion_of, with_key_frame
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.geometry.twist import twist_to_motion
from gsocc.losses.flow import flow_consistency
from gsocc.networks.pose_depth_net import PoseDepthOutput
from gsocc.structures import SurroundBatch
from pose_stage.config import DataConfig, GspConfig, ObjectiveConfig, PoseRunConfig, TrainConfig
from pose_stage.objective import PoseObjective, motion_distance

pytestmark = pytest.mark.slow  # the moment of the world takes seconds to draw

TURN = torch.tensor([0.8, 0.05, 0.0, 0.0, 0.01, 0.15])  # metres, radians: a car in a bend


class _Truth(nn.Module):
    """Says depth and motion as given, times factors."""

    def __init__(self, depth_m: Tensor, ego_motion: Tensor) -> None:
        super().__init__()
        self.depth_m, self.ego_motion = nn.Parameter(depth_m), nn.Parameter(ego_motion)
        self.frozen: list[bool] = []

    def forward(self, *inputs: object, freeze_pose: bool = False) -> PoseDepthOutput:
        self.frozen.append(freeze_pose)
        motion = self.ego_motion.detach() if freeze_pose else self.ego_motion
        return PoseDepthOutput(self.depth_m, motion, None)


def _config(steps: int = 10, **objective: object) -> PoseRunConfig:
    return PoseRunConfig(
        name="test",
        data=DataConfig(root=Path("nowhere")),
        training=TrainConfig(steps=steps),
        gsp=GspConfig(renderer="splat_cpu", level=1),
        objective=ObjectiveConfig.model_validate({"levels": (1,), **objective}),
    )


def _batch(moment, motion: Tensor) -> SurroundBatch:
    """The moment with itself as neighbours, and the flow that `motion` (F, 4, 4) would cause."""
    rig = moment.rig
    views = rig.num_views
    cam = with_key_frame(camera_motion(motion[None], rig.cam_to_ego))
    points = unproject(moment.depth_m, rig.intrinsics).flatten(2, 3)[:, None].expand(-1, 3, -1, -1, -1)
    seen, _ = project(transform_points(cam, points), rig.intrinsics[:, None].expand(-1, 3, -1, -1, -1))
    flow = (seen - pixel_centers(*rig.image_size).flatten(0, 1)).transpose(-1, -2).unflatten(-1, rig.image_size)
    images = moment.images[:, None].expand(-1, 3, -1, -1, -1, -1)
    return SurroundBatch(
        tokens=("a",),
        scenes=("s",),
        timestamps_s=(0.0,),
        frame_ids=(0, -1, 1),
        images=images,
        network_images=images[:, 0],
        intrinsics=rig.intrinsics,
        cam_to_ego=rig.cam_to_ego,
        cam_motion=cam,
        frame_valid=torch.ones(1, 3, views, dtype=torch.bool),
        flow_px=flow,
    )


@pytest.fixture(scope="module")
def motion() -> Tensor:
    """Return the motion to the earlier and to the later neighbour, (2, 4, 4)."""
    return torch.stack([twist_to_motion(TURN), twist_to_motion(-TURN)])


def test_camera_motion_on_a_turning_rig_agrees_with_going_through_the_ego_frame(moment, motion: Tensor) -> None:
    """From camera to ego, by the ego motion, back to the camera; and the inverse finds the ego motion again."""
    rig = moment.rig
    cam = camera_motion(motion[None], rig.cam_to_ego)
    point = torch.tensor([[1.0, -0.5, 7.0]])
    for view in range(rig.num_views):
        pose = rig.cam_to_ego[0, view]
        by_ego = transform_points(invert_rigid(pose), transform_points(motion[0], transform_points(pose, point)))
        torch.testing.assert_close(transform_points(cam[0, 0, view], point), by_ego, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ego_motion_of(cam, rig.cam_to_ego, view)[0], motion, atol=1e-5, rtol=0)
    # Cameras on different sides of a turning car move differently.
    lengths = cam[0, 0, :, :3, 3].norm(dim=-1)
    assert float(lengths.max() - lengths.min()) > 0.1


def test_true_depth_and_motion_imply_the_measured_flow(moment, motion: Tensor) -> None:
    """The flow term is at its floor for the truth, and depth off by a factor or a slower car cost more."""
    batch = _batch(moment, motion)
    valid = batch.frame_valid

    def loss(depth_m: Tensor, cam: Tensor) -> float:
        assert batch.flow_px is not None
        return float(flow_consistency(depth_m, batch.flow_px, batch.intrinsics, cam, valid))

    truth = loss(moment.depth_m, batch.cam_motion)
    assert truth < 2e-3
    assert loss(moment.depth_m * 1.1, batch.cam_motion) > truth + 0.01
    slower = with_key_frame(camera_motion(twist_to_motion(torch.stack([TURN, -TURN]) * 0.9)[None], batch.cam_to_ego))
    assert loss(moment.depth_m, slower) > truth + 0.01


def test_terms_are_reported_and_add_up(moment, motion: Tensor) -> None:
    """What is minimised is the sum of what is logged."""
    batch = _batch(moment, motion)
    model = _Truth(moment.depth_m, motion[None])
    report = PoseObjective(_config(cross_view="splat", flow=0.1))(model, batch)
    assert set(report.terms) == {"temporal", "cross_view", "flow", "smoothness"}
    torch.testing.assert_close(report.total, torch.stack(list(report.terms.values())).sum())
    for name in ("none", "bilinear"):
        terms = PoseObjective(_config(cross_view=name))(model, batch).terms
        assert ("cross_view" in terms) == (name == "bilinear")


def test_refinement_fixes_the_pose_and_leaves_the_cross_view_term_out(moment, motion: Tensor) -> None:
    """The last two of ten steps, as in the paper's two of ten epochs."""
    batch = _batch(moment, motion)
    model = _Truth(moment.depth_m, motion[None])
    objective = PoseObjective(_config(cross_view="bilinear", refine_steps=2))
    found = []
    for step in range(6, 10):
        objective.set_step(step)
        found.append("cross_view" in objective(model, batch).terms)
    assert found == [True, True, False, False]
    assert model.frozen == [False, False, True, True]


def test_the_geometric_motion_warps_and_the_network_imitates_it(moment, motion: Tensor) -> None:
    """Solved from the true flow and depth it is the true motion, so a network that says so pays nothing."""
    batch = _batch(moment, motion)
    objective = PoseObjective(_config(cross_view="none", motion="geometric", imitation=1.0))
    right = objective(_Truth(moment.depth_m, motion[None]), batch)
    still = objective(_Truth(moment.depth_m, torch.eye(4).expand(1, 2, 4, 4).clone()), batch)
    assert right.terms["imitation"].item() < 0.02
    assert still.terms["imitation"].item() > 0.8
    torch.testing.assert_close(right.terms["temporal"], still.terms["temporal"])


def test_motions_differ_by_metres_and_weighted_radians() -> None:
    """Half a metre along x and a hundredth of a radian about z."""
    a = torch.eye(4)[None]
    moved = twist_to_motion(torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.0, 0.0]]))
    turned = twist_to_motion(torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.01]]))
    assert math.isclose(float(motion_distance(a, moved)), 0.5, rel_tol=1e-5)
    assert math.isclose(float(motion_distance(a, turned)), 0.2, rel_tol=1e-3)


def test_flow_that_is_missing_is_asked_for(moment, motion: Tensor) -> None:
    """The term cannot be left out silently."""
    batch = replace(_batch(moment, motion), flow_px=None)
    with pytest.raises(ValueError, match="carry no flow"):
        PoseObjective(_config(cross_view="none", flow=0.1))(_Truth(moment.depth_m, motion[None]), batch)


def test_what_shows_the_vehicle_learns_from_the_plane_alone(moment, motion: Tensor) -> None:
    """Depth behind the mask and in its margin: no gradient from flow and images, one from what lies around it."""
    batch = _batch(moment, motion[:2])
    valid = torch.ones_like(moment.depth_m, dtype=torch.bool)
    valid[:, :, 50:, 30:60] = False
    batch = replace(batch, valid_mask=valid)

    def gradient(plane: float, margin_px: int) -> Tensor:
        config = _config(cross_view="none", smoothness=0.0, flow=1.0, hidden_plane=plane, mask_margin_px=margin_px)
        model = _Truth(moment.depth_m * 1.2, motion[None])
        PoseObjective(config)(model, batch).total.backward()
        assert model.depth_m.grad is not None
        return model.depth_m.grad.abs()

    hidden = torch.zeros_like(valid)
    hidden[:, :, 46:, 26:64] = True  # level 1 compares blocks of two pixels
    assert gradient(0.0, 4)[hidden].max() == 0.0
    assert gradient(0.0, 0)[hidden & valid].max() > 0.0
    assert gradient(1.0, 4)[~valid].max() > 0.0
