"""Free Gaussians: cases solved by hand, invariants, and agreement of the kernels with the oracle."""

import math
from dataclasses import replace

import pytest
import torch
from gaussian_helpers import on_axis, render, with_covariances
from render_helpers import forward_rig, random_gaussians, surround_rig, weighted_sum
from torch import Tensor

from gsocc.geometry.quaternion import quat_to_matrix
from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, Gaussians

# splat_gsplat runs on a CPU here, through gsplat's torch code (see gsplat_stand_in.py).
pytestmark = pytest.mark.usefixtures("stand_in")
splats = pytest.mark.parametrize("name", ["splat_cpu", "splat_torch", "splat_gsplat"])
splats_with_any_alpha_max = pytest.mark.parametrize("name", ["splat_cpu", "splat_torch"])

FOCAL_PX, EPS2D_PX, ALPHA_MAX = 20.0, 0.3, 0.999


@splats
def test_one_ball_is_the_gaussian_of_its_footprint(name: str) -> None:
    """By hand: variance (f s / z)^2 + 0.3 = 1.3 px^2 at z = 10, peak in the middle pixel, cut below 1 / 255."""
    out = render(name, on_axis([10.0], [0.8]), forward_rig())
    variance = (FOCAL_PX * 0.5 / 10.0) ** 2 + EPS2D_PX
    v, u = torch.meshgrid(torch.arange(7.0) - 3, torch.arange(11.0) - 5, indexing="ij")
    expected = 0.8 * torch.exp(-0.5 * (u * u + v * v) / variance)
    expected = torch.where(expected < 1 / 255, 0.0, expected)
    torch.testing.assert_close(out.opacity[0, 0], expected)
    torch.testing.assert_close(out.features[0, 0, 0], expected)
    torch.testing.assert_close(out.depth_sum_m[0, 0], 10.0 * expected)
    torch.testing.assert_close(out.depth_m[0, 0], torch.where(expected > 0, 10.0, 0.0))


@splats
def test_two_balls_composite_front_to_back(name: str) -> None:
    """By hand in the middle pixel: 0.6 in front leaves 0.4, of which 0.5 behind takes 0.2; given back to front."""
    out = render(name, on_axis([12.0, 8.0], [0.5, 0.6]), forward_rig())
    middle = (0, 0, 3, 5)
    assert out.opacity[middle].item() == pytest.approx(0.8, abs=1e-6)
    assert out.depth_sum_m[middle].item() == pytest.approx(0.6 * 8 + 0.2 * 12, abs=1e-5)
    assert out.depth_m[middle].item() == pytest.approx((0.6 * 8 + 0.2 * 12) / 0.8, abs=1e-5)
    assert out.features[0, 0, 0, 3, 5].item() == pytest.approx(0.6 * 2 + 0.2 * 1, abs=1e-6)


@splats
def test_blending_stops_before_the_light_runs_out(name: str) -> None:
    """0.999 leaves 1e-3; another 0.999 would leave 1e-6 < 1e-4 and is left out, and with it all behind."""
    out = render(name, on_axis([8.0, 9.0, 10.0], [1.0, 1.0, 0.5]), forward_rig())
    assert out.opacity[0, 0, 3, 5].item() == pytest.approx(ALPHA_MAX, abs=1e-6)
    assert out.features[0, 0, 0, 3, 5].item() == pytest.approx(ALPHA_MAX, abs=1e-6)


@splats_with_any_alpha_max
@pytest.mark.parametrize("alpha_max", [0.999, 0.99])
def test_clamped_alpha_passes_no_gradient_to_opacity(name: str, alpha_max: float) -> None:
    scene = on_axis([8.0], [1.0], scale_m=50.0)
    opacities = scene.opacities.clone().requires_grad_()
    out = render(name, replace(scene, opacities=opacities), forward_rig((1, 1)), alpha_max=alpha_max)
    assert out.opacity.item() == pytest.approx(alpha_max)
    out.opacity.sum().backward()
    assert opacities.grad is not None
    assert opacities.grad.item() == 0.0


