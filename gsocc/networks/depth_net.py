"""Depth from single images, with optional ray directions and optical flow as further inputs."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsocc.networks.backbones import Backbone, group_norm

_FLAT_GAIN = 0.05  # of the head's first weights: the untrained depth is flat to a few per cent


class DepthMaps(NamedTuple):
    """What `DepthNet` says of each image.

    Attributes:
        depth_m: Depth along the optical axis in metres.
        scale: Learned factor of the Gaussian's size in (0, 1), or None where the network has no such map.
    """

    depth_m: Float[Tensor, "N H W"]
    scale: Float[Tensor, "N H W"] | None


class DepthNet(nn.Module):
    """A U-Net on any backbone; shared over cameras, one image at a time.

    The raw output x becomes a disparity between those of the depth limits (monodepth2, arXiv:1806.01260),

        1 / depth = 1 / max + (1 / min - 1 / max) sigmoid(x + b),

    with b such that x = 0 is `initial_depth_m`: training starts from a flat map that is known.

    Args:
        backbone: Built for as many extra channels as `extra` will hold.
        extra_channels: Channels of `extra`; 0 for images alone.
        initial_depth_m: Depth of every pixel before the first step.
        min_depth_m: Nearest depth that can be said.
        max_depth_m: Farthest.
        detail_channels: Channels at half the image size, where the backbone has no level.
        scale_map: Also predict a map of Gaussian sizes.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        extra_channels: int = 0,
        initial_depth_m: float = 10.0,
        min_depth_m: float = 1.0,
        max_depth_m: float = 80.0,
        detail_channels: int = 16,
        scale_map: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < min_depth_m < initial_depth_m < max_depth_m:
            raise ValueError(
                "DepthNet: expected 0 < min_depth_m < initial_depth_m < max_depth_m, got "
                f"{min_depth_m}, {initial_depth_m}, {max_depth_m}"
            )
        self.backbone = backbone
        self.nearest, self.farthest = 1 / min_depth_m, 1 / max_depth_m
        share = (1 / initial_depth_m - self.farthest) / (self.nearest - self.farthest)
        self.bias = math.log(share / (1 - share))
        self.detail = _block(3 + extra_channels, detail_channels, stride=2)
        channels = [detail_channels, *backbone.channels]
        widths = [max(c // 2, detail_channels) for c in channels[:-1]]  # of the decoder, finest first
        below = [*widths[1:], channels[-1]]
        self.up = nn.ModuleList(
            _block(b + c, w) for b, c, w in zip(reversed(below), channels[-2::-1], reversed(widths), strict=True)
        )
        self.head = nn.Conv2d(widths[0], 2 if scale_map else 1, 3, padding=1)
        with torch.no_grad():
            self.head.weight *= _FLAT_GAIN
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]  # Conv2d has one

    def forward(self, images: Float[Tensor, "N 3 H W"], extra: Float[Tensor, "N E H W"] | None = None) -> DepthMaps:
        """Return depth at the size of the images; it is made at half of it.

        Args:
            images: RGB in [0, 1].
            extra: Ray directions, flow or both, scaled to about one.
        """
        levels = self.backbone(images, extra)
        inputs = self.backbone.normalised(images)
        if extra is not None:
            inputs = torch.cat([inputs, extra], 1)
        skips = [self.detail(inputs), *levels]
        merged = skips[-1]
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            coarse = F.interpolate(merged, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            merged = up(torch.cat([coarse, skip], 1))
        # In float32 and interpolated before the sigmoid: half precision is too coarse for far depths.
        raw = F.interpolate(self.head(merged).float(), size=images.shape[-2:], mode="bilinear", align_corners=False)
        disparity = self.farthest + (self.nearest - self.farthest) * torch.sigmoid(raw[:, 0] + self.bias)
        return DepthMaps(1 / disparity, torch.sigmoid(raw[:, 1]) if raw.shape[1] > 1 else None)


def _block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        group_norm(out_channels),
        nn.ReLU(inplace=True),
    )
