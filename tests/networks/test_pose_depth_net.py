"""Networks of stage 1: flat start, one motion per rig, what each configuration needs."""

import math

import pytest
import torch
from torch import Tensor

from gsocc.errors import UserError
from gsocc.geometry.se3 import invert_rigid
from gsocc.networks.backbones import build_backbone
from gsocc.networks.depth_net import DepthNet
from gsocc.networks.pose_depth_net import DepthConfig, PoseConfig, PoseDepthConfig, PoseDepthNet
from gsocc.networks.pose_net import FlowPoseNet, StackedPoseNet
from gsocc.structures import CameraRig

SIZE = (32, 48)
SMALL = {"norm": "group", "initial_depth_m": 4.0}


def _rig(views: int = 3) -> CameraRig:
    k = torch.tensor([[34.0, 0, 24.0], [0, 34.0, 16.0], [0, 0, 1]])
    poses = []
    for view in range(views):
        c, s = math.cos(0.9 * view), math.sin(0.9 * view)
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[s, 0, c], [-c, 0, s], [0, -1.0, 0]])
        poses.append(pose)
    return CameraRig(k.expand(1, views, 3, 3), torch.stack(poses)[None], SIZE)


def _inputs(views: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, views, 3, *SIZE, generator=generator)
    flow = torch.randn(1, 3, views, 2, *SIZE, generator=generator)
    flow[:, 0] = 0
    return images, flow


@pytest.mark.parametrize("backbone", ["resnet_tiny", "swin_nano"])
@pytest.mark.parametrize("extra", [0, 5])
def test_untrained_depth_is_flat_and_as_configured(backbone: str, extra: int) -> None:
    """A raw output of zero is the initial depth; the small head adds a few per cent."""
    torch.manual_seed(0)
    net = DepthNet(
        build_backbone(backbone, levels=4, norm="group", extra_channels=extra),
        extra_channels=extra,
        initial_depth_m=4.0,
    )
    images = torch.rand(2, 3, *SIZE)
    depth_m, scale = net(images, torch.rand(2, extra, *SIZE) if extra else None)
    assert depth_m.shape == (2, *SIZE)
    assert scale is None
    torch.testing.assert_close(depth_m, torch.full_like(depth_m, 4.0), rtol=0.15, atol=0)


def test_depth_stays_within_its_limits_whatever_the_head_says() -> None:
    """The sigmoid runs between the disparities of the two limits."""
    torch.manual_seed(0)
    net = DepthNet(build_backbone("resnet_tiny", levels=2, norm="group"), min_depth_m=2.0, max_depth_m=50.0)
    images = torch.rand(1, 3, *SIZE)
    for bias, limit in ((40.0, 2.0), (-40.0, 50.0)):
        torch.nn.init.constant_(net.head.bias, bias)  # type: ignore[arg-type]
        torch.testing.assert_close(net(images).depth_m, torch.full((1, *SIZE), limit), rtol=1e-4, atol=0)


def test_limits_in_the_wrong_order_are_refused() -> None:
    """A start beyond the farthest depth has no disparity to start from."""
    with pytest.raises(ValueError, match="initial_depth_m < max_depth_m"):
        DepthNet(build_backbone("resnet_tiny", levels=1), initial_depth_m=100.0)


def test_a_second_image_starts_from_half_the_weights_of_the_first() -> None:
    """Two equal images then answer as one did: the published start of pose networks from ImageNet."""
    torch.manual_seed(0)
    one = build_backbone("resnet_tiny", levels=1, norm="group")
    torch.manual_seed(0)
    two = build_backbone("resnet_tiny", levels=1, norm="group", extra_channels=3, second_image=True)
    images = torch.rand(1, 3, *SIZE)
    one.eval(), two.eval()
    both = two(images, two.normalised(images))[0]
    torch.testing.assert_close(both, one(images)[0], rtol=1e-4, atol=1e-5)


def test_the_stacked_network_inverts_the_motion_to_an_earlier_neighbour() -> None:
    """The pair is always (earlier, later): swapping key frame and neighbour inverts the motion exactly."""
    torch.manual_seed(0)
    backbone = build_backbone("resnet_tiny", levels=4, norm="group", extra_channels=3, second_image=True)
    net = StackedPoseNet(backbone, width=16, translation_scale=5.0, rotation_scale=1.0)
    images, _ = _inputs()
    forward = net(images[:, 0], images[:, 1], later=True)
    backward = net(images[:, 1], images[:, 0], later=False)
    torch.testing.assert_close(backward, invert_rigid(forward))
    assert forward[0, :3, 3].norm() > 1e-4


