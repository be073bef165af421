"""Published logits drawn and read as the releases do, against slow code written from their description."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gsocc.interop.released_lattice import occ3d_logits, released_lattice_m, released_voxel_m
from gsocc.interop.released_rendering import ReleasedOptions, released_field, render_released, volume_options
from gsocc.renderers import build_renderer
from gsocc.renderers.ray_samples import contracted_table
from gsocc.renderers.volume_options import VolumeOptions
from gsocc.structures import OCC3D_GRID, CameraRig, ContractedGrid
from gsocc.structures.contracted_grid import RELEASED_INNER

LOW, HIGH, ALPHA = np.array([-40.0, -40.0, -1.0]), np.array([40.0, 40.0, 5.4]), 0.66667
FULL = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (300, 300, 24), RELEASED_INNER, "ends")
SMALL = ContractedGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 5.4), (24, 20, 8), RELEASED_INNER, "ends")
Array = NDArray[np.float64]


def nuscenes_rig(image_size: tuple[int, int]) -> CameraRig:
    """Return six cameras with the nominal directions and fields of view of nuScenes: 70 degrees, 110 at the back."""
    height, width = image_size
    intrinsics, poses = [], []
    for yaw, focal in (
        (0.0, 1266.0),
        (55.0, 1266.0),
        (110.0, 1266.0),
        (180.0, 809.0),
        (-110.0, 1266.0),
        (-55.0, 1266.0),
    ):
        cos, sin = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        fx, fy = focal * width / 1600.0, focal * height / 900.0
        intrinsics.append(torch.tensor([[fx, 0.0, 0.51 * width], [0.0, fy, 0.53 * height], [0.0, 0.0, 1.0]]))
        pose = torch.eye(4)
        pose[:3, :3] = torch.tensor([[sin, 0.0, cos], [-cos, 0.0, sin], [0.0, -1.0, 0.0]])
        pose[:3, 3] = torch.tensor([0.8 + 0.9 * cos, 0.5 * sin, 1.51])
        poses.append(pose)
    return CameraRig(torch.stack(intrinsics)[None], torch.stack(poses)[None], image_size)


def small_logits(free: float = 4.0) -> torch.Tensor:
    """Return 18 random logits per voxel of `SMALL`, most of them free: rays end anywhere, or not at all."""
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(1, 18, *SMALL.shape, generator=generator)
    logits[:, -1] = free + 2.0 * logits[:, -1]
    return logits


def squeeze(points: Array) -> Array:
    """Contract, as published: with t = alpha / (1 - alpha), another form of the same function."""
    ratio = 2.0 * (points - LOW) / (HIGH - LOW) - 1.0
    t = ALPHA / (1.0 - ALPHA)
    beyond = np.sign(ratio) * (1.0 - 1.0 / (t * (np.maximum(np.abs(ratio), 1.0) - 1.0) + 1.0) * (1.0 - ALPHA))
    return np.asarray(np.where(np.abs(ratio) <= 1.0, ALPHA * ratio, beyond))


def corner_sample(volume: Array, contracted: Array) -> Array:
    """Interpolate (C, X, Y, Z) at contracted points (N, 3) with aligned corners, voxel by voxel."""
    shape = np.array(volume.shape[1:])
    position = 0.5 * (contracted + 1.0) * (shape - 1)
    base = np.floor(position).astype(int)
    total = np.zeros((volume.shape[0], len(contracted)))
    for corner in np.ndindex(2, 2, 2):
        voxel = base + corner
        share = np.prod(np.where(np.array(corner) == 1, position - base, 1.0 - (position - base)), -1)
        inside = ((voxel >= 0) & (voxel < shape)).all(-1)
        i, j, k = np.clip(voxel, 0, shape - 1).T
        total += volume[:, i, j, k] * share * inside
    return total


def published_march(logits: torch.Tensor, rig: CameraRig, grid: ContractedGrid, group: int) -> Array:
    """Return (V, H, W, 20): semantics, depth and accumulated opacity of the rule 'prob', ray by ray."""
    volume, shape = logits[0].double().numpy(), np.array(grid.shape)
    diagonal = float(np.linalg.norm(HIGH - LOW))
    voxel = float(np.prod(HIGH - LOW) / int(np.prod(shape) * ALPHA**3)) ** (1 / 3)
    count = int(diagonal / 2 / 0.5 / voxel / ALPHA)
    c = np.linspace(0.0, 1.0 - 0.5 / shape[0], count)
    a, b = (1 - ALPHA) ** 2 / ALPHA, (1 - 2 * ALPHA) / ALPHA
    depths = diagonal * np.where(c <= ALPHA, c / ALPHA, a / (1.0 - c) - b) + 0.1
    height, width = rig.image_size
    image = np.zeros((rig.num_views, height, width, 20))
    for view, row, column in np.ndindex(rig.num_views, height, width):
        k, pose = rig.intrinsics[0, view].double().numpy(), rig.cam_to_ego[0, view].double().numpy()
        ahead = [(column + 0.5 - k[0, 2]) / k[0, 0], (row + 0.5 - k[1, 2]) / k[1, 1], 1.0]
        contracted = squeeze(pose[:3, 3] + depths[:, None] * (pose[:3, :3] @ np.array(ahead)))
        kept = np.concatenate([[True], (np.abs(np.diff(contracted, axis=0)) > 0.4 / shape).any(-1)])
        sampled = corner_sample(volume, contracted)
        p = np.zeros(count)
        p[-1] = 1.0
        p[kept] = 1.0 / (1.0 + np.exp(sampled[17, kept]))
        filled = np.minimum(np.cumsum(p), 1.0)
        weights = np.diff(filled, prepend=0.0)
        for first in range(0, count, group):
            members = slice(first, first + group)
            if kept[members].any():
                seen = corner_sample(volume, contracted[members].mean(0, keepdims=True))[:, 0]
                image[view, row, column, :18] += weights[members].sum() * seen
        image[view, row, column, 18:] = weights @ depths, filled[-1]
    return image


def test_spacing_and_samples_are_the_published_ones() -> None:
    """Figures from running the code: an edge of 0.399998 m, 424 depths up to 11,388.03 m, before 0.1 m are added."""
    assert released_voxel_m(FULL) == pytest.approx(0.399998, abs=5e-7)
    depths, _ = contracted_table(FULL, VolumeOptions(**volume_options(FULL, ReleasedOptions())))
    golden = {
        1: 0.4012, 50: 20.0583, 100: 40.1165, 200: 80.2330, 282: 113.1285, 283: 113.5305, 300: 121.3458,
        320: 133.8206, 350: 165.2268, 368: 200.3074, 400: 394.211, 410: 640.488, 420: 2215.78, 423: 11388.03,
    }  # fmt: skip
    assert len(depths) == 424
    for k, depth in golden.items():
        assert depths[k].item() - 0.1 == pytest.approx(depth, abs=6e-5, rel=3e-5)


@pytest.mark.parametrize("ratio", [1.0, 0.25])
@pytest.mark.parametrize("free", [4.0, 9.0])
def test_volume_is_the_published_rule(ratio: float, free: float) -> None:
    """To 1e-3 of each output's scale; depth up to where the published clamp is, and unclamped on its own scale.

    With a free logit of 4 rays fill up on their way; of 9 they keep half of their light for the last sample, which is
    959 m away where it was dropped.
    """
    rig, logits = nuscenes_rig((4, 6)), small_logits(free)
    k, pose = rig.intrinsics, rig.cam_to_ego
    full = k * torch.tensor([4.0, 5.0, 1.0])[:, None]
    out = render_released(logits, SMALL, full, pose, (20, 24), (4, 6), "volume", semantic_ratio=ratio)
    expected = torch.from_numpy(published_march(logits, rig, SMALL, int(1 / ratio))).float()
    semantics, depth, opacity = expected[..., :18].movedim(-1, 1), expected[..., 18], expected[..., 19]
    assert (opacity > 0.999).any()
    assert depth.max() > 900.0 or free < 9.0
    torch.testing.assert_close(out.opacity[0], opacity, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(out.features[0], semantics, atol=1e-4 * semantics.abs().max().item(), rtol=1e-4)
    torch.testing.assert_close(out.depth_sum_m[0], depth, atol=1e-3, rtol=2e-4)
    clamped = out.depth_sum_m[0].clamp(0.1, 200.0)
    torch.testing.assert_close(clamped, depth.clamp(0.1, 200.0), atol=2e-2, rtol=0.0)


@pytest.mark.parametrize(
    ("name", "options", "share"), [("volume", {}, 0.77), ("volume", {"half": True}, 0.85), ("volume_cpu", {}, 0.77)]
)
def test_the_last_of_424_samples_is_met_by_as_many_rays_as_published(
    name: str, options: dict[str, bool], share: float
) -> None:
    """Figures from a run of the code on a rig like that of nuScenes: 77 % of rays, 85 % in half precision.

    About 280 to 330 samples of a ray are kept. With p = 0.001 everywhere, opacity counts what was kept, in
    thousandths, where the last sample was; else it is 1.
    """
    logits = torch.full((1, 1, *FULL.shape), math.log(0.001 / 0.999))
    rig = nuscenes_rig((12, 20) if name == "volume" else (45, 80))
    renderer = build_renderer(name, **options, **volume_options(FULL, ReleasedOptions()))
    opacity = renderer.render(released_field(logits, FULL), rig).opacity
    met = opacity < 0.9
    assert met.float().mean().item() == pytest.approx(share, abs=0.02)
    kept = 1000.0 * opacity[met]
    assert 280 < kept.median() < kept.mean() < 330


def test_half_precision_is_off_by_what_float16_resolves() -> None:
    """At 40 m float16 knows depth to 0.03 m, and sums of 50 probabilities to 1e-3 of a ray or a few."""
    rig, logits = nuscenes_rig((4, 6)), small_logits(2.0)
    given = (logits, SMALL, rig.intrinsics, rig.cam_to_ego, rig.image_size, rig.image_size, "volume")
    full, half = render_released(*given), render_released(*given, half=True)
    assert half.depth_sum_m.dtype == torch.float32
    near = full.depth_sum_m < 40.0
    assert near.float().mean() > 0.5
    error = (half.depth_sum_m - full.depth_sum_m)[near].abs()
    assert 0.0 < error.max() < 1.0
    assert error.median() < 0.1


def test_double_precision_stays_double() -> None:
    """Kernels have single precision only, so that plain torch draws it; the two agree to that."""
    rig, logits = nuscenes_rig((2, 3)), small_logits()
    given = (SMALL, rig.intrinsics, rig.cam_to_ego, rig.image_size, rig.image_size)
    one, two = render_released(logits.double(), *given), render_released(logits, *given)
    assert one.depth_sum_m.dtype == torch.float64
    torch.testing.assert_close(one.features.float(), two.features, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_the_published_rule_passes_a_gradient_check_in_double_precision(ratio: float) -> None:
    """To all logits, of which the last is geometry and feature at once."""
    grid = ContractedGrid(FULL.min_m, FULL.max_m, (4, 3, 3), RELEASED_INNER, "ends")
    rig = nuscenes_rig((1, 2))
    rig = CameraRig(rig.intrinsics[:, 1:2].double(), rig.cam_to_ego[:, 1:2].double(), rig.image_size)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, *grid.shape, generator=generator, dtype=torch.float64)
    logits[:, -1] += 3.0
    options = volume_options(grid, ReleasedOptions())
    renderer = build_renderer("volume", feature_group=int(1 / ratio), weights=True, **options)

    def picture(leaf: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = renderer.render(released_field(leaf, grid), rig)
        assert out.weights is not None
        return 1e-3 * out.depth_sum_m, out.opacity, out.features, out.weights

    assert torch.autograd.gradcheck(picture, (logits.requires_grad_(),))


def test_a_network_without_semantics_is_drawn_from_the_logit_of_being_solid() -> None:
    rig, logits = nuscenes_rig((3, 4)), small_logits()
    given = (SMALL, rig.intrinsics, rig.cam_to_ego, rig.image_size, rig.image_size, "volume")
    two, one = render_released(logits, *given), render_released(-logits[:, -1:], *given)
    torch.testing.assert_close(one.depth_sum_m, two.depth_sum_m)
    assert one.features.shape == (1, 6, 0, 3, 4)


@pytest.mark.parametrize("name", ["splat_cpu", "splat_torch"])
def test_splats_are_drawn_with_the_released_settings(name: str) -> None:
    """By the options one by one; what these draw is held against slow code beside the renderers."""
    rig, logits = nuscenes_rig((9, 16)), small_logits(0.0)
    out = render_released(logits, SMALL, rig.intrinsics, rig.cam_to_ego, rig.image_size, rig.image_size, name)
    scene = released_field(logits, SMALL).to_gaussians(
        (0.2 / SMALL.voxel_m[0], 0.2 / SMALL.voxel_m[1], 0.2 / SMALL.voxel_m[2]), ((60.0, 4.0), (80.0, 8.0))
    )
    options = {"near_m": 0.2, "alpha_max": 0.99, "footprint": "released"}
    expected = build_renderer("splat_torch", **options).render(scene, rig)
    assert expected.opacity.max() > 0.3
    torch.testing.assert_close(out.features, expected.features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out.depth_sum_m, expected.depth_sum_m, atol=1e-3, rtol=1e-4)
    assert out.features.shape[2] == 18


def test_options_without_a_meaning_are_refused() -> None:
    rig, logits = nuscenes_rig((3, 4)), small_logits()
    given = (logits, SMALL, rig.intrinsics, rig.cam_to_ego, rig.image_size, rig.image_size)
    with pytest.raises(ValueError, match=r"semantic_ratio must lie in \(0, 1\]"):
        render_released(*given, semantic_ratio=0.0)
    with pytest.raises(ValueError, match="semantic_ratio and half belong to renderer \"volume\", got 'volume_cpu'"):
        render_released(*given, "volume_cpu", half=True)
    with pytest.raises(ValueError, match=r"expected one of .*splat_cpu"):
        render_released(*given, "raster")


def test_the_lattice_of_evaluation_is_that_of_occ3d() -> None:
    """x_i = -40 + 0.4 i + 0.5 * 0.399998 for the published grid; a coarser one is read at its own offset."""
    points = released_lattice_m(FULL)
    assert points.shape == (200, 200, 16, 3)
    torch.testing.assert_close(points, OCC3D_GRID.centers_m(), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(points[7, 3, 2], torch.tensor([-37.000001, -38.600001, -0.000001]), atol=5e-6, rtol=0.0)
    edge = (80.0 * 80.0 * 6.4 / int(24 * 20 * 8 * ALPHA**3)) ** (1 / 3)
    torch.testing.assert_close(released_lattice_m(SMALL)[0, 0, 0], torch.tensor(LOW + 0.5 * edge).float())


def test_logits_are_read_with_aligned_corners() -> None:
    """Against interpolation voxel by voxel, at points all over the lattice."""
    logits = small_logits()
    read = occ3d_logits(logits.expand(2, -1, -1, -1, -1), SMALL)
    assert read.shape == (2, 18, 200, 200, 16)
    generator = np.random.default_rng(0)
    index = np.concatenate([generator.integers(0, (200, 200, 16), (300, 3)), [[0, 0, 0], [199, 199, 15]]])
    edge = (80.0 * 80.0 * 6.4 / int(24 * 20 * 8 * ALPHA**3)) ** (1 / 3)
    points = LOW + 0.4 * index + 0.5 * edge
    expected = corner_sample(logits[0].double().numpy(), squeeze(points))
    got = read[1][:, index[:, 0], index[:, 1], index[:, 2]].double().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4)