@splats
def test_a_ball_is_as_wide_as_it_is_high_in_a_wide_image(name: str) -> None:
    """The published rasteriser takes both fields of view from the width and squeezes splats by H / W."""
    scene = on_axis([10.0], [0.9], scale_m=1.0)
    opacity = render(name, scene, forward_rig((21, 61))).opacity[0, 0]
    torch.testing.assert_close(opacity[10, 20:41], opacity[:, 30])


@splats
def test_a_turned_gaussian_turns_in_the_image(name: str) -> None:
    """A rod along y (left) is horizontal; a quarter turn about the optical axis stands it up."""
    half = math.sqrt(0.5)
    rod = replace(on_axis([10.0], [0.9]), scales=torch.tensor([[[0.1, 1.5, 0.1]]]))
    lying = render(name, rod, forward_rig((21, 21))).opacity[0, 0]
    upright = replace(rod, quats=torch.tensor([[[half, half, 0.0, 0.0]]]))
    standing = render(name, upright, forward_rig((21, 21))).opacity[0, 0]
    assert lying[10, 3] > 10 * lying[3, 10]
    torch.testing.assert_close(standing, lying.T, atol=1e-5, rtol=1e-4)


@splats
@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_gaussians_does_not_matter(name: str, seed: int) -> None:
    scene = random_gaussians(60, 3, seed)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    shuffled = scene.map(lambda tensor: tensor[:, order])
    one, two = (render(name, s, surround_rig()) for s in (scene, shuffled))
    torch.testing.assert_close(one.features, two.features)
    torch.testing.assert_close(one.depth_m, two.depth_m)


@splats
def test_moving_world_and_rig_together_changes_nothing(name: str) -> None:
    """Only what lies between camera and Gaussian counts: the same rigid motion of both is invisible."""
    scene, rig = random_gaussians(60, 3), surround_rig()
    turn = torch.tensor([[0.7, 0.1, -0.5, 0.3]])
    motion = torch.eye(4)
    motion[:3, :3] = quat_to_matrix(turn)[0]
    motion[:3, 3] = torch.tensor([1.0, -2.0, 0.5])
    moved = replace(
        scene,
        means=scene.means @ motion[:3, :3].T + motion[:3, 3],
        quats=quaternion_product(torch.nn.functional.normalize(turn, dim=-1), scene.quats),
    )
    one = render(name, scene, rig)
    two = render(name, moved, CameraRig(rig.intrinsics, motion @ rig.cam_to_ego, rig.image_size))
    # An alpha on the edge of the cut at 1 / 255 may fall on either side, and then what is behind moves too.
    torch.testing.assert_close(one.features, two.features, atol=5e-3, rtol=0.0)
    assert (one.features - two.features).abs().median() < 1e-5


