"""Small rigs, grids and fields that the renderer tests share."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gsocc.fields.density import DensityField
from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGrid

Draw = Callable[[VoxelGrid, Tensor, Tensor, CameraRig], RenderOutput]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "splat_cpu-cached": ("splat_cpu", {}),
    "splat_cpu-tiles": ("splat_cpu", {"cache": False}),
    "splat_torch": ("splat_torch", {}),
    "volume": ("volume", {"step_m": 0.05, "far_m": 15.0}),
    "volume-cells": ("volume", {"sampling": "cells", "interpolation": "nearest"}),
    "volume_cpu": ("volume_cpu", {"step_m": 0.05, "far_m": 15.0}),
    "volume_cpu-nearest": ("volume_cpu", {"step_m": 0.05, "far_m": 15.0, "interpolation": "nearest"}),
    "volume_cpu-cells": ("volume_cpu", {"sampling": "cells", "interpolation": "nearest"}),
}
"""Every renderer that runs on a CPU, in every way of sampling it has."""


def drawer(kind: str, scale_fraction: float = 0.4, *, oracle: bool = False) -> Draw:
    """Return a function that draws (grid, density, features, rig) with one of `KINDS`, or with its torch oracle."""
    name, options = KINDS[kind]
    if oracle:
        name, options = ("splat_torch", {}) if name.startswith("splat") else ("volume", options)
    renderer = build_renderer(name, **options)

    def draw(grid: VoxelGrid, density: Tensor, features: Tensor, rig: CameraRig) -> RenderOutput:
        field = DensityField(grid, density, features)
        scene = field.to_gaussians((scale_fraction,) * 3) if name.startswith("splat") else field
        return renderer.render(scene, rig)

    return draw


def forward_rig(
    image_size: tuple[int, int] = (7, 11), focal_px: float = 20.0, yaws_rad: Sequence[float] = (0.0,), batch: int = 1
) -> CameraRig:
    """Return cameras at the ego origin that look along x, turned left by the yaws; the axis meets a pixel centre."""
    height, width = image_size
    intrinsics = torch.tensor([[focal_px, 0.0, width / 2], [0.0, focal_px, height / 2], [0.0, 0.0, 1.0]])
    poses = []
    for yaw in yaws_rad:
        cos, sin = math.cos(yaw), math.sin(yaw)
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[sin, 0.0, cos], [-cos, 0.0, sin], [0.0, -1.0, 0.0]])
        poses.append(pose)
    return CameraRig(
        intrinsics.expand(batch, len(poses), 3, 3).clone(),
        torch.stack(poses).expand(batch, -1, 4, 4).clone(),
        image_size,
    )


def surround_rig(image_size: tuple[int, int] = (12, 20), batch: int = 1) -> CameraRig:
    """Return three tilted cameras beside the origin, in general position: no two depths tie."""
    rig = forward_rig(image_size, 0.6 * image_size[1], (0.3, 2.4, -1.7), batch)
    tilt = torch.eye(4)
    tilt[1:3, 1:3] = torch.tensor([[math.cos(0.13), -math.sin(0.13)], [math.sin(0.13), math.cos(0.13)]])
    poses = rig.cam_to_ego @ tilt
    poses[:, :, :3, 3] = torch.tensor([[0.31, 0.12, 0.41], [-0.2, 0.33, 0.57], [0.07, -0.26, 0.49]])
    return CameraRig(rig.intrinsics, poses, image_size)


def random_gaussians(count: int, channels: int, seed: int = 0, batch: int = 1) -> Gaussians:
    """Return Gaussians around the origin, of all shapes and turns, no opacity near 0 or 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, count, *shape, generator=generator)

    return Gaussians(
        means=(uniform(3) - 0.5) * torch.tensor([12.0, 12.0, 5.0]),
        quats=torch.randn(batch, count, 4, generator=generator),
        scales=0.1 + 0.5 * uniform(3),
        opacities=0.1 + 0.6 * uniform(),
        features=torch.randn(batch, count, channels, generator=generator),
    )


SMALL_GRID = VoxelGrid((-4.0, -4.0, -1.6), (10, 10, 8), (0.8, 0.8, 0.4))


def random_volume(channels: int, seed: int = 0, batch: int = 1, peak: float = 2.0) -> tuple[Tensor, Tensor]:
    """Return density (B, X, Y, Z) in 1/m up to peak, mostly thin, and features, on `SMALL_GRID`."""
    generator = torch.Generator().manual_seed(seed)
    density = torch.rand(batch, *SMALL_GRID.shape, generator=generator).pow(3) * peak
    features = torch.randn(batch, channels, *SMALL_GRID.shape, generator=generator)
    return density, features


def weighted_sum(out: RenderOutput, seed: int = 5) -> Tensor:
    """Return a scalar in which every output has its own random weight: its gradient tests all of them at once."""
    generator = torch.Generator().manual_seed(seed)
    total = out.opacity.new_zeros((), dtype=torch.float64)
    for part in (out.depth_sum_m, out.opacity, out.features):
        total = total + (part.double() * torch.randn(part.shape, generator=generator, dtype=torch.float64)).sum()
    return total
