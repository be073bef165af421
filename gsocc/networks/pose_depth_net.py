"""Stage 1 in one network: depth of every camera and the motion of the rig between two moments."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from gsocc.config import Config
from gsocc.errors import UserError
from gsocc.geometry.ego_motion import solve_ego_motion
from gsocc.geometry.projection import camera_directions
from gsocc.networks.backbones import build_backbone
from gsocc.networks.depth_net import DepthNet
from gsocc.networks.pose_net import FlowPoseNet, StackedPoseNet
from gsocc.structures.camera_rig import CameraRig
from gsocc.structures.surround import SurroundBatch

_FLOW_SCALE = 20.0  # flow over focal length is a few hundredths: times this it is about one


class DepthConfig(Config):
    """The depth network.

    Attributes:
        backbone: A name in `RESNETS` or `SWINS`, or a local folder of transformers; None where there is no depth
            network, as in the published checkpoints, which hold that of the pose alone.
        backbone_weights: torchvision's ImageNet .pth, for a ResNet.
        backbone_levels: Levels of the backbone, from stride 4 on.
        norm: Normalisation of a ResNet: "batch", or "group" for batches of one rig.
        initial_depth_m: The flat depth that training starts from.
        min_depth_m: Nearest depth that can be said.
        max_depth_m: Farthest.
        rays: Also see where in the ego frame each pixel looks; ties the network to the rig.
        flow: Also see optical flow: sharper depth, but the speed leaks into it.
        scale_map: Also predict Gaussian sizes, for `gsp.scale: learned`.
        focal_share: Focal length along u over image width of the camera whose depth the network says, limits and start
            included; to twice the focal length the same picture is twice as far (the canonical camera of Metric3D,
            arXiv:2307.10984). None takes what the network says for every camera's depth.
    """

    backbone: str | None = "resnet50"
    backbone_weights: Path | None = None
    backbone_levels: int = Field(default=4, ge=1, le=4)
    norm: Literal["batch", "group"] = "batch"
    initial_depth_m: float = Field(default=10.0, gt=0)
    min_depth_m: float = Field(default=0.5, gt=0)
    max_depth_m: float = 80.0
    rays: bool = False
    flow: bool = False
    scale_map: bool = False
    focal_share: float | None = Field(default=None, gt=0)


class PoseConfig(Config):
    """The pose network.

    Attributes:
        name: "stacked" is the paper's, on image pairs; "flow" a small one on optical flow, which a CPU can train.
        backbone: Of "stacked".
        backbone_weights: torchvision's ImageNet .pth, for a ResNet.
        norm: See `DepthConfig.norm`.
        width: Of "flow": channels after the first convolution; of "stacked": channels of the decoder.
        translation_scale: Factor on the raw translation; 0.01 in the paper's lineage, far from a metre at first.
        rotation_scale: Factor on the raw rotation; small, so that rotation does not explain what translation should.
        image_statistics: Of "stacked": a name in `IMAGE_STATISTICS`; the published weights expect "monodepth2".
        twist: Of "stacked": read the output as a twist; the published weights expect false, see `StackedPoseNet`.
        readout: What `predict_motion` gives: the network's motion, or the one that fits flow and predicted depth best.
    """

    name: Literal["stacked", "flow"] = "stacked"
    backbone: str = "resnet34"
    backbone_weights: Path | None = None
    norm: Literal["batch", "group"] = "batch"
    width: int = Field(default=256, ge=4)
    translation_scale: float = Field(default=0.01, gt=0)
    rotation_scale: float = Field(default=0.01, gt=0)
    image_statistics: Literal["imagenet", "monodepth2"] = "imagenet"
    twist: bool = True
    readout: Literal["network", "geometric"] = "network"


class PoseDepthConfig(Config):
    """Both networks of stage 1: the `model:` section of a run."""

    depth: DepthConfig = DepthConfig()
    pose: PoseConfig = PoseConfig()

    @property
    def needs_flow(self) -> bool:
        """Whether samples must carry optical flow."""
        return self.depth.flow or self.pose.name == "flow" or self.pose.readout == "geometric"

    def without_pretrained(self) -> "PoseDepthConfig":
        """Return the same networks for a checkpoint that brings all weights.

        Those that training started from may not be on this machine.
        """
        depth = self.depth.model_copy(update={"backbone_weights": None})
        pose = self.pose.model_copy(update={"backbone_weights": None})
        return self.model_copy(update={"depth": depth, "pose": pose})


class PoseDepthOutput(NamedTuple):
    """What the network says of a batch.

    Attributes:
        depth_m: Depth of the key frame's images along the optical axis.
        ego_motion: Takes points of the ego frame at the key frame to the ego frame at each neighbour.
        scale: Learned factor of Gaussian sizes in (0, 1), where there is such a map.
    """

    depth_m: Float[Tensor, "B V H W"]
    ego_motion: Float[Tensor, "B F 4 4"]
    scale: Float[Tensor, "B V H W"] | None


class PoseDepthNet(nn.Module):
    """Depth of single images and one motion of the whole rig; built from its configuration alone."""

    def __init__(self, config: PoseDepthConfig) -> None:
        super().__init__()
        self.config = config
        depth, pose = config.depth, config.pose
        self.extra_channels = 3 * depth.rays + 4 * depth.flow
        self.depth_net = None if depth.backbone is None else _build_depth_net(depth, self.extra_channels)
        scales: dict[str, Any] = {
            "width": pose.width,
            "translation_scale": pose.translation_scale,
            "rotation_scale": pose.rotation_scale,
        }
        self.pose_net: StackedPoseNet | FlowPoseNet
        if pose.name == "flow":
            self.pose_net = FlowPoseNet(**scales)
        else:
            stacked = build_backbone(
                pose.backbone,
                levels=4,
                weights=pose.backbone_weights,
                norm=pose.norm,
                extra_channels=3,
                second_image=True,
                statistics=pose.image_statistics,
            )
            self.pose_net = StackedPoseNet(stacked, **scales, twist=pose.twist)

    def forward(
        self,
        network_images: Float[Tensor, "B V 3 H W"],
        images: Float[Tensor, "B T V 3 H W"],
        intrinsics: Float[Tensor, "B V 3 3"],
        cam_to_ego: Float[Tensor, "B V 4 4"],
        flow_px: Float[Tensor, "B T V 2 H W"] | None = None,
        frame_ids: tuple[int, ...] = (0, -1, 1),
        freeze_pose: bool = False,
    ) -> PoseDepthOutput:
        """Return depth and motion of a batch, whose parts come one by one: Fabric cannot look into a frozen batch.

        Args:
            network_images: What the depth network sees: the key frame, colour-jittered in training.
            images: What the pose network sees: all times, clean, key frame first.
            intrinsics: K in pixels of the images.
            cam_to_ego: Camera poses.
            flow_px: Flow from the key frame, where the configuration needs it.
            frame_ids: Which index of `images` is which time.
            freeze_pose: Take the motion as it is: no gradient, and the pose network in evaluation mode.
        """
        height, width = images.shape[-2:]
        rig = CameraRig(intrinsics, cam_to_ego, (height, width))
        depth_m, scale = self._depth(network_images, rig, flow_px)
        if not freeze_pose:
            return PoseDepthOutput(depth_m, self.motion(images, flow_px, rig, frame_ids), scale)
        training = self.pose_net.training
        self.pose_net.eval()
        with torch.no_grad():
            motion = self.motion(images, flow_px, rig, frame_ids)
        self.pose_net.train(training)
        return PoseDepthOutput(depth_m, motion, scale)

    def depth(
        self,
        images: Float[Tensor, "B V 3 H W"],
        rig: CameraRig,
        flow_px: Float[Tensor, "B T V 2 H W"] | None = None,
    ) -> Float[Tensor, "B V H W"]:
        """Return the depth of images along the optical axis, in metres.

        Args:
            images: RGB in [0, 1] at the size of `rig`.
            rig: The cameras.
            flow_px: Needed where `depth.flow` is set.
        """
        return self._depth(images, rig, flow_px)[0]

    def motion(
        self,
        images: Float[Tensor, "B T V 3 H W"],
        flow_px: Float[Tensor, "B T V 2 H W"] | None,
        rig: CameraRig,
        frame_ids: tuple[int, ...] = (0, -1, 1),
    ) -> Float[Tensor, "B F 4 4"]:
        """Return the pose network's motion from the key frame to each neighbour.

        Args:
            images: RGB in [0, 1], key frame first.
            flow_px: Flow from the key frame, in pixels; needed by the pose network "flow".
            rig: The cameras.
            frame_ids: Which index of `images` is which time.
        """
        if isinstance(self.pose_net, FlowPoseNet):
            flow = self._require_flow(flow_px, "pose.name: flow") / _focal(rig)[:, None]
            rays = _ego_rays(rig)
            return torch.stack([self.pose_net(images[:, 0], flow[:, f], rays) for f in range(1, images.shape[1])], 1)
        pairs = [self.pose_net(images[:, 0], images[:, f], later=frame_ids[f] > 0) for f in range(1, images.shape[1])]
        return torch.stack(pairs, 1)

    def predict_motion(self, batch: SurroundBatch) -> Float[Tensor, "B F 4 4"]:
        """Return the motion of a batch by the configured read-out.

        `network` is the pose network's. `geometric` is the motion that explains the flow of all cameras best, given the
        predicted depth (robust Gauss-Newton); it learns nothing and is metric because the depth is.
        """
        if self.config.pose.readout == "network":
            return self.motion(batch.images, batch.flow_px, batch.rig, batch.frame_ids)
        return self.geometric_motion(self.depth(batch.images[:, 0], batch.rig, batch.flow_px), batch)

    @staticmethod
    @torch.no_grad()
    def geometric_motion(depth_m: Float[Tensor, "B V H W"], batch: SurroundBatch) -> Float[Tensor, "B F 4 4"]:
        """Return the motion to each neighbour that fits the flow best, given depth; without gradient."""
        flow_px = PoseDepthNet._require_flow(batch.flow_px, "pose.readout: geometric")
        solved = [
            solve_ego_motion(flow_px[:, f], depth_m, batch.intrinsics, batch.cam_to_ego, batch.valid_mask).ego_motion
            for f in range(1, flow_px.shape[1])
        ]
        return torch.stack(solved, 1)

    def _depth(
        self, images: Tensor, rig: CameraRig, flow_px: Tensor | None
    ) -> tuple[Float[Tensor, "B V H W"], Float[Tensor, "B V H W"] | None]:
        if self.depth_net is None:
            raise UserError(
                "model.depth.backbone: this checkpoint holds a pose network alone, which knows no depth; "
                "read its motion (model.pose.readout: network), or train both networks with `gsocc train pose`"
            )
        batch, views = images.shape[:2]
        parts = []
        if self.config.depth.rays:
            parts.append(_ego_rays(rig))
        if self.config.depth.flow:
            flow = self._require_flow(flow_px, "depth.flow") / _focal(rig)[:, None] * _FLOW_SCALE
            parts.append(flow[:, 1:3].transpose(1, 2).flatten(2, 3))  # (B, V, 4, H, W)
        extra = torch.cat(parts, 2).flatten(0, 1) if parts else None
        depth_m, scale = self.depth_net(images.flatten(0, 1), extra)
        shape = (batch, views)
        depth_m = depth_m.unflatten(0, shape)
        if self.config.depth.focal_share is not None:
            share = rig.intrinsics[..., 0, 0] / rig.image_size[1]  # (B, V)
            depth_m = depth_m * (share / self.config.depth.focal_share)[..., None, None]
        return depth_m, None if scale is None else scale.unflatten(0, shape)

    @staticmethod
    def _require_flow(flow_px: Tensor | None, option: str) -> Tensor:
        if flow_px is None:
            raise UserError(f"model.{option} needs optical flow, but the samples carry none; wrap the data in WithFlow")
        return flow_px


def _build_depth_net(depth: DepthConfig, extra_channels: int) -> DepthNet:
    assert depth.backbone is not None  # the caller's to check
    backbone = build_backbone(
        depth.backbone,
        levels=depth.backbone_levels,
        weights=depth.backbone_weights,
        norm=depth.norm,
        extra_channels=extra_channels,
    )
    return DepthNet(
        backbone,
        extra_channels=extra_channels,
        initial_depth_m=depth.initial_depth_m,
        min_depth_m=depth.min_depth_m,
        max_depth_m=depth.max_depth_m,
        scale_map=depth.scale_map,
    )


def _focal(rig: CameraRig) -> Float[Tensor, "B V 2 1 1"]:
    """Return focal lengths along u and v in pixels."""
    return rig.intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2, None, None]


def _ego_rays(rig: CameraRig) -> Float[Tensor, "B V 3 H W"]:
    """Return the unit viewing direction of every pixel in the ego frame."""
    directions = nn.functional.normalize(camera_directions(rig.intrinsics, rig.image_size), dim=-1)
    turned = torch.einsum("bvij,bvhwj->bvihw", rig.cam_to_ego[..., :3, :3], directions)
    return turned.contiguous()
