"""The CUDA splat on a GPU. Needs torch, gsplat, numba, jaxtyping, beartype and pytest, nothing else of the project."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import pytest
import torch
from gsplat_stand_in import GsplatStandIn
from render_helpers import SMALL_GRID, random_gaussians, random_volume, surround_rig, weighted_sum
from torch import Tensor

from gsocc.renderers import Renderer, build_renderer
from gsocc.renderers.gsplat_splats import count_intersections, intersect, project
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGaussians, VoxelGrid

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

PARTS = ("depth_sum_m", "opacity", "features")
STREET = VoxelGrid((-10.0, -10.0, -1.0), (50, 50, 12), (0.4, 0.4, 0.4))


def to_cuda(tensor: Tensor) -> Tensor:
    return tensor.detach().cuda().requires_grad_()


def each_part(out: RenderOutput, function: Callable[[Tensor], Tensor]) -> RenderOutput:
    return RenderOutput(**{f.name: function(part) for f in fields(out) if (part := getattr(out, f.name)) is not None})


def on_cpu(out: RenderOutput) -> RenderOutput:
    return each_part(out, Tensor.cpu)


def voxels(grid: VoxelGrid = SMALL_GRID, channels: int = 18, batch: int = 1, seed: int = 0) -> VoxelGaussians:
    """Return voxels on the GPU, most of them too thin to be seen."""
    generator = torch.Generator().manual_seed(seed)
    opacities = (torch.rand(batch, *grid.shape, generator=generator) - 0.7).clamp(min=0.0) * 3.0
    features = torch.randn(batch, channels, *grid.shape, generator=generator)
    return VoxelGaussians(grid, (0.3, 0.3, 0.3), to_cuda(opacities), to_cuda(features))


def assert_mostly_close(measured: Tensor, expected: Tensor, relative: float, outliers: float, name: str) -> None:
    """Compare on the scale of the largest value, up to a share of outliers."""
    assert measured.shape == expected.shape
    assert expected.abs().max() > 0.0
    off = (measured.double().cpu() - expected.double().cpu()).abs() > relative * expected.abs().max().cpu()
    assert off.double().mean() <= outliers, f"{name}: {off.double().mean():.2%} beyond {relative}"


def draw(
    name: str, scene: Gaussians, rig: CameraRig, device: str, dtype: torch.dtype
) -> tuple[RenderOutput, dict[str, Tensor]]:
    """Render and return the output with all gradients, poses among them; every item has the same loss."""
    own = scene.map(lambda tensor: tensor.detach().to(device, dtype, copy=True).requires_grad_())
    poses = rig.cam_to_ego.detach().to(device, dtype, copy=True).requires_grad_()
    posed = CameraRig(rig.intrinsics.to(device, dtype), poses, rig.image_size)
    out = on_cpu(build_renderer(name).render(own, posed))
    items = [each_part(out, lambda part, i=i: part[i : i + 1]) for i in range(rig.batch_size)]  # type: ignore[misc]
    torch.stack([weighted_sum(item) for item in items]).sum().backward()
    leaves = {"poses": poses} | {f.name: getattr(own, f.name) for f in fields(own)}
    return out, {name: leaf.grad for name, leaf in leaves.items() if leaf is not None and leaf.grad is not None}


@pytest.mark.parametrize(("channels", "batch", "views"), [(3, 1, 3), (18, 2, 3), (40, 1, 3), (3, 3, 1)])
@pytest.mark.parametrize("shape", ["scales", "covariances", "covariances per view"])
def test_values_and_gradients_are_those_of_the_oracle(channels: int, batch: int, views: int, shape: str) -> None:
    """Values to 1e-4 of their scale: fast exponentials are good to 2e-6, sums have tens of terms in float32.

    Gradients to 3e-3 of the largest: gsplat's backward pass starts from the transmittance 1 - opacity, which float32
    knows to 6e-8, 6e-4 of the smallest that is blended (1e-4). An alpha on the edge of the cut at 1 / 255 or of the
    stop may fall on either side: 0.1 % of the values and 1 % of the gradients are let off.
    """
    scene, rig = random_gaussians(200, channels, batch=batch), surround_rig((30, 50), batch)
    rig = CameraRig(rig.intrinsics[:, :views], rig.cam_to_ego[:, :views], rig.image_size)
    if shape != "scales":
        factor = torch.randn(batch, views, 200, 3, 3, generator=torch.Generator().manual_seed(3)) * 0.3
        matrices = factor @ factor.transpose(-1, -2) + 0.01 * torch.eye(3)
        scene = replace(scene, covariances=matrices if shape.endswith("view") else matrices[:, :1])
    ours, our_gradients = draw("splat_gsplat", scene, rig, "cuda", torch.float32)
    theirs, their_gradients = draw("splat_torch", scene, rig, "cpu", torch.float64)
    for part in PARTS:
        assert_mostly_close(getattr(ours, part), getattr(theirs, part), 1e-4, 1e-3, part)
    assert set(our_gradients) == set(their_gradients)
    for name, expected in their_gradients.items():
        assert_mostly_close(our_gradients[name], expected, 3e-3, 1e-2, name)


def test_batch_items_do_not_mix() -> None:
    """Opacities of item 0 are nearly zero, and few Gaussians share a warp: gsplat 1.5.3 would cull and add up both."""
    scene, rig = random_gaussians(5, 2, batch=3), surround_rig((30, 50), 3)
    scene.opacities[0] *= 0.02
    together, gradients = draw("splat_gsplat", scene, rig, "cuda", torch.float32)
    for item in range(3):
        alone, own = draw("splat_torch", scene.item(item), rig.item(item), "cpu", torch.float32)
        torch.testing.assert_close(together.features[item], alone.features[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.opacity[item], alone.opacity[0], atol=1e-5, rtol=1e-4)
        for name, expected in own.items():
            if item > 0:
                assert_mostly_close(gradients[name][item], expected[0], 3e-3, 0.0, name)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("grid", [SMALL_GRID, STREET], ids=["small", "street"])
def test_cached_lists_draw_what_the_plain_path_draws(grid: VoxelGrid, batch: int) -> None:
    """To 1e-5: the same kernels see the same splats in the same order, with other ones between that draw nothing.

    Gradients are added up by atomics in any order: 1e-4 of the largest.
    """
    rig = surround_rig((45, 80), batch)
    rig.cam_to_ego[-1, :, 2, 3] += 0.3 * (batch - 1)
    results = []
    for cache in (True, False):
        renderer, scene = build_renderer("splat_gsplat", cache=cache), voxels(grid, batch=batch)
        renderer.render(scene, rig.to("cuda"))
        out = on_cpu(renderer.render(scene, rig.to("cuda")))
        weighted_sum(out).backward()
        results.append((out, scene.opacities.grad, scene.features.grad))
    for part in (*PARTS, "depth_m"):
        torch.testing.assert_close(getattr(results[0][0], part), getattr(results[1][0], part), atol=1e-5, rtol=1e-5)
    for measured, expected in zip(results[0][1:], results[1][1:], strict=True):
        assert_mostly_close(measured, expected, 1e-4, 0.0, "gradient")


@contextmanager
def host_waits() -> Iterator[list[str]]:
    """Collect torch's reports of the host waiting for the GPU."""
    reports: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield reports
        finally:
            torch.cuda.set_sync_debug_mode("default")
            reports.extend(str(w.message) for w in caught if "called a synchronizing" in str(w.message))


