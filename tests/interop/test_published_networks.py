"""Networks with published weights give what the published architecture computes from them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from published_folders import (
    RELEASE_ENCODER,
    RELEASE_POSE,
    Recipe,
    Writer,
    depth_state,
    encoder_state,
    pose_encoder_state,
    pose_state,
    run_network,
    run_pose,
    voxel_centers,
    write_folder,
)
from torch import Tensor

from gsocc.geometry.se3 import invert_rigid
from gsocc.interop import load_gaussianocc, load_occnerf, load_released_pose
from gsocc.interop.released_keys import published_occupancy_keys, published_pose_keys
from gsocc.interop.released_network import build_released_network, released_grid
from gsocc.interop.released_pose import released_pose_config
from gsocc.networks.pose_depth_net import PoseDepthNet
from gsocc.networks.pose_net import StackedPoseNet

_TINY = Recipe()
# A grid of 16 voxels needs larger Gaussians than one of 300 to close its surfaces.
_LARGE: dict[str, dict[str, Any]] = {"splat_cpu": {"sigma_m": 4.0}}


def _inputs(image_size: tuple[int, int], views: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images of one sample in [0, 1], K at their size, poses around the vehicle."""
    generator = torch.Generator().manual_seed(seed)
    height, width = image_size
    images = torch.rand(1, views, 3, height, width, generator=generator)
    k = torch.tensor([[0.8 * width, 0, 0.5 * width], [0, 0.8 * width, 0.45 * height], [0, 0, 1]])
    poses = []
    for view in range(views):
        c, s = math.cos(2 * math.pi * view / views + 0.1), math.sin(2 * math.pi * view / views + 0.1)
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[s, 0, c], [-c, 0, s], [0, -1.0, 0]])
        pose[:3, 3] = torch.tensor([0.5 * c, 0.5 * s, 1.5])
        poses.append(pose)
    return images, k.expand(1, views, 3, 3).contiguous(), torch.stack(poses)[None]


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_gaussianocc_logits_equal_the_published_forward(tmp_path: Path, prefix: str) -> None:
    """Every voxel, to 1e-5 of the scale; files saved from within DDP are the same files."""
    write_folder(tmp_path, _TINY, prefix=prefix)
    model = load_gaussianocc(tmp_path, voxels_zyx=_TINY.voxels_zyx, image_size=_TINY.image_size, backbone="resnet_tiny")
    images, intrinsics, cam_to_ego = _inputs(_TINY.image_size)
    with torch.no_grad():
        logits = model(images, intrinsics, cam_to_ego).voxel_logits
    assert logits.shape == (1, 18, 8, 8, 4)
    expected = run_network(tmp_path, images[0], intrinsics[0], cam_to_ego[0], _TINY.voxels_zyx)
    assert _relative(logits, expected) < 1e-5


@pytest.mark.parametrize(("voxels_zyx", "image_size"), [((8, 12, 16), (64, 96)), ((4, 16, 8), (48, 80))])
def test_other_voxels_and_images_work(
    tmp_path: Path, voxels_zyx: tuple[int, int, int], image_size: tuple[int, int]
) -> None:
    """Nothing in a GaussianOcc file depends on either; x and y may differ."""
    write_folder(tmp_path, _TINY)
    model = load_gaussianocc(tmp_path, voxels_zyx=voxels_zyx, image_size=image_size, backbone="resnet_tiny")
    images, intrinsics, cam_to_ego = _inputs(image_size)
    with torch.no_grad():
        logits = model(images, intrinsics, cam_to_ego).voxel_logits
    assert logits.shape == (1, 18, *voxels_zyx[::-1])
    assert _relative(logits, run_network(tmp_path, images[0], intrinsics[0], cam_to_ego[0], voxels_zyx)) < 1e-5


def test_a_batch_gives_what_its_items_give(tmp_path: Path) -> None:
    """The release takes one sample at a time; instance and frozen batch normalisation do not care."""
    write_folder(tmp_path, _TINY)
    model = load_gaussianocc(tmp_path, voxels_zyx=_TINY.voxels_zyx, image_size=_TINY.image_size, backbone="resnet_tiny")
    parts = [_inputs(_TINY.image_size, seed=seed) for seed in (0, 1)]
    with torch.no_grad():
        both = model(*(torch.cat(pair) for pair in zip(*parts, strict=True))).voxel_logits
        single = torch.cat([model(*part).voxel_logits for part in parts])
    assert _relative(both, single) < 1e-5