def test_all_cameras_share_one_motion_and_their_order_does_not_matter() -> None:
    """Features are averaged over the cameras."""
    torch.manual_seed(0)
    net = FlowPoseNet(width=8)
    images, flow = _inputs()
    rays = torch.nn.functional.normalize(torch.randn(1, 3, 3, *SIZE), dim=2)
    motion = net(images[:, 0], flow[:, 1], rays)
    order = [2, 0, 1]
    torch.testing.assert_close(net(images[:, 0, order], flow[:, 1, order], rays[:, order]), motion)
    rotation = motion[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pose", ["flow", "stacked"])
def test_a_network_built_from_its_configuration_gives_depth_and_motion(pose: str) -> None:
    """What stage 2 does: the `model:` section alone is enough."""
    torch.manual_seed(0)
    config = PoseDepthConfig(
        depth=DepthConfig(backbone="resnet_tiny", rays=True, flow=pose == "flow", scale_map=True, **SMALL),
        pose=PoseConfig(name=pose, backbone="resnet_tiny", norm="group", width=8),
    )
    assert config.needs_flow == (pose == "flow")
    net = PoseDepthNet(config)
    images, flow = _inputs()
    rig = _rig()
    out = net(images[:, 0], images, rig.intrinsics, rig.cam_to_ego, flow)
    assert out.depth_m.shape == (1, 3, *SIZE)
    assert out.ego_motion.shape == (1, 2, 4, 4)
    assert out.scale is not None
    torch.testing.assert_close(net.depth(images[:, 0], rig, flow), out.depth_m)
    torch.testing.assert_close(net.motion(images, flow, rig), out.ego_motion)


def test_a_frozen_pose_has_no_gradient_and_the_same_values() -> None:
    """The refinement keeps the pose network as it is."""
    torch.manual_seed(0)
    config = PoseDepthConfig(depth=DepthConfig(backbone="resnet_tiny", **SMALL), pose=PoseConfig(name="flow", width=8))
    net = PoseDepthNet(config).train()
    images, flow = _inputs()
    rig = _rig()
    inputs = (images[:, 0], images, rig.intrinsics, rig.cam_to_ego, flow)
    frozen = net(*inputs, freeze_pose=True)
    assert not frozen.ego_motion.requires_grad
    assert net.pose_net.training
    torch.testing.assert_close(frozen.ego_motion, net(*inputs).ego_motion)


def test_missing_flow_is_named_with_its_option() -> None:
    """And with what adds it."""
    config = PoseDepthConfig(depth=DepthConfig(backbone="resnet_tiny", **SMALL), pose=PoseConfig(name="flow", width=8))
    images, _ = _inputs()
    with pytest.raises(UserError, match=r"model.pose.name: flow needs optical flow"):
        PoseDepthNet(config).motion(images, None, _rig())


def test_the_same_picture_is_as_far_as_the_focal_length_is_long() -> None:
    """Similar triangles: a thing of one size in the image is twice as far from a camera of twice the focal length."""
    rig = _rig(views=2)
    k = rig.intrinsics.clone()
    k[:, 1, :2, :2] *= 2
    rig = CameraRig(k, rig.cam_to_ego, SIZE)
    images = _inputs(views=1)[0][:, 0].expand(-1, 2, -1, -1, -1)

    def depth_m(share: float | None) -> Tensor:
        torch.manual_seed(0)
        config = PoseDepthConfig(
            depth=DepthConfig.model_validate({"backbone": "resnet_tiny", "focal_share": share, **SMALL}),
            pose=PoseConfig(name="flow", width=8),
        )
        return PoseDepthNet(config).eval().depth(images, rig)

    torch.testing.assert_close(depth_m(None)[:, 0], depth_m(None)[:, 1])
    scaled = depth_m(34.0 / 48.0)
    torch.testing.assert_close(scaled[:, 0], depth_m(None)[:, 0])
    torch.testing.assert_close(scaled[:, 1], 2 * scaled[:, 0])
