"""Backbones, lifting and decoders."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from gsocc.errors import UserError
from gsocc.geometry.projection import project
from gsocc.geometry.sampling import sample_image
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.networks.backbones import RESNETS, build_backbone
from gsocc.networks.lifting import InterpolationLift
from gsocc.networks.occupancy_net import OccupancyNet
from gsocc.networks.voxel_decoder import BevUnet, Hourglass3d
from gsocc.structures import CameraRig, VoxelGrid

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


def test_lifting_equals_the_mean_over_cameras_of_bilinear_samples() -> None:
    """Second implementation: grid_sample per camera, masked mean, all cameras x voxels x channels at once."""
    rig = _rig((0.0, 0.6, 3.0))
    features = torch.rand(1, 3, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    lifted = InterpolationLift(GRID)(features, rig)
    small = rig.resized((8, 12))
    total, count = torch.zeros(5, 8 * 8 * 4), torch.zeros(8 * 8 * 4)
    for view in range(3):
        points = transform_points(invert_rigid(small.cam_to_ego[0, view]), GRID.centers_m().reshape(-1, 3))
        pixels, z_m = project(points[None], small.intrinsics[0, view][None])
        seen = (z_m[0] > 0) & (pixels[0] >= 0).all(-1) & (pixels[0] < torch.tensor([12, 8])).all(-1)
        sampled = sample_image(features[0, view][None], pixels[:, None], padding="border")[0, :, 0]
        total += sampled * seen
        count += seen
    assert bool((count > 1).any())
    assert bool((count == 0).any())
    expected = (total / count.clamp(min=1)).unflatten(-1, GRID.shape)
    torch.testing.assert_close(lifted[0], expected, atol=1e-5, rtol=1e-4)


def test_lifting_gradient_matches_finite_differences() -> None:
    """The operation is linear; float64 differences are exact to rounding."""
    rig = _rig((0.0, 1.0))
    lift = InterpolationLift(GRID)
    features = torch.rand(1, 2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: lift(f, rig).square().sum(), (features,))


def test_a_batch_lifts_like_its_items() -> None:
    """Each item has its own rig."""
    rigs = [_rig((0.0, 1.0)), _rig((0.2, 2.0))]
    features = torch.rand(2, 2, 3, 8, 12)
    both = CameraRig(
        torch.cat([r.intrinsics for r in rigs]), torch.cat([r.cam_to_ego for r in rigs]), rigs[0].image_size
    )
    lift = InterpolationLift(GRID)
    batched = lift(features, both)
    for i, rig in enumerate(rigs):
        torch.testing.assert_close(batched[i : i + 1], lift(features[i : i + 1], rig))


@pytest.mark.parametrize("name", ["resnet_tiny", "resnet18", "resnet50"])
def test_backbones_return_strides_4_8_16(name: str) -> None:
    """Channels as announced."""
    backbone = build_backbone(name, levels=3)
    maps = backbone(torch.rand(1, 3, 32, 48))
    assert [m.shape[-2:] for m in maps] == [(8, 12), (4, 6), (2, 3)]
    assert [m.shape[1] for m in maps] == backbone.channels


class _Torchvision(nn.Module):
    """The basic-block ResNet of torchvision, which is no dependency, as a second implementation."""

    def __init__(self, depths: list[int], widths: list[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(_Block(channels, width, 2 if i and not j else 1))
                channels = width
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, stride=2, padding=1)
        maps = []
        for i in range(3):
            x = getattr(self, f"layer{i + 1}")(x)
            maps.append(x)
        return maps


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + skip).relu()


def test_torchvision_weights_give_torchvisions_features(tmp_path: Path) -> None:
    """Same state dict, same numbers: the names map and the strides agree."""
    torch.manual_seed(0)
    reference = _Torchvision(RESNETS["resnet18"][0], RESNETS["resnet18"][1]).eval()
    torch.save(reference.state_dict(), tmp_path / "resnet18.pth")
    backbone = build_backbone("resnet18", weights=tmp_path / "resnet18.pth").eval()
    images = torch.rand(1, 3, 32, 32)
    normalised = (images - backbone.mean) / backbone.std
    for ours, theirs in zip(backbone(images), reference(normalised), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """The message names the file, the network and a tensor."""
    torch.save(_Torchvision([1, 1, 1, 1], [64, 128, 256, 512]).state_dict(), tmp_path / "small.pth")
    with pytest.raises(UserError, match=r"small.pth is not a torchvision state dict of resnet18"):
        build_backbone("resnet18", weights=tmp_path / "small.pth")


def test_an_unknown_backbone_names_the_known_ones() -> None:
    """What was expected, what came."""
    with pytest.raises(UserError, match=r"resnet18.*got 'resnet19'"):
        build_backbone("resnet19")


@pytest.mark.parametrize("decoder", [BevUnet, Hourglass3d])
def test_decoders_keep_the_grid(decoder: type[nn.Module]) -> None:
    """In (B, C, X, Y, Z), out (B, K, X, Y, Z)."""
    network = decoder(GRID, 6, 5)
    assert network(torch.rand(2, 6, 8, 8, 4)).shape == (2, 5, 8, 8, 4)


def test_the_hourglass_network_has_the_published_size() -> None:
    """Counted in the release: dres0 83,072, dres1 55,424, three hourglasses of 553,664, an 18-class head of 126,436."""
    network = Hourglass3d(GRID, 64, 18)
    assert sum(p.numel() for p in network.parameters()) == 83_072 + 55_424 + 3 * 553_664 + 126_436


def test_the_network_starts_at_its_initial_occupancy() -> None:
    """The free-space bias sets it; raw outputs spread around it."""
    torch.manual_seed(0)
    net = OccupancyNet(
        build_backbone("resnet_tiny", norm="group"),
        GRID,
        num_classes=3,
        pyramid_width=16,
        lift_channels=4,
        decoder="bev_unet",
        initial_occupancy=0.1,
    )
    rig = _rig((0.0, 1.0))
    logits = net(torch.rand(1, 2, 3, 32, 48), rig.intrinsics, rig.cam_to_ego)
    assert logits.shape == (1, 4, 8, 8, 4)
    assert 0.03 < torch.sigmoid(-logits[:, -1]).median().item() < 0.25
