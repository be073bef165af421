"""Necks: from the pyramid of a backbone to one feature map at a quarter of the image size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsocc.networks.backbones import group_norm


class PyramidHead(nn.Module):
    """Merge backbone levels top-down (FPN, arXiv:1612.03144) and project the finest to `out_channels`."""

    def __init__(self, in_channels: list[int], width: int, out_channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in in_channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), group_norm(width), nn.ReLU(inplace=True)
        )
        self.project = nn.Conv2d(width, out_channels, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return (N, out_channels, H/4, W/4) from maps at strides 4, 8, ..."""
        merged = self.lateral[-1](levels[-1])
        for lateral, level in zip(list(self.lateral)[-2::-1], levels[-2::-1], strict=True):
            coarse = F.interpolate(merged, size=level.shape[-2:], mode="bilinear", align_corners=False)
            merged = lateral(level) + coarse
        return self.project(self.smooth(merged))


class UpsampleNeck(nn.Module):
    """The neck of OccNeRF and GaussianOcc: merge stride 16 into stride 8, then double the size once more.

    The map at stride 4 takes no part. Every 3x3 convolution is followed by instance normalisation without learned
    scale, so that the contrast of each image is its own.

    Args:
        in_channels: Channels at strides 4, 8 and 16.
        width: Channels at stride 4, half of those at stride 8; 256 in the release.
        out_channels: Channels of the result.
    """

    def __init__(self, in_channels: list[int], width: int, out_channels: int) -> None:
        super().__init__()
        if len(in_channels) != 3:
            raise ValueError(
                f"UpsampleNeck: expected a backbone of 3 levels (strides 4, 8, 16), got {len(in_channels)}"
            )
        self.merge = _double_conv(sum(in_channels[1:]), 2 * width)
        self.refine = _double_conv(2 * width, width)
        self.project = nn.Conv2d(width, out_channels, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return (N, out_channels, H/4, W/4) from maps at strides 4, 8 and 16; the first is not read."""
        coarse = F.interpolate(levels[2], size=levels[1].shape[-2:], mode="bilinear", align_corners=False)
        merged = self.merge(torch.cat([levels[1], coarse], 1))
        doubled = F.interpolate(merged, scale_factor=2, mode="bilinear", align_corners=False)
        return self.project(self.refine(doubled))


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


NECKS: dict[str, type[nn.Module]] = {"pyramid": PyramidHead, "upsample": UpsampleNeck}
