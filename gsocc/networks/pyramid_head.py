"""A feature-pyramid head: one map at a quarter of the image size."""

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