def test_a_cached_frame_waits_once_whatever_the_views_and_items() -> None:
    """For the sizes of what opacities leave. Fetching the rig is a second time, at new tensors only."""
    renderer, rig = build_renderer("splat_gsplat"), surround_rig(batch=2).to("cuda")
    renderer.render(voxels(batch=2), rig)
    scene = voxels(batch=2, seed=1)
    with host_waits() as reports:
        renderer.render(scene, rig).features.sum().backward()
    assert len(reports) == 1, reports
    copied = CameraRig(rig.intrinsics.clone(), rig.cam_to_ego.clone(), rig.image_size)
    with host_waits() as reports:
        renderer.render(scene, copied)
    assert len(reports) == 2, reports


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_callers_in_half_precision_get_float32_and_finite_gradients(cache: bool, dtype: torch.dtype) -> None:
    scene, rig = voxels(), surround_rig().to("cuda")
    scene = replace(scene, opacities=to_cuda(scene.opacities.to(dtype)), features=to_cuda(scene.features.to(dtype)))
    renderer = build_renderer("splat_gsplat", cache=cache)
    with torch.autocast("cuda", dtype=dtype):
        out = renderer.render(scene, rig)
        loss = (out.features * out.opacity[:, :, None]).sum() + out.depth_m.sum()
    loss.backward()
    assert out.features.dtype == out.depth_m.dtype == torch.float32
    for leaf in (scene.opacities, scene.features):
        assert leaf.grad is not None
        assert leaf.grad.dtype == dtype
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(("image_size", "opacity"), [((1, 1), 0.7), ((12, 20), 0.0), ((12, 20), 1.0), ((17, 16), 0.5)])
def test_small_images_and_extreme_opacities(cache: bool, image_size: tuple[int, int], opacity: float) -> None:
    scene, rig = voxels(channels=2), surround_rig(image_size)
    scene = replace(scene, opacities=to_cuda(torch.full_like(scene.opacities, opacity)))
    out = build_renderer("splat_gsplat", cache=cache).render(scene, rig.to("cuda"))
    cpu = replace(scene, opacities=scene.opacities.detach().cpu(), features=scene.features.detach().cpu())
    expected = build_renderer("splat_torch").render(cpu, rig)
    torch.testing.assert_close(out.opacity.cpu(), expected.opacity, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(out.features.cpu(), expected.features, atol=2e-3, rtol=1e-3)
    out.features.sum().backward()
    assert scene.features.grad is not None
    assert scene.features.grad.isfinite().all()


@pytest.mark.parametrize("count", [0, 5])
def test_nothing_to_see_is_an_empty_picture_with_gradients(count: int) -> None:
    scene = random_gaussians(count, 3).map(to_cuda)
    scene = replace(scene, means=scene.means + 1000.0 * torch.eye(3, device="cuda")[2])
    out = build_renderer("splat_gsplat").render(scene, surround_rig().to("cuda"))
    assert (out.opacity == 0.0).all()
    (out.features.sum() + out.depth_m.sum()).backward()
    assert scene.features.grad is not None
    assert (scene.features.grad == 0.0).all()


@pytest.mark.parametrize("cache", [True, False])
def test_a_nan_opacity_shows(cache: bool) -> None:
    scene = voxels()
    opacities = scene.opacities.detach().clone()
    opacities[0, 5, 5, 5] = float("nan")
    renderer: Renderer = build_renderer("splat_gsplat", cache=cache)
    assert renderer.render(replace(scene, opacities=opacities), surround_rig().to("cuda")).opacity.isnan().all()


def test_lists_beyond_the_limit_are_refused_before_they_are_built() -> None:
    renderer = build_renderer("splat_gsplat", cache_max_gb=1e-4)
    with pytest.raises(ValueError, match=r"tile lists of one rig .* need .* GB, cache_max_gb is 0.0001"):
        renderer.render(voxels(STREET), surround_rig((45, 80)).to("cuda"))


def test_poses_that_want_a_gradient_are_refused_by_the_cache() -> None:
    rig = surround_rig().to("cuda")
    learned = replace(rig, cam_to_ego=to_cuda(rig.cam_to_ego))
    with pytest.raises(ValueError, match="cached lists have no gradient to cam_to_ego"):
        build_renderer("splat_gsplat").render(voxels(), learned)


def test_scenes_in_main_memory_are_refused() -> None:
    density, features = random_volume(1)
    scene = VoxelGaussians(SMALL_GRID, (0.3, 0.3, 0.3), -torch.expm1(-density), features)
    with pytest.raises(ValueError, match="the scene must be on a CUDA device, got cpu"):
        build_renderer("splat_gsplat").render(scene, surround_rig())


def test_the_stand_in_of_the_cpu_tests_does_what_gsplat_does() -> None:
    """What `make test` shows through it then holds here. A box may round to another pixel: 0.5 % are let off."""
    import gsplat

    scene, rig = random_gaussians(300, 1, batch=2), surround_rig((45, 80), 2)
    options = build_renderer("splat_torch").options  # type: ignore[attr-defined]
    for opacities in (None, scene.opacities):
        rows = []
        for api, device in ((gsplat, "cuda"), (GsplatStandIn(), "cpu")):
            moved = scene.map(lambda tensor, device=device: tensor.to(device))  # type: ignore[misc]
            given = None if opacities is None else opacities.to(device)
            projected = project(api, moved, rig.to(device), options, given)
            lists = intersect(api, projected, 6, rig.image_size)
            assert count_intersections(projected, rig.image_size) == len(lists.rows)
            pairs = projected.images.cpu() * 1000 + projected.splats.gaussians.cpu()
            starts = lists.offsets.cpu().flatten().tolist()
            ends = [*starts[1:], len(lists.rows)]
            listed = pairs[lists.rows.cpu().long()].tolist()
            rows.append(
                {(tile, pair) for tile, (a, b) in enumerate(zip(starts, ends, strict=True)) for pair in listed[a:b]}
            )
        assert len(rows[0] ^ rows[1]) <= 0.005 * len(rows[0] | rows[1])
