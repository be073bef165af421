"""What every renderer must do, whatever is inside it."""

import math

import pytest
import torch
from render_helpers import KINDS, SMALL_GRID, drawer, forward_rig, random_volume, surround_rig, weighted_sum

from gsocc.fields.density import DensityField
from gsocc.renderers import RENDERERS, Renderer, build_renderer
from gsocc.structures import CameraRig, VoxelGrid

every = pytest.mark.parametrize("kind", KINDS)

WALL = VoxelGrid((9.85, -6.0, -6.0), (3, 30, 30), (0.1, 0.4, 0.4))
"""Three layers of voxels across the x axis; the middle one is 10 m away."""


def wall(density: float, channels: int, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the volume of `WALL` whose middle layer has the density, with one feature value everywhere."""
    layers = torch.zeros(1, *WALL.shape)
    layers[:, 1] = density
    return layers, torch.full((1, channels, *WALL.shape), value)


def test_every_cpu_renderer_is_under_contract() -> None:
    assert {name for name, _ in KINDS.values()} == set(RENDERERS) - {"splat_gsplat"}


@every
def test_is_a_renderer_that_says_what_it_draws(kind: str) -> None:
    name, options = KINDS[kind]
    renderer = build_renderer(name, **options)
    assert isinstance(renderer, Renderer)
    assert renderer.scene_kinds
    assert set(options) <= set(renderer.option_names())


@every
def test_wall_at_ten_metres_has_depth_ten(kind: str) -> None:
    """Splats carry the depth of centres; rays meet the solid layer in its half voxel of ramp, 0.1 m at most."""
    density, features = wall(200.0, 2, 3.0)
    out = drawer(kind)(WALL, density, features, forward_rig())
    # The stop at a transmittance of 1e-4 may leave out the last splat: opacity 0.98 is what two of 0.9 reach.
    assert out.opacity.min() > 0.98
    tolerance = 1e-3 if kind.startswith("splat") else 0.1
    torch.testing.assert_close(out.depth_m, torch.full_like(out.depth_m, 10.0), atol=tolerance, rtol=0.0)
    torch.testing.assert_close(out.features, 3.0 * out.opacity[:, :, None].expand_as(out.features))


@every
def test_opacity_lies_in_zero_one_and_depth_in_front_of_the_far_corner(kind: str) -> None:
    density, features = random_volume(3, peak=50.0)
    out = drawer(kind)(SMALL_GRID, density, features, surround_rig())
    assert out.opacity.min() >= 0.0
    assert out.opacity.max() <= 1.0 + 1e-6
    assert out.opacity.max() > 0.9
    assert out.depth_m.min() >= 0.0
    assert out.depth_m.max() < math.dist((4, 4, 2), (-4, -4, -2)) + 1.0
    torch.testing.assert_close(out.depth_sum_m, out.depth_m * out.opacity)


@every
@pytest.mark.parametrize("yaw_rad", [math.pi, math.pi / 2])
def test_nothing_is_drawn_of_what_lies_behind_or_beside(kind: str, yaw_rad: float) -> None:
    """Also no NaN from centres on the camera plane, and no gradient."""
    density, features = (leaf.requires_grad_() for leaf in wall(200.0, 2, 1.0))
    out = drawer(kind)(WALL, density, features, forward_rig(yaws_rad=(yaw_rad,)))
    for image in (out.opacity, out.depth_m, out.depth_sum_m, out.features):
        assert (image == 0.0).all()
    (out.depth_m.sum() + weighted_sum(out)).backward()
    assert density.grad is not None
    assert (density.grad == 0.0).all()


@every
def test_empty_scene_is_empty_with_finite_gradients(kind: str) -> None:
    density = torch.zeros(1, *SMALL_GRID.shape, requires_grad=True)
    features = torch.ones(1, 2, *SMALL_GRID.shape, requires_grad=True)
    out = drawer(kind)(SMALL_GRID, density, features, surround_rig())
    assert (out.opacity == 0.0).all()
    assert (out.depth_m == 0.0).all()
    assert (out.features == 0.0).all()
    weighted_sum(out).backward()
    for leaf in (density, features):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@every
def test_batch_equals_a_loop_over_its_items(kind: str) -> None:
    """Items have their own scene and their own cameras."""
    density, features = random_volume(3, batch=2)
    rig = surround_rig(batch=2)
    rig.cam_to_ego[1, :, :3, 3] += 0.37
    draw = drawer(kind)
    together = draw(SMALL_GRID, density, features, rig)
    for item in range(2):
        alone = draw(SMALL_GRID, density[item : item + 1], features[item : item + 1], rig.item(item))
        torch.testing.assert_close(together.depth_m[item], alone.depth_m[0])
        torch.testing.assert_close(together.features[item], alone.features[0])
    assert (together.depth_m[0] != together.depth_m[1]).any()


@every
@pytest.mark.parametrize("channels", [0, 1, 8, 19])
def test_any_number_of_channels_is_composited_alike(kind: str, channels: int) -> None:
    """Each channel must not depend on how many stand beside it: kernels pad rows to multiples of eight."""
    density, features = random_volume(19)
    draw = drawer(kind)
    every_channel = draw(SMALL_GRID, density, features, surround_rig())
    some = draw(SMALL_GRID, density, features[:, :channels].contiguous(), surround_rig())
    assert some.features.shape[2] == channels
    torch.testing.assert_close(some.features, every_channel.features[:, :, :channels])
    torch.testing.assert_close(some.depth_m, every_channel.depth_m)


@every
@pytest.mark.parametrize("image_size", [(1, 1), (1, 33), (17, 3)])
def test_a_pixel_looks_the_same_in_an_image_of_any_size(kind: str, image_size: tuple[int, int]) -> None:
    """Cropping moves the principal point: the pixel on the axis must not care. Sizes cut tiles and chunks unevenly.

    The clamp of x / z in the EWA projection depends on the image's edges, which moves splats beside it by 1e-5.
    """
    density, features = wall(3.0, 1, 1.0)
    draw = drawer(kind)
    whole = draw(WALL, density, features, forward_rig((33, 33)))
    part = draw(WALL, density, features, forward_rig(image_size))
    height, width = image_size
    assert part.opacity.shape == (1, 1, height, width)
    torch.testing.assert_close(
        part.opacity[0, 0, height // 2, width // 2], whole.opacity[0, 0, 16, 16], atol=1e-4, rtol=0.0
    )


@every
def test_drawing_again_gives_the_same_picture(kind: str) -> None:
    """Bit for bit: nothing of the first call, caches least of all, may leak into the second."""
    density, features = random_volume(1)
    draw = drawer(kind)
    once = draw(SMALL_GRID, density, features, surround_rig())
    again = draw(SMALL_GRID, density, features, surround_rig())
    torch.testing.assert_close(once.features, again.features, atol=0.0, rtol=0.0)


@every
def test_half_precision_callers_lose_nothing(kind: str) -> None:
    """Autocast must not reach rays and projections; a bfloat16 network output is drawn as if widened first."""
    density, features = random_volume(3)
    features, rig = features.bfloat16(), surround_rig()
    draw = drawer(kind)
    expected = draw(SMALL_GRID, density, features.float(), rig)
    features.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = draw(SMALL_GRID, density, features, rig)
    assert out.features.dtype == torch.float32
    torch.testing.assert_close(out.features, expected.features, atol=0.0, rtol=0.0)
    torch.testing.assert_close(out.depth_m, expected.depth_m, atol=0.0, rtol=0.0)
    weighted_sum(out).backward()
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16


@every
def test_a_rig_in_double_precision_is_as_good(kind: str) -> None:
    density, features = random_volume(1)
    rig = surround_rig()
    draw = drawer(kind)
    double = CameraRig(rig.intrinsics.double(), rig.cam_to_ego.double(), rig.image_size)
    one, two = (draw(SMALL_GRID, density, features, r) for r in (rig, double))
    torch.testing.assert_close(one.features, two.features, atol=1e-5, rtol=1e-5)


@every
def test_one_voxel_is_drawn_where_its_centre_projects(kind: str) -> None:
    """By hand: 10 m ahead, 2 m left and 1 m up at 20 px per radian is 4 px left and 2 px up of the middle."""
    grid = VoxelGrid((9.75, 1.75, 0.75), (1, 1, 1), (0.5, 0.5, 0.5))
    out = drawer(kind)(grid, torch.full((1, 1, 1, 1), 20.0), torch.ones(1, 1, 1, 1, 1), forward_rig((13, 17)))
    opacity = out.opacity[0, 0]
    v, u = divmod(int(opacity.argmax()), 17)
    assert (v - 6, u - 8) == (-2, -4)
    assert opacity.max() > 0.7
    assert out.depth_m[0, 0, v, u].item() == pytest.approx(10.0, abs=0.3)
    far = torch.ones_like(opacity, dtype=torch.bool)
    far[v - 3 : v + 4, u - 3 : u + 4] = False
    assert (opacity[far] == 0.0).all()


@every
@pytest.mark.parametrize("focal_ratio", [1.0, 0.5])
def test_a_cube_is_as_wide_as_it_is_high_in_a_wide_image(kind: str, focal_ratio: float) -> None:
    """Image size must not squeeze it (the published rasteriser does, by H / W); unequal focal lengths must."""
    grid = VoxelGrid((9.0, -1.0, -1.0), (4, 4, 4), (0.5, 0.5, 0.5))
    rig = forward_rig((31, 61), 40.0)
    rig.intrinsics[..., 1, 1] *= focal_ratio
    volume = (torch.full((1, 4, 4, 4), 20.0), torch.ones(1, 1, 4, 4, 4))
    opacity = drawer(kind)(grid, *volume, rig).opacity[0, 0]
    width, height = opacity[15].sum().item(), opacity[:, 30].sum().item()
    assert 7.0 < width < 13.0
    # A blur of 0.3 px^2 and the ends of the cube, half a pixel each, do not shrink with the image.
    assert height == pytest.approx(focal_ratio * width, abs=1e-3 if focal_ratio == 1.0 else 0.8)


@every
def test_energy_is_at_most_one(kind: str) -> None:
    """A feature of ones composites to the sum of weights: at most the opacity, which is at most 1."""
    density, _ = random_volume(1, peak=50.0)
    out = drawer(kind)(SMALL_GRID, density, torch.ones(1, 1, *SMALL_GRID.shape), surround_rig())
    energy = out.features[:, :, 0]
    assert energy.min() >= 0.0
    assert (energy <= out.opacity + 1e-6).all()
    if "volume" not in kind or "cells" in kind or "nearest" in kind:  # trilinear ones fade out beyond the last centres
        torch.testing.assert_close(energy, out.opacity)


def test_weights_of_samples_add_up_to_the_opacity() -> None:
    density, features = random_volume(1, peak=50.0)
    renderer = build_renderer("volume", weights=True, far_m=15.0, step_m=0.1)
    out = renderer.render(DensityField(SMALL_GRID, density, features), surround_rig())
    assert out.weights is not None
    assert out.weights.min() >= 0.0
    torch.testing.assert_close(out.weights.sum(-1), out.opacity)


@every
def test_the_order_of_voxels_does_not_matter(kind: str) -> None:
    """Half a turn about z of world and rig together reverses the order of voxels in memory, and changes nothing."""
    density, features = random_volume(2)
    rig = surround_rig()
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    turned = CameraRig(rig.intrinsics, turn @ rig.cam_to_ego, rig.image_size)
    draw = drawer(kind)
    one = draw(SMALL_GRID, density, features, rig)
    two = draw(SMALL_GRID, density.flip(1, 2).contiguous(), features.flip(2, 3).contiguous(), turned)
    # An alpha on the edge of a splat's cut at 1 / 255, or of a voxel that a ray grazes, may fall on either side.
    torch.testing.assert_close(one.features, two.features, atol=5e-3, rtol=0.0)
    assert (one.features - two.features).abs().median() < 1e-5


@every
@pytest.mark.parametrize("voxel_m", [1e-3, 0.3, 300.0])
def test_voxels_of_a_millimetre_and_of_a_football_field_stay_finite(kind: str, voxel_m: float) -> None:
    """Far below a pixel and far above the image, some empty and some of opacity 1."""
    grid = VoxelGrid((2.0, -2 * voxel_m, -2 * voxel_m), (3, 4, 4), (voxel_m,) * 3)
    density = torch.zeros(1, 3, 4, 4)
    density[:, ::2] = 1e5 / voxel_m
    density.requires_grad_()
    features = torch.ones(1, 2, 3, 4, 4, requires_grad=True)
    out = drawer(kind)(grid, density, features, forward_rig())
    assert 0.0 <= out.opacity.min() <= out.opacity.max() <= 1.0 + 1e-6
    if voxel_m > 1.0:
        assert out.opacity.min() > 0.9
    (out.depth_m.sum() + weighted_sum(out)).backward()
    for values in (out.depth_m, out.depth_sum_m, out.features, density.grad, features.grad):
        assert values is not None
        assert values.isfinite().all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("splat")])
@pytest.mark.parametrize("scale_fraction", [1e-4, 100.0])
def test_gaussians_of_any_width_stay_finite(kind: str, scale_fraction: float) -> None:
    """Points are blurred to a pixel, giants cover the image evenly."""
    density, features = (leaf.requires_grad_() for leaf in random_volume(2))
    out = drawer(kind, scale_fraction)(SMALL_GRID, density, features, surround_rig())
    assert 0.0 <= out.opacity.min() <= out.opacity.max() <= 1.0 + 1e-6
    weighted_sum(out).backward()
    for leaf in (density, features):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@every
def test_every_gradient_is_the_finite_difference_of_the_oracle_in_double_precision(kind: str) -> None:
    """Each of 32 derivatives against central differences in float64; float32 is left with 1e-4 of the largest.

    The splats' cut at 1/255 and their stop make jumps, so the scene keeps clear of both: few voxels, wide in the
    image, opacities around 0.3.
    """
    torch.manual_seed(2)
    grid = VoxelGrid((3.0, -0.47, -0.52), (2, 2, 2), (0.5, 0.5, 0.5))  # no ray runs within a face
    rig = forward_rig((3, 5), 8.0)
    density = (0.5 + torch.rand(1, 2, 2, 2)).requires_grad_()
    features = torch.randn(1, 3, 2, 2, 2, requires_grad=True)
    weighted_sum(drawer(kind, 0.6)(grid, density, features, rig)).backward()
    oracle = drawer(kind, 0.6, oracle=True)
    precise = CameraRig(rig.intrinsics.double(), rig.cam_to_ego.double(), rig.image_size)
    values = [density.detach().double(), features.detach().double()]
    for leaf, moved in zip((density, features), values, strict=True):
        assert leaf.grad is not None
        expected = torch.empty_like(moved)
        for index in range(moved.numel()):
            here, sides = moved.flatten()[index].item(), []
            for shift in (1e-5, -1e-5):
                moved.view(-1)[index] = here + shift
                sides.append(weighted_sum(oracle(grid, values[0], values[1], precise)).item())
            moved.view(-1)[index] = here
            expected.view(-1)[index] = (sides[0] - sides[1]) / 2e-5
        tolerance = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(leaf.grad.double(), expected, atol=tolerance, rtol=0.0)


@every
def test_a_rig_of_another_batch_size_is_refused(kind: str) -> None:
    density, features = random_volume(1)
    with pytest.raises(ValueError, match="1 batch items, the rig has 2"):
        drawer(kind)(SMALL_GRID, density, features, surround_rig(batch=2))


@every
@pytest.mark.parametrize(
    ("element", "value"), [((0, 0), float("nan")), ((0, 0), 0.0), ((0, 1), 3.0), ((2, 2), 0.0), ((1, 1), -5.0)]
)
def test_cameras_that_are_not_pinholes_are_refused(kind: str, element: tuple[int, int], value: float) -> None:
    density, features = random_volume(1)
    rig = surround_rig()
    rig.intrinsics[0, 1][element] = value
    with pytest.raises(ValueError, match="intrinsics"):
        drawer(kind)(SMALL_GRID, density, features, rig)


@every
def test_poses_that_are_not_rigid_are_refused(kind: str) -> None:
    density, features = random_volume(1)
    rig = surround_rig()
    rig.cam_to_ego[0, 0, :3, :3] *= 1.1
    with pytest.raises(ValueError, match="rigid"):
        drawer(kind)(SMALL_GRID, density, features, rig)


@every
def test_nan_in_the_scene_shows_in_the_picture(kind: str) -> None:
    """A broken network must reach the loss, where training stops with the step and the batch, not vanish here."""
    density, features = random_volume(1)
    density[:] = 0.5
    features[:] = float("nan")
    out = drawer(kind)(SMALL_GRID, density, features, surround_rig())
    assert out.features.isnan().any()
    density[:] = float("nan")
    out = drawer(kind)(SMALL_GRID, density, features, surround_rig())
    assert out.opacity.isnan().any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "_cpu" in kind])
def test_kernels_refuse_scenes_that_are_elsewhere(kind: str) -> None:
    density, features = (leaf.to("meta") for leaf in random_volume(1))
    with pytest.raises(ValueError, match="must be on the CPU, got meta"):
        drawer(kind)(SMALL_GRID, density, features, surround_rig())


def test_unknown_names_and_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected one of .*splat_cpu.*, got 'gsplt'"):
        build_renderer("gsplt")
    with pytest.raises(ValueError, match=r"no option 'near'; it takes near_m"):
        build_renderer("splat_cpu", near=0.1)
    with pytest.raises(ValueError, match="alpha_max must lie between 0 and 1"):
        build_renderer("splat_torch", alpha_max=1.5)
    with pytest.raises(ValueError, match="step_m"):
        build_renderer("volume", step_m=-1.0)
    with pytest.raises(ValueError, match="needs interpolation"):
        build_renderer("volume_cpu", sampling="cells")


def test_a_rig_reports_its_size(kind: str = "volume_cpu") -> None:
    """Image size (H, W) and views come out in the order the seam promises."""
    density, features = random_volume(4)
    rig: CameraRig = surround_rig((5, 9))
    out = drawer(kind)(SMALL_GRID, density, features, rig)
    assert out.features.shape == (1, 3, 4, 5, 9)
    assert out.depth_m.shape == (1, 3, 5, 9)