def quaternion_product(a: Tensor, b: Tensor) -> Tensor:
    """Return the rotation b followed by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    parts = (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )
    return torch.stack(parts, -1)


@splats
def test_a_scene_without_gaussians_is_empty(name: str) -> None:
    out = render(name, random_gaussians(0, 3), surround_rig())
    assert out.features.shape == (1, 3, 3, 12, 20)
    assert (out.opacity == 0.0).all()


@splats
@pytest.mark.parametrize(
    "shift_m",
    [(-10.0, 0.0, 0.0), (0.1, 0.0, 0.0), (10.0, 50.0, 0.0), (10.0, 0.0, -50.0)],
    ids=["behind", "nearer than near_m", "left of the image", "below the image"],
)
def test_what_is_out_of_sight_is_not_drawn(name: str, shift_m: tuple[float, float, float]) -> None:
    scene = on_axis([0.0], [0.9], scale_m=0.2)
    means = (scene.means + torch.tensor(shift_m)).requires_grad_()
    out = render(name, replace(scene, means=means), forward_rig())
    assert (out.opacity == 0.0).all()
    assert (out.depth_m == 0.0).all()
    (weighted_sum(out) + out.depth_m.sum()).backward()
    assert means.grad is None or (means.grad == 0.0).all()


@splats
@pytest.mark.parametrize("image_size", [(1, 1), (1, 40), (17, 1)])
def test_images_of_one_pixel_are_cut_from_larger_ones(name: str, image_size: tuple[int, int]) -> None:
    """A pixel does not know how many others there are, as long as no Jacobian is clamped at the edge of the image."""
    scene = on_axis([8.0, 9.0], [0.6, 0.7])
    small = render(name, scene, forward_rig(image_size))
    large = render(name, scene, forward_rig((17, 41)))
    (h, w), left = image_size, (41 - image_size[1]) // 2
    if (41 - w) % 2:  # an even image has its axis between two pixels
        rig = forward_rig((17, 41))
        rig.intrinsics[..., 0, 2] += 0.5
        large, left = render(name, scene, rig), (41 - w + 1) // 2
    top = (17 - h) // 2
    torch.testing.assert_close(small.opacity, large.opacity[..., top : top + h, left : left + w])
    torch.testing.assert_close(small.features, large.features[..., top : top + h, left : left + w])


@splats
@pytest.mark.parametrize("seed", [0, 1])
def test_weights_add_up_to_the_opacity_and_to_one_at_most(name: str, seed: int) -> None:
    """A feature of one everywhere is drawn as the opacity, whatever stands in the way of what."""
    scene = random_gaussians(120, 1, seed)
    scene = replace(scene, features=torch.ones_like(scene.features), opacities=scene.opacities.sqrt())
    out = render(name, scene, surround_rig())
    torch.testing.assert_close(out.features[:, :, 0], out.opacity, atol=1e-5, rtol=1e-5)
    assert out.opacity.min() >= 0.0
    assert out.opacity.max() <= 1.0
    assert out.opacity.max() > 0.9


@splats
def test_a_batch_is_its_items_one_by_one(name: str) -> None:
    scene, rig = random_gaussians(40, 3, batch=3), surround_rig(batch=3)
    scene.opacities[0] *= 0.01
    out = render(name, scene, rig)
    for item in range(3):
        alone = render(name, scene.item(item), rig.item(item))
        torch.testing.assert_close(out.features[item], alone.features[0])
        torch.testing.assert_close(out.depth_m[item], alone.depth_m[0])


@splats
@pytest.mark.parametrize("opacity", [0.0, 1.0])
@pytest.mark.parametrize("scale_m", [1e-6, 1e4])
def test_extreme_sizes_and_opacities_stay_finite(name: str, opacity: float, scale_m: float) -> None:
    """Points are blurred to a pixel; giants are uniform and stop the light at once."""
    scene = random_gaussians(40, 2)
    leaves = {
        "means": scene.means.clone().requires_grad_(),
        "quats": scene.quats.clone().requires_grad_(),
        "scales": torch.full_like(scene.scales, scale_m).requires_grad_(),
        "opacities": torch.full_like(scene.opacities, opacity).requires_grad_(),
        "features": scene.features.clone().requires_grad_(),
    }
    out = render(name, replace(scene, **leaves), surround_rig())
    assert out.opacity.max() <= 1.0
    assert (out.opacity.max() > 0.0) == (opacity > 0.0)
    (weighted_sum(out) + out.depth_m.sum()).backward()
    for leaf in leaves.values():
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def leaves_of(scene: Gaussians, dtype: torch.dtype) -> Gaussians:
    return scene.map(lambda tensor: tensor.detach().to(dtype, copy=True).requires_grad_())


@pytest.mark.parametrize("alpha_max", [0.999, 0.3])
@pytest.mark.parametrize("image_size", [(12, 20), (33, 19)])
@pytest.mark.parametrize("given", [False, True])
def test_kernels_agree_with_the_oracle_in_value_and_gradient(
    given: bool, alpha_max: float, image_size: tuple[int, int]
) -> None:
    """float32 against float64: 1e-4 of the largest gradient, which sums hundreds of pixels; values to 2e-5.

    alpha_max 0.3 makes the clamp bind in many pixels, where no gradient passes to opacity and shape.
    """
    scene, rig = random_gaussians(150, 5), surround_rig(image_size)
    if given:
        scene = replace(with_covariances(scene), quats=scene.quats, scales=scene.scales)
    ours, oracle = leaves_of(scene, torch.float32), leaves_of(scene, torch.float64)
    one = render("splat_cpu", ours, rig, alpha_max=alpha_max)
    two = render("splat_torch", oracle, rig, alpha_max=alpha_max)
    for part in ("depth_m", "depth_sum_m", "opacity", "features"):
        torch.testing.assert_close(getattr(one, part).double(), getattr(two, part), atol=2e-5, rtol=2e-5)
    (weighted_sum(one) + one.depth_m.double().sum()).backward()
    (weighted_sum(two) + two.depth_m.sum()).backward()
    shape = ["covariances"] if given else ["quats", "scales"]
    for field in ["means", "opacities", "features", *shape]:
        measured, expected = getattr(ours, field).grad, getattr(oracle, field).grad
        assert expected.abs().max() > 0.0
        torch.testing.assert_close(
            measured.double(), expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3, msg=field
        )


@pytest.mark.parametrize("given", [False, True])
def test_oracle_agrees_with_finite_differences(given: bool) -> None:
    """float64 through projection and compositing, poses included; wide footprints keep alphas off the 1 / 255 cut."""
    torch.manual_seed(1)
    scene = Gaussians(
        means=torch.tensor([[[4.0, 0.1, 0.1], [4.5, -0.2, 0.05], [5.0, 0.05, -0.1]]]),
        quats=torch.randn(1, 3, 4),
        scales=0.6 + 0.3 * torch.rand(1, 3, 3),
        opacities=torch.tensor([[0.4, 0.5, 0.6]]),
        features=torch.randn(1, 3, 2),
    )
    rig = forward_rig((3, 5), 8.0)
    double = leaves_of(replace(with_covariances(scene), quats=scene.quats, scales=scene.scales), torch.float64)
    shape = ["covariances"] if given else ["quats", "scales"]
    names = ["means", "opacities", "features", *shape]
    poses = rig.cam_to_ego.double().requires_grad_()
    renderer = build_renderer("splat_torch")

    def value(cam_to_ego: Tensor, *parts: Tensor) -> Tensor:
        changed = replace(double, **{"covariances": None} | dict(zip(names, parts, strict=True)))
        return weighted_sum(renderer.render(changed, replace(rig, cam_to_ego=cam_to_ego)))

    parts = tuple(getattr(double, name) for name in names)
    assert torch.autograd.gradcheck(value, (poses, *parts))


@splats
@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("means", float("nan"), "means must be finite"),
        ("means", float("-inf"), "means must be finite, got .* in Gaussian 7 of item 0"),
        ("scales", float("inf"), "scales must be finite and positive"),
        ("scales", float("nan"), "scales must be finite and positive"),
        ("scales", -0.1, "scales must be finite and positive"),
        ("scales", 0.0, "scales must be finite and positive"),
        ("quats", 0.0, "quats must be finite and not zero"),
        ("quats", float("nan"), "quats must be finite and not zero"),
        ("opacities", -0.5, r"opacities must lie in \[0, 1\], got -0.5"),
        ("opacities", 1.5, r"opacities must lie in \[0, 1\], got 1.5; logits need a sigmoid"),
    ],
)
def test_values_that_cannot_be_drawn_are_named(name: str, field: str, value: float, expected: str) -> None:
    scene = random_gaussians(10, 2)
    getattr(scene, field)[0, 7] = value
    with pytest.raises(ValueError, match=expected):
        render(name, scene, surround_rig())


@splats
@pytest.mark.parametrize(
    ("element", "value"), [((0, 0), float("inf")), ((0, 0), 0.0), ((0, 1), 3.0), ((2, 2), 0.0), ((1, 1), -5.0)]
)
def test_cameras_that_are_not_pinholes_are_refused(name: str, element: tuple[int, int], value: float) -> None:
    rig = surround_rig()
    rig.intrinsics[0, 1][element] = value
    with pytest.raises(ValueError, match="intrinsics"):
        render(name, random_gaussians(10, 2), rig)


@splats
def test_parts_of_different_lengths_are_refused(name: str) -> None:
    """Shapes that annotations let through where they are not checked, as outside of these tests."""
    scene = random_gaussians(10, 2)
    object.__setattr__(scene, "scales", scene.scales[:, :9])
    with pytest.raises(ValueError, match=r"scales must start with \(1, 10\) like means, got \(1, 9, 3\)"):
        render(name, scene, surround_rig())
    with pytest.raises(ValueError, match="the scene has 1 batch items, the rig has 2"):
        render(name, random_gaussians(10, 2), surround_rig(batch=2))
