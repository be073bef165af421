"""What every renderer must do, whatever is inside it."""

import math

import pytest
import torch
from render_helpers import KINDS, SMALL_GRID, drawer, forward_rig, random_volume, surround_rig, weighted_sum

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
def test_gradients_agree_with_finite_differences_along_a_direction(kind: str) -> None:
    """Central differences of a float32 render: 1e-3 relative.

    The splats' cut at 1/255 and their stop make jumps, so the scene keeps clear of both: few voxels, wide in the
    image, opacities around 0.3.
    """
    if kind == "volume_cpu-nearest":
        pytest.skip("same kernel as volume_cpu; cells and trilinear cover both ways")
    torch.manual_seed(2)
    grid = VoxelGrid((3.0, -0.5, -0.5), (2, 2, 2), (0.5, 0.5, 0.5))
    rig = forward_rig((3, 5), 8.0)
    density = (0.5 + torch.rand(1, 2, 2, 2)).requires_grad_()
    features = torch.randn(1, 3, 2, 2, 2, requires_grad=True)
    draw = drawer(kind, scale_fraction=0.6)
    weighted_sum(draw(grid, density, features, rig)).backward()
    for leaf, other in ((density, features), (features, density)):
        direction = torch.randn_like(leaf)
        eps = 2e-3

        def value(shift: float, leaf: torch.Tensor = leaf, other: torch.Tensor = other, d: torch.Tensor = direction):
            moved = leaf.detach() + shift * d
            pair = (moved, other.detach()) if leaf.dim() == 4 else (other.detach(), moved)
            return weighted_sum(draw(grid, *pair, rig)).item()

        measured = (value(eps) - value(-eps)) / (2 * eps)
        assert leaf.grad is not None
        expected = (leaf.grad.double() * direction).sum().item()
        assert measured == pytest.approx(expected, rel=3e-3, abs=3e-3)


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
