"""Given covariances, one for all views or one for each: drawn as they are, by every splat."""

import math
from dataclasses import replace

import pytest
import torch
from gaussian_helpers import on_axis, render, with_covariances
from render_helpers import forward_rig, random_gaussians, surround_rig

# splat_gsplat runs on a CPU here, through gsplat's torch code (see gsplat_stand_in.py).
pytestmark = pytest.mark.usefixtures("stand_in")
splats = pytest.mark.parametrize("name", ["splat_cpu", "splat_torch", "splat_gsplat"])

FOCAL_PX, EPS2D_PX = 20.0, 0.3


@splats
@pytest.mark.parametrize("per_view", [False, True])
def test_given_covariances_draw_what_their_quaternions_and_scales_draw(name: str, per_view: bool) -> None:
    scene, rig = random_gaussians(60, 3, batch=2), surround_rig(batch=2)
    given = with_covariances(scene)
    assert given.covariances is not None
    if per_view:
        given = replace(given, covariances=given.covariances.expand(-1, rig.num_views, -1, -1, -1))
    one, two = (render(name, s, rig) for s in (scene, given))
    torch.testing.assert_close(one.features, two.features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.depth_sum_m, two.depth_sum_m, atol=1e-5, rtol=1e-5)


@splats
def test_covariances_per_view_repeat_the_published_squeeze(name: str) -> None:
    """GaussianOcc's rasteriser takes the vertical focal length as (H / W) fx: footprints shrink by (H / W)(fx / fy).

    As a covariance per view: Sigma' = A Sigma A^T, with A = I + (s - 1) v v^T that shrinks along the image's vertical
    v. By hand on the optical axis: variances (f / z)^2 and (s f / z)^2, both plus 0.3 px^2, so that alpha falls by
    exp(-0.5 d^2 / variance) at d pixels to the side or above.
    """
    height, width, scale_m, depth_m, offset = 21, 61, 1.5, 10.0, 2
    rig = forward_rig((height, width), FOCAL_PX, (0.0, 0.4))
    squeeze = height / width  # fx = fy here
    vertical = rig.cam_to_ego[0, :, :3, 1]  # (V, 3), the y axis of each camera in the ego frame
    a = torch.eye(3) + (squeeze - 1.0) * vertical[:, :, None] * vertical[:, None, :]
    covariances = (scale_m**2 * a @ a.transpose(-1, -2))[None, :, None]  # (1, V, 1, 3, 3)
    scene = on_axis([depth_m], [0.9])
    opacity = render(name, replace(scene, covariances=covariances), rig).opacity[0, 0]
    footprint = scale_m * FOCAL_PX / depth_m
    for at, variance in (
        ((10, 30 + offset), footprint**2 + EPS2D_PX),
        ((10 + offset, 30), (squeeze * footprint) ** 2 + EPS2D_PX),
    ):
        assert opacity[at].item() == pytest.approx(0.9 * math.exp(-0.5 * offset**2 / variance), rel=1e-4)


@splats
def test_a_covariance_of_one_view_is_drawn_in_that_view_only(name: str) -> None:
    scene, rig = on_axis([10.0], [0.9]), forward_rig(yaws_rad=(0.0, 0.0))
    sizes = torch.tensor([0.2, 0.9])
    covariances = sizes.square()[:, None, None] * torch.eye(3)  # (V, 3, 3)
    out = render(name, replace(scene, covariances=covariances[None, :, None]), rig)
    for view, size in enumerate(sizes.tolist()):
        alone = render(name, on_axis([10.0], [0.9], size), forward_rig())
        torch.testing.assert_close(out.opacity[:, view], alone.opacity[:, 0])


@splats
@pytest.mark.parametrize(
    ("element", "value", "expected"),
    [
        ((1, 2), float("nan"), "covariances must be finite, symmetric and positive definite"),
        ((0, 1), 0.5, "covariances must be finite, symmetric"),
        ((2, 2), -0.1, "Gaussian 7 of view 2 of item 0"),
    ],
)
def test_matrices_that_are_no_covariances_are_named(
    name: str, element: tuple[int, int], value: float, expected: str
) -> None:
    scene, rig = with_covariances(random_gaussians(10, 2)), surround_rig()
    assert scene.covariances is not None
    covariances = scene.covariances.repeat(1, 3, 1, 1, 1)
    covariances[0, 2, 7][element] = value
    with pytest.raises(ValueError, match=expected):
        render(name, replace(scene, covariances=covariances), rig)
    with pytest.raises(ValueError, match=r"covariances must be \(1, 1 or 3, 10, 3, 3\).*got \(1, 2, 10, 3, 3\)"):
        render(name, replace(scene, covariances=covariances[:, :2]), rig)


@splats
def test_a_flat_gaussian_is_a_covariance(name: str) -> None:
    """A turned disk of 1 m and 0.1 mm: its smallest eigenvalue is below the rounding of the largest."""
    scene = random_gaussians(10, 2)
    flat = replace(scene, scales=torch.tensor([1.0, 1.0, 1e-4]).expand(1, 10, 3))
    assert render(name, with_covariances(flat), surround_rig()).opacity.isfinite().all()
