"""The cameras and voxels that benchmarks draw: nuScenes' rig, and fields before, early in and after training."""

import torch

from gsocc.fields.occupancy import OccupancyField
from gsocc.structures import CameraRig, VoxelGrid

EXTENT_M = (80.0, 80.0, 6.4)
"""The box of Occ3D-nuScenes, voxelised as finely as the grid under test asks for."""

SCENES = ("untrained", "early", "street")


def benchmark_grid(counts: tuple[int, int, int]) -> VoxelGrid:
    """Return the box of Occ3D in voxels (z, y, x)."""
    shape = (counts[2], counts[1], counts[0])
    x, y, z = (extent / count for extent, count in zip(EXTENT_M, shape, strict=True))
    return VoxelGrid((-40.0, -40.0, -1.0), shape, (x, y, z))


def surround_rig(image_size: tuple[int, int]) -> CameraRig:
    """Return six cameras with the yaws, fields of view (70 degrees, back 110) and heights of nuScenes."""
    height, width = image_size
    yaws = torch.deg2rad(torch.tensor([0.0, 55.0, 110.0, 180.0, -110.0, -55.0]))
    half_fov = torch.deg2rad(torch.tensor([35.0, 35.0, 35.0, 55.0, 35.0, 35.0]))
    focal = 0.5 * width / torch.tan(half_fov)
    intrinsics = torch.zeros(6, 3, 3)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = width / 2, height / 2, 1.0
    poses = torch.eye(4).repeat(6, 1, 1)
    cos, sin, zero, one = yaws.cos(), yaws.sin(), torch.zeros(6), torch.ones(6)
    right, down, forward = ((sin, -cos, zero), (zero, zero, -one), (cos, sin, zero))
    poses[:, :3, :3] = torch.stack([torch.stack(axis, -1) for axis in (right, down, forward)], -1)
    poses[:, :3, 3] = torch.stack([1.0 + 0.7 * cos, 0.5 * sin, torch.full((6,), 1.55)], -1)
    return CameraRig(intrinsics[None], poses[None], image_size)


def make_field(scene: str, grid: VoxelGrid, channels: int, seed: int = 0) -> OccupancyField:
    """Return a field as it looks before, early in and after training.

    "untrained" has occupancy 0.5 everywhere, "early" 0.05. "street" has a road layer, boxes the size of cars and
    buildings on 4 % of the ground, all near 0.9, and between them 0.001 to 0.03, as trained networks leave it.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = grid.shape
    if scene == "street":
        occupancy = 0.001 * 30.0 ** torch.rand(shape, generator=generator)
        road = int((0.2 - grid.min_m[2]) / grid.voxel_m[2])
        occupancy[:, :, : max(1, road)] = 0.95
        for _ in range(40):
            corner = torch.rand(2, generator=generator) * 76.0
            size = torch.tensor([2.0, 2.0, 1.0]) + torch.rand(3, generator=generator) * torch.tensor([4.0, 4.0, 4.0])
            x, y = (
                slice(int(c / v), int((c + s) / v) + 1) for c, s, v in zip(corner, size, grid.voxel_m, strict=False)
            )
            if (corner - 38.0).abs().min() > 4.0:  # keep the two roads through the middle free
                occupancy[x, y, : road + int(size[2] / grid.voxel_m[2]) + 1] = 0.9
    else:
        occupancy = torch.full(shape, {"untrained": 0.5, "early": 0.05}[scene])
    logits = torch.randn(channels, *shape, generator=generator)
    return OccupancyField(grid, -torch.logit(occupancy)[None], logits[None])
