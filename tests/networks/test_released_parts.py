"""The parts of the network that OccNeRF and GaussianOcc have and the default set-up has not."""

import math

import pytest
import torch
import torch.nn.functional as F

from gsocc.geometry.twist import axis_angle_to_motion
from gsocc.networks.backbones import build_backbone
from gsocc.networks.lifting import ReleasedLift
from gsocc.networks.lifting.rig_cache import RigCache
from gsocc.networks.occupancy_net import OccupancyNet
from gsocc.networks.pyramid_head import UpsampleNeck
from gsocc.structures import CameraRig, ContractedGrid, VoxelGrid

GRID = VoxelGrid((-8.0, -8.0, -1.0), (8, 8, 4), (2.0, 2.0, 0.8))


def _rig(yaws: tuple[float, ...], size: tuple[int, int] = (32, 48)) -> CameraRig:
    poses = []
    for yaw in yaws:
        c, s = math.cos(yaw), math.sin(yaw)
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[s, 0, c], [-c, 0, s], [0, -1.0, 0]])
        pose[2, 3] = 1.5
        poses.append(pose)
    k = torch.tensor([[34.0, 0, size[1] / 2], [0, 34.0, size[0] / 2], [0, 0, 1]])
    return CameraRig(k.expand(1, len(yaws), 3, 3), torch.stack(poses)[None], size)


def _lift_slowly(maps: torch.Tensor, rig: CameraRig, centers: torch.Tensor) -> torch.Tensor:
    """The release's recipe with grid_sample: all cameras x voxels x channels at once."""
    height, width = maps.shape[-2:]
    rig = rig.resized((height, width))
    values = []
    for view in range(len(maps)):
        ego_to_cam = torch.linalg.inv(rig.cam_to_ego[0, view])
        camera = centers.reshape(-1, 3) @ ego_to_cam[:3, :3].T + ego_to_cam[:3, 3]
        pixels = camera @ rig.intrinsics[0, view].T
        x, y = (pixels[:, :2] / pixels[:, 2:].clamp(min=1e-6)).unbind(-1)
        valid = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5) & (camera[:, 2] > 0)
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1).clamp(-2, 2)
        sampled = F.grid_sample(maps[view][None], grid[None, None], align_corners=False)[0, :, 0]
        values.append(sampled * valid)
    stacked = torch.stack(values)
    counted = (stacked.abs() > 0).to(stacked)
    return (stacked.sum(0) / (counted.sum(0) + 1e-6)).unflatten(-1, centers.shape[:3])


