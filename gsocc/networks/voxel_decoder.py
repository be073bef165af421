"""Networks on the lifted voxel features."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsocc.networks.backbones import group_norm
from gsocc.networks.recompute import recomputed
from gsocc.structures.contracted_grid import ContractedGrid
from gsocc.structures.voxel_grid import VoxelGrid


class BevUnet(nn.Module):
    """A 2-D U-Net over the ground plane with height folded into channels: the cheap decoder, for CPUs.

    Each voxel is read out from its column's features, its own lifted features and nothing else, by 1x1x1
    convolutions. Three coordinate channels (x, y and horizontal distance, scaled to the grid) tell the columns apart.
    """

    coordinates: Tensor

    def __init__(
        self,
        grid: VoxelGrid | ContractedGrid,
        in_channels: int,
        out_channels: int,
        widths: tuple[int, ...] = (64, 96, 128),
    ) -> None:
        super().__init__()
        self.num_heights = grid.shape[2]
        column = 8  # features per voxel that the column network hands out
        folded = in_channels * self.num_heights + 3
        self.enter = _conv_block(folded, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_conv_block(a, b, stride=2), _conv_block(b, b)) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(_conv_block(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.unfold = nn.Conv2d(widths[0], column * self.num_heights, 1)
        self.read_out = nn.Sequential(
            nn.Conv3d(column + in_channels, 16, 1), nn.ReLU(inplace=True), nn.Conv3d(16, out_channels, 1)
        )
        # Of a contracted grid in contracted coordinates: its outermost centres lie kilometres away.
        if isinstance(grid, VoxelGrid):
            xy = grid.centers_m()[:, :, 0, :2] / max(abs(v) for v in (*grid.min_m[:2], *grid.max_m[:2]))
        else:
            axes = [(2 * torch.arange(n) + 1) / n - 1 for n in grid.shape[:2]]
            xy = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        coordinates = torch.cat([xy, xy.norm(dim=-1, keepdim=True)], -1).permute(2, 0, 1)[None]
        self.register_buffer("coordinates", coordinates, persistent=False)  # (1, 3, X, Y)

    def forward(self, voxels: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B K X Y Z"]:
        """Return raw outputs per voxel."""
        folded = voxels.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (B, C Z, X, Y)
        level = self.enter(torch.cat([folded, self.coordinates.expand(len(folded), -1, -1, -1)], 1))
        skips = []
        for down in self.down:
            skips.append(level)
            level = down(level)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            coarse = F.interpolate(level, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            level = up(torch.cat([skip, coarse], 1))
        columns = self.unfold(level).unflatten(1, (-1, self.num_heights)).permute(0, 1, 3, 4, 2)
        return self.read_out(torch.cat([columns, voxels], 1))


def _conv_block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        group_norm(out_channels),
        nn.ReLU(inplace=True),
    )


class Hourglass3d(nn.Module):
    """The 3-D CNN of OccNeRF and GaussianOcc: an entry block, three stacked hourglasses (PSMNet) and a head.

    All convolutions are 3x3x3 without bias and each is followed by batch normalisation, the last one included: raw
    outputs are normalised. The grid must be divisible by 4 along every axis.

    Attributes:
        recompute: Keep only what goes from one of the six parts to the next and compute the rest again in the backward
            pass.
    """

    recompute: bool = False

    def __init__(self, grid: VoxelGrid | ContractedGrid, in_channels: int, out_channels: int, width: int = 32) -> None:
        super().__init__()
        if any(n % 4 for n in grid.shape):
            raise ValueError(f"Hourglass3d: the grid must be divisible by 4 along every axis, got {grid.shape}")
        self.enter = nn.Sequential(_conv3d(in_channels, width), nn.ReLU(), _conv3d(width, width), nn.ReLU())
        self.residual = nn.Sequential(_conv3d(width, width), nn.ReLU(), _conv3d(width, width))
        self.hourglasses = nn.ModuleList(_Hourglass(width) for _ in range(3))
        head: list[nn.Module] = []
        for _ in range(4):
            head += [_conv3d(width, width), nn.ReLU()]
        self.head = nn.Sequential(*head, _conv3d(width, out_channels))

    def forward(self, voxels: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B K X Y Z"]:
        """Return raw outputs per voxel."""
        entered = self._run(self.enter, voxels)
        cost = self._run(self.residual, entered) + entered
        out, before, after = self._run(self.hourglasses[0], cost, None, None)
        out, _, after = self._run(self.hourglasses[1], out + cost, before, after)
        out, _, _ = self._run(self.hourglasses[2], out + cost, before, after)
        return self._run(self.head, out)

    def _run(self, part: nn.Module, *inputs: Tensor | None) -> Any:
        return recomputed(part, *inputs) if self.recompute else part(*inputs)


class _Hourglass(nn.Module):
    """Two levels down and up; `before` and `after` are the half-resolution maps of an earlier hourglass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 2 * width
        self.down1 = nn.Sequential(_conv3d(width, inner, stride=2), nn.ReLU())
        self.middle = _conv3d(inner, inner)
        self.down2 = nn.Sequential(_conv3d(inner, inner, stride=2), nn.ReLU(), _conv3d(inner, inner), nn.ReLU())
        self.up1 = _transposed3d(inner, inner)
        self.up2 = _transposed3d(inner, width)

    def forward(self, voxels: Tensor, before: Tensor | None, after: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        half = self.middle(self.down1(voxels))
        own_before = F.relu(half if after is None else half + after)
        up = self.up1(self.down2(own_before))
        own_after = F.relu(up + (own_before if before is None else before))
        return self.up2(own_after), own_before, own_after


def _conv3d(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm3d(out_channels),
    )


def _transposed3d(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose3d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=False),
        nn.BatchNorm3d(out_channels),
    )


VOXEL_DECODERS: dict[str, type[nn.Module]] = {"bev_unet": BevUnet, "hourglass3d": Hourglass3d}