@pytest.mark.parametrize("semantic", [True, False])
def test_occnerf_logits_equal_the_published_forward(tmp_path: Path, semantic: bool) -> None:
    """With the voxel embedding; the depth recipe has one channel, the logit of being solid."""
    recipe = Recipe(occnerf=True, semantic=semantic)
    write_folder(tmp_path, recipe)
    model = load_occnerf(tmp_path, voxels_zyx=recipe.voxels_zyx, image_size=recipe.image_size, backbone="resnet_tiny")
    images, intrinsics, cam_to_ego = _inputs(recipe.image_size)
    with torch.no_grad():
        logits = model(images, intrinsics, cam_to_ego).voxel_logits
        raw = model.net(images, intrinsics, cam_to_ego)
    expected = run_network(tmp_path, images[0], intrinsics[0], cam_to_ego[0], recipe.voxels_zyx)
    assert logits.shape[1] == (18 if semantic else 1)
    assert _relative(logits, expected) < 1e-5
    solid = 1 - torch.sigmoid(expected[:, -1]) if semantic else torch.sigmoid(expected[:, -1])
    torch.testing.assert_close(torch.sigmoid(-raw[:, -1]), solid, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_resnet_50_equals_the_published_forward(tmp_path: Path) -> None:
    """Bottleneck blocks and the published widths of encoder and neck."""
    recipe = Recipe(**{**RELEASE_ENCODER, "blocks": (3, 4, 6)})  # type: ignore[arg-type]
    write_folder(tmp_path, recipe, pose=False)
    model = load_gaussianocc(tmp_path, voxels_zyx=recipe.voxels_zyx, image_size=recipe.image_size, backbone="resnet50")
    images, intrinsics, cam_to_ego = _inputs(recipe.image_size)
    with torch.no_grad():
        logits = model(images, intrinsics, cam_to_ego).voxel_logits
    expected = run_network(tmp_path, images[0], intrinsics[0], cam_to_ego[0], recipe.voxels_zyx)
    assert _relative(logits, expected) < 1e-5


def test_without_parity_lifting_follows_the_pixel_convention(tmp_path: Path) -> None:
    """Same weights, other sampling: the logits differ."""
    write_folder(tmp_path, _TINY)
    options = {"voxels_zyx": _TINY.voxels_zyx, "image_size": _TINY.image_size, "backbone": "resnet_tiny"}
    images, intrinsics, cam_to_ego = _inputs(_TINY.image_size)
    with torch.no_grad():
        as_released, fixed = (
            load_gaussianocc(tmp_path, **options, parity=parity)(images, intrinsics, cam_to_ego).voxel_logits
            for parity in (True, False)
        )
    assert _relative(fixed, as_released) > 0.01


def test_lattice_logits_interpolate_between_aligned_corners(tmp_path: Path) -> None:
    """A second implementation: Occ3D's centres contracted by hand, `grid_sample` with aligned corners."""
    write_folder(tmp_path, _TINY)
    model = load_gaussianocc(tmp_path, voxels_zyx=_TINY.voxels_zyx, image_size=_TINY.image_size, backbone="resnet_tiny")
    logits = torch.randn(1, 18, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    axes = [(torch.arange(n) + 0.5) * 2 / n - 1 for n in (200, 200, 16)]
    contracted = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * 0.66667  # all of the lattice lies in the box
    expected = F.grid_sample(logits, contracted.flip(-1)[None], align_corners=True)
    lattice = model.occ3d_logits(logits)
    assert lattice.shape == (1, 18, 200, 200, 16)
    # The release's lattice starts half a *network* voxel from the corner: 0.0 m off with 300 x 300 x 24 voxels.
    half_m = 0.5 * (80 * 80 * 6.4 / int(4 * 8 * 8 * 0.66667**3)) ** (1 / 3)
    shift = torch.tensor([(half_m - 0.2) / 40, (half_m - 0.2) / 40, (half_m - 0.2) / 3.2])
    moved = contracted / 0.66667 + shift
    a, b = (1 - 0.66667) ** 2 / 0.66667, (1 - 2 * 0.66667) / 0.66667
    moved = torch.where(moved.abs() <= 1, 0.66667 * moved, moved.sign() * (1 - a / (moved.abs().clamp(min=1) + b)))
    assert not torch.allclose(lattice, expected, atol=0.1)
    expected = F.grid_sample(logits, moved.flip(-1)[None], align_corners=True)
    torch.testing.assert_close(lattice, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("renderer", ["volume", "splat_cpu"])
def test_a_model_draws_its_logits_at_the_render_size(tmp_path: Path, renderer: str) -> None:
    """Depth within the ranges of the releases, features of all 18 channels; nothing is drawn from free voxels."""
    write_folder(tmp_path, _TINY)
    model = load_gaussianocc(
        tmp_path,
        voxels_zyx=(8, 16, 16),
        image_size=_TINY.image_size,
        render_size=(6, 10),
        backbone="resnet_tiny",
    )
    _, intrinsics, cam_to_ego = _inputs(_TINY.image_size)
    logits = torch.zeros(1, 18, 16, 16, 8)
    logits[:, 17] = -4.0  # solid everywhere
    solid = model.render(logits, intrinsics, cam_to_ego, renderer=renderer, **_LARGE.get(renderer, {}))
    assert solid.depth_sum_m.shape == (1, 3, 6, 10)
    assert solid.features is not None
    assert solid.features.shape == (1, 3, 18, 6, 10)
    assert float(solid.opacity.mean()) > 0.5
    assert 0 < float(solid.depth_sum_m.mean()) < 80
    logits[:, 17] = 20.0
    free = model.render(logits, intrinsics, cam_to_ego, renderer=renderer, **_LARGE.get(renderer, {}))
    assert float(free.depth_sum_m.mean()) > 80 if renderer == "volume" else float(free.opacity.max()) == 0


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    """Intrinsics belong to a size."""
    write_folder(tmp_path, _TINY)
    model = load_gaussianocc(tmp_path, voxels_zyx=_TINY.voxels_zyx, image_size=_TINY.image_size, backbone="resnet_tiny")
    with pytest.raises(ValueError, match=r"expected images of \(32, 64\) \(H, W\), got \(64, 64\)"):
        model(*_inputs((64, 64)))


@pytest.mark.parametrize(
    ("backbone", "recipe"),
    [
        ("resnet_tiny", _TINY),
        ("resnet18", Recipe(stem=64, pose_blocks=(2, 2, 2, 2), pose_widths=(64, 128, 256, 512))),
    ],
)
def test_the_pose_network_equals_the_published_forward(tmp_path: Path, backbone: str, recipe: Recipe) -> None:
    """Both directions: towards the earlier neighbour the motion between the same pair is inverted."""
    write_folder(tmp_path, recipe)
    net, report = load_released_pose(tmp_path, backbone=backbone)
    key, other = torch.rand(2, 1, 4, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        later = net.pose_net(key, other, later=True)
        before = net.pose_net(key, other, later=False)
    torch.testing.assert_close(later[0], run_pose(tmp_path, key[0], other[0]), atol=1e-6, rtol=1e-5)
    expected = invert_rigid(run_pose(tmp_path, other[0], key[0]))
    torch.testing.assert_close(before[0], expected, atol=1e-6, rtol=1e-5)
    assert float(later[0, :3, 3].norm()) > 1e-3
    assert report.count("dead") == 2 + 16


def test_the_grid_has_the_published_centres() -> None:
    """The fixture's own formula against the library's grid."""
    ours = released_grid((24, 300, 300)).centers_m()
    theirs = voxel_centers((24, 300, 300)).permute(2, 1, 0, 3)
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-4)


def _count(state: dict[str, Tensor]) -> int:
    """Number of trained values: buffers of normalisation are none."""
    buffers = ("running_mean", "running_var", "num_batches_tracked", "posfreq", "Zval", "scene_centroid", "xyz_m")
    return sum(v.numel() for k, v in state.items() if isinstance(v, Tensor) and not any(b in k for b in buffers))


def test_full_size_files_have_the_published_counts() -> None:
    """Counted in the releases: tensors per file and parameters per network (the fixture's own format)."""
    full = Recipe(**RELEASE_ENCODER, **RELEASE_POSE, voxels_zyx=(24, 300, 300))  # type: ignore[arg-type]
    encoder = encoder_state(full, Writer(device="meta"))
    assert len(encoder) - 2 == 570
    assert _count(encoder) == 38_758_528
    gaussianocc = depth_state(full, Writer(device="meta"))
    assert (len(gaussianocc), _count(gaussianocc)) == (222, 2_123_372)
    for semantic, tensors, parameters in ((True, 212, 140_334_790), (False, 182, 140_208_354)):
        recipe = Recipe(occnerf=True, semantic=semantic, voxels_zyx=(24, 300, 300))
        state = depth_state(recipe, Writer(device="meta"))
        assert (len(state), _count(state)) == (tensors, parameters)
    assert len(pose_encoder_state(full, Writer(device="meta"))) == 218
    assert len(pose_state(full, Writer(device="meta"))) == 24


@pytest.mark.parametrize(
    ("system", "semantic", "live"), [("gaussianocc", True, 162), ("occnerf", True, 163), ("occnerf", False, 163)]
)
def test_our_network_at_full_size_has_every_published_live_tensor(system: str, semantic: bool, live: int) -> None:
    """Names map one to one and shapes agree; what is left over is dead. Nothing is allocated."""
    full = Recipe(**RELEASE_ENCODER, voxels_zyx=(24, 300, 300), occnerf=system == "occnerf", semantic=semantic)  # type: ignore[arg-type]
    with torch.device("meta"):
        net = build_released_network(
            system,  # type: ignore[arg-type]
            voxels_zyx=(24, 300, 300),
            backbone="resnet101",
            semantic=semantic,
            parity=True,
        )
    own = net.state_dict()
    table = published_occupancy_keys(own, semantic=semantic)
    files = {
        "encoder.pth": encoder_state(full, Writer(device="meta")),
        "depth.pth": depth_state(full, Writer(device="meta")),
    }
    for (file, key), name in table.items():
        assert files[file][key].shape == own[name].shape, key
    counts = {file: sum(f == file for f, _ in table) for file in files}
    assert counts == {"encoder.pth": 570, "depth.pth": live}
    encoder = sum(p.numel() for n, p in net.named_parameters() if n.startswith(("backbone", "pyramid")))
    assert encoder == 38_758_528


@pytest.mark.parametrize(("image_size", "maps"), [((384, 640), (96, 160)), ((336, 672), (84, 168))])
def test_features_at_full_size_have_the_published_shapes(image_size: tuple[int, int], maps: tuple[int, int]) -> None:
    """Golden of the releases: 64 channels at a quarter, pose features at 1/32. Nothing is computed."""
    with torch.device("meta"):
        net = build_released_network(
            "gaussianocc", voxels_zyx=(24, 300, 300), backbone="resnet101", semantic=True, parity=True
        )
        pose = PoseDepthNet(released_pose_config()).pose_net
        images = torch.empty(6, 3, *image_size)
        assert net.pyramid(net.backbone(images)).shape == (6, 64, *maps)
        assert isinstance(pose, StackedPoseNet)
        last = pose.backbone(images, images)[-1]
    assert last.shape == (6, 512, image_size[0] // 32 + (image_size[0] % 32 > 0), image_size[1] // 32)


def test_our_pose_network_at_full_size_has_every_published_live_tensor() -> None:
    """ResNet-34 on two images; the classifier and the branch that never runs are left."""
    full = Recipe(stem=64, **RELEASE_POSE)  # type: ignore[arg-type]
    with torch.device("meta"):
        net = PoseDepthNet(released_pose_config())
    own = net.state_dict()
    table = published_pose_keys(own)
    files = {
        "pose_encoder.pth": pose_encoder_state(full, Writer(device="meta")),
        "pose.pth": pose_state(full, Writer(device="meta")),
    }
    for (file, key), name in table.items():
        shape = files[file][key].shape
        assert (shape == own[name].shape) or (key.startswith("net.3") and shape[0] == 12), key
    assert {file: sum(f == file for f, _ in table) for file in files} == {"pose_encoder.pth": 216, "pose.pth": 8}