@pytest.mark.parametrize(
    "grid", [GRID, ContractedGrid((-8.0, -8.0, -1.0), (8.0, 8.0, 2.2), (8, 8, 4), inner=0.66667, lattice="ends")]
)
def test_released_lifting_equals_the_release_recipe(grid: VoxelGrid | ContractedGrid) -> None:
    """Second implementation by grid_sample; exact zeros in the maps take a camera out of a channel's mean."""
    rig = _rig((0.0, 0.6, 3.0))
    maps = torch.randn(3, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    maps[0, 2] = 0.0
    lifted = ReleasedLift(grid)(maps[None], rig)[0]
    expected = _lift_slowly(maps, rig, grid.centers_m())
    assert bool((expected == 0).all(0).any())
    assert bool((expected != 0).any())
    torch.testing.assert_close(lifted, expected, atol=2e-5, rtol=1e-4)


def test_released_lifting_reads_one_feature_pixel_too_far_at_the_right_edge() -> None:
    """Golden of the release for a map 160 wide: x = 0 is read at -0.5, 79.5 at 79.5, 159 at 159.5.

    A map whose value is its column index, seen by a camera that looks along x; the outer half fades to zero.
    """
    width = 160
    ramp = torch.arange(width, dtype=torch.float32).expand(1, 1, 4, width).contiguous()[None]
    for x, expected in ((79.5, 79.5), (40.0, 40.0 * 160 / 159 - 0.5), (159.0, 159 * 0.5)):
        # One voxel at 10 m, moved sideways until it projects to column x, in the middle of the rows.
        k = torch.tensor([[100.0, 0, 80.0], [0, 100.0, 2.0], [0, 0, 1]])
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        left_m = -(x - 80.0) / 10
        grid = VoxelGrid((9.5, left_m - 0.5, -0.5), (1, 1, 1), (1.0, 1.0, 1.0))
        lifted = ReleasedLift(grid)(ramp, CameraRig(k[None, None], pose[None, None], (4, width)))
        assert lifted.item() == pytest.approx(expected, abs=1e-2)  # 3e-5 px of float32, times 159


def test_released_lifting_has_the_gradient_of_finite_differences() -> None:
    """Linear in the maps where none is zero."""
    rig, lift = _rig((0.0, 1.0)), ReleasedLift(GRID)
    maps = 1 + torch.rand(1, 2, 2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda m: lift(m, rig).square().sum(), (maps.requires_grad_(),))


class _Kilobyte:
    num_bytes = 2**29 + 1


def test_what_is_kept_per_rig_is_bounded() -> None:
    """Two values of half a gibibyte and a bit: the one used longest ago goes."""
    built = []

    def build(rig: CameraRig) -> _Kilobyte:
        built.append(rig)
        return _Kilobyte()

    cache = RigCache(build)
    first, second = _rig((0.0,)), _rig((1.0,))
    assert cache(first) is cache(first)
    cache(second)
    cache(first)
    assert len(built) == 3


def test_the_release_head_ends_at_stride_4() -> None:
    """Two doublings from stride 16; widths 512 and 256 on a bottleneck ResNet, 64 channels out."""
    head = UpsampleNeck([256, 512, 1024], 256, 64)
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes == {
        "merge.0.weight": (512, 1536, 3, 3),
        "merge.3.weight": (512, 512, 3, 3),
        "refine.0.weight": (256, 512, 3, 3),
        "refine.3.weight": (256, 256, 3, 3),
        "project.weight": (64, 256, 1, 1),
        "project.bias": (64,),
    }
    small = UpsampleNeck([2, 4, 8], 2, 3)
    maps = small([torch.rand(2, 2, 8, 16), torch.rand(2, 4, 4, 8), torch.rand(2, 8, 2, 4)])
    assert maps.shape == (2, 3, 8, 16)


def test_a_voxel_embedding_scales_what_was_lifted() -> None:
    """It starts at one: the network with it equals the network without; a zero embedding hides the images."""
    torch.manual_seed(0)
    options = {"num_classes": 2, "pyramid_width": 8, "lift_channels": 4, "decoder": "bev_unet"}
    plain = OccupancyNet(build_backbone("resnet_tiny", norm="group"), GRID, **options)
    embedded = OccupancyNet(build_backbone("resnet_tiny", norm="group"), GRID, voxel_embedding=True, **options)
    missing = embedded.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ["voxel_embedding"]
    rig = _rig((0.0, 1.0))
    images = torch.rand(2, 1, 2, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(
            embedded(images[0], rig.intrinsics, rig.cam_to_ego), plain(images[0], rig.intrinsics, rig.cam_to_ego)
        )
        assert embedded.voxel_embedding is not None
        embedded.voxel_embedding.zero_()
        blind = [embedded(image, rig.intrinsics, rig.cam_to_ego) for image in images]
    torch.testing.assert_close(blind[0], blind[1])


def test_no_classes_leave_one_channel() -> None:
    """OccNeRF's depth-only network."""
    net = OccupancyNet(
        build_backbone("resnet_tiny"), GRID, num_classes=0, neck="upsample", lift="released", initial_occupancy=0.5
    )
    rig = _rig((0.0, 1.0))
    assert net(torch.rand(1, 2, 3, 32, 48), rig.intrinsics, rig.cam_to_ego).shape == (1, 1, 8, 8, 4)
    assert net.free_bias == 0.0


def test_rotation_and_translation_apart_give_the_published_matrix() -> None:
    """Golden of the release: axis-angle (.01, -.02, .03), translation (.5, .02, -.01)."""
    motion = axis_angle_to_motion(torch.tensor([0.5, 0.02, -0.01, 0.01, -0.02, 0.03]))
    expected = torch.tensor(
        [[0.9994, -0.0301, -0.0198, 0.5], [0.0299, 0.9995, -0.0103, 0.02], [0.0201, 0.0097, 0.9998, -0.01]]
    )
    torch.testing.assert_close(motion[:3], expected, atol=6e-5, rtol=0)
