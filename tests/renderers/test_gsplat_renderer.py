"""The CUDA splat without a GPU: clear words, and all that surrounds gsplat's kernels, through a stand-in for these."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from gsplat_stand_in import GsplatStandIn
from render_helpers import SMALL_GRID, forward_rig, random_gaussians, random_volume, surround_rig, weighted_sum
from torch import Tensor

from gsocc.errors import MissingExtraError
from gsocc.fields.density import DensityField
from gsocc.renderers import build_renderer
from gsocc.renderers.gsplat_lists import live_lists
from gsocc.renderers.gsplat_splats import Splats, TileLists, composite, count_intersections, intersect, project
from gsocc.structures import CameraRig, Gaussians, RenderOutput, VoxelGaussians

PARTS = ("depth_m", "depth_sum_m", "opacity", "features")


def assert_same(one: RenderOutput, two: RenderOutput, atol: float = 1e-5) -> None:
    for part in PARTS:
        torch.testing.assert_close(getattr(one, part), getattr(two, part), atol=atol, rtol=1e-5, msg=part)


def voxels(channels: int = 5, batch: int = 1, seed: int = 0) -> VoxelGaussians:
    """Return voxels of which most are thinner than 1 / 255, leaves of a graph."""
    density, features = random_volume(channels, seed, batch)
    opacities = -torch.expm1(-density * (density > 0.3))
    return VoxelGaussians(SMALL_GRID, (0.4, 0.3, 0.5), opacities.requires_grad_(), features.requires_grad_())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_message_names_the_cpu_renderer() -> None:
    with pytest.raises(MissingExtraError, match=r"needs an NVIDIA GPU .*'splat_cpu' runs on a CPU"):
        build_renderer("splat_gsplat")


@pytest.mark.parametrize(
    ("version", "expected"),
    [(None, r"needs gsplat: pip install -c constraints.txt -e .\[cuda\]"), ("1.6.0", "needs gsplat 1.5.3, found 1.6")],
)
def test_without_the_right_gsplat_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, version: str | None, expected: str
) -> None:
    """1.6 has another limit of alpha (0.99) and other signatures."""
    module = None
    if version is not None:
        module = ModuleType("gsplat")
        module.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "gsplat", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(MissingExtraError, match=expected):
        build_renderer("splat_gsplat")


def test_a_scene_in_main_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gsocc.renderers.gsplat_api.import_gsplat", GsplatStandIn)
    with pytest.raises(ValueError, match=r"the scene must be on a CUDA device, got cpu; .*'splat_cpu'"):
        build_renderer("splat_gsplat").render(random_gaussians(3, 1), surround_rig())
    with pytest.raises(ValueError, match="the scene must be on a CUDA device, got cpu"):
        build_renderer("splat_gsplat").render(voxels(), surround_rig())


@pytest.mark.usefixtures("stand_in")
def test_a_rig_on_another_device_is_refused() -> None:
    with pytest.raises(ValueError, match="the rig must be on the scene's device cpu, got meta"):
        build_renderer("splat_gsplat").render(random_gaussians(3, 1), surround_rig().to("meta"))


def test_another_alpha_limit_than_the_compiled_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha_max is 0.999 in gsplat 1.5.3's kernels, got 0.99"):
        build_renderer("splat_gsplat", alpha_max=0.99)


@pytest.mark.usefixtures("stand_in")
def test_a_field_is_refused_with_the_way_to_draw_it() -> None:
    field = DensityField(SMALL_GRID, *random_volume(1))
    with pytest.raises(TypeError, match=r"'splat_gsplat' draws Gaussians or VoxelGaussians.*to_gaussians"):
        build_renderer("splat_gsplat").render(field, surround_rig())


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("channels", "batch", "shape"),
    [(1, 1, "scales"), (18, 2, "scales"), (40, 1, "scales"), (3, 2, "covariances"), (3, 2, "covariances per view")],
)
def test_values_and_gradients_are_those_of_the_oracle(channels: int, batch: int, shape: str) -> None:
    """float32 both; sums over hundreds of pixels in another order: 1e-4 of the largest gradient."""
    scene, rig = random_gaussians(40, channels, batch=batch), surround_rig((20, 33), batch)
    leaves = ["means", "opacities", "features", "quats", "scales"]
    if shape.startswith("covariances"):
        factor = torch.randn(batch, rig.num_views, 40, 3, 3, generator=torch.Generator().manual_seed(3)) * 0.3
        matrices = factor @ factor.transpose(-1, -2) + 0.01 * torch.eye(3)
        scene = replace(scene, covariances=matrices if shape.endswith("view") else matrices[:, :1])
        leaves = [*leaves[:3], "covariances"]
    results = []
    for name in ("splat_gsplat", "splat_torch"):
        own = scene.map(lambda tensor: tensor.clone().requires_grad_())
        poses = rig.cam_to_ego.clone().requires_grad_()
        out = build_renderer(name).render(own, replace(rig, cam_to_ego=poses))
        (weighted_sum(out) + out.depth_m.sum()).backward()
        results.append((out, [poses.grad, *(getattr(own, leaf).grad for leaf in leaves)]))
    (ours, our_gradients), (theirs, their_gradients) = results
    assert_same(ours, theirs, 2e-5)
    for leaf, measured, expected in zip(["poses", *leaves], our_gradients, their_gradients, strict=True):
        assert expected.abs().max() > 0.0
        torch.testing.assert_close(measured, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3, msg=leaf)


@pytest.mark.parametrize(("channels", "passes"), [(0, 1), (18, 1), (31, 1), (32, 2), (40, 2), (64, 3)])
def test_images_of_all_items_and_views_are_composited_at_once(
    stand_in: GsplatStandIn, channels: int, passes: int
) -> None:
    """Depth is one more channel; passes have 32. The stand-in refuses numbers of channels that gsplat lacks."""
    out = build_renderer("splat_gsplat").render(random_gaussians(20, channels, batch=2), surround_rig(batch=2))
    assert out.features.shape == (2, 3, channels, 12, 20)
    assert stand_in.calls == {
        "fully_fused_projection": 2, "isect_tiles": 1, "isect_offset_encode": 1, "rasterize_to_pixels": passes
    }  # fmt: skip


@pytest.mark.usefixtures("stand_in")
def test_batch_items_do_not_mix() -> None:
    """The `rasterization` of gsplat 1.5.3 bounds all items by the opacities of the first, here nearly zero."""
    scene, rig = random_gaussians(40, 2, batch=2), surround_rig(batch=2)
    scene.opacities[0] *= 0.01
    renderer = build_renderer("splat_gsplat")
    out = renderer.render(scene, rig)
    for item in range(2):
        alone = renderer.render(scene.item(item), rig.item(item))
        torch.testing.assert_close(out.features[item], alone.features[0])
        torch.testing.assert_close(out.opacity[item], alone.opacity[0])
    assert out.opacity[1].max() > 0.5


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("count", [0, 5])
def test_nothing_to_see_is_an_empty_picture_with_gradients(count: int) -> None:
    """No Gaussians at all, or all behind the camera."""
    scene = random_gaussians(count, 3).map(lambda tensor: tensor.requires_grad_())
    rig = forward_rig()
    scene = replace(scene, means=scene.means - torch.tensor([20.0, 0.0, 0.0]))
    out = build_renderer("splat_gsplat").render(scene, rig)
    assert out.features.shape == (1, 1, 3, 7, 11)
    assert (out.opacity == 0.0).all()
    weighted_sum(out).backward()
    assert scene.features.grad is not None
    assert (scene.features.grad == 0.0).all()


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("cache", [True, False])
def test_a_nan_opacity_shows_in_its_own_item(cache: bool) -> None:
    """On a GPU min(0.999, NaN) is 0.999: gsplat itself would draw a wall."""
    scene = voxels(batch=2)
    opacities = scene.opacities.detach().clone()
    opacities[1, 5, 5, 5] = float("nan")
    out = build_renderer("splat_gsplat", cache=cache).render(replace(scene, opacities=opacities), surround_rig(batch=2))
    assert out.opacity[0].isfinite().all()
    assert out.opacity[1].isnan().all()


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_callers_in_half_precision_get_float32(cache: bool, dtype: torch.dtype) -> None:
    scene, rig = voxels(), surround_rig()
    scene = replace(scene, opacities=scene.opacities.detach().to(dtype), features=scene.features.detach().to(dtype))
    expected = replace(scene, opacities=scene.opacities.float(), features=scene.features.float())
    renderer = build_renderer("splat_gsplat", cache=cache)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = renderer.render(scene, rig)
    assert out.features.dtype == out.depth_m.dtype == torch.float32
    assert_same(out, renderer.render(expected, rig))


def test_more_than_gsplat_can_address_is_refused(stand_in: GsplatStandIn) -> None:
    """Its kernels multiply row and channels in 32 bits; 2^28 rows of 32 channels would wrap around."""
    rows = 2**28
    splats = Splats(
        torch.zeros(1, dtype=torch.long).expand(rows),
        torch.zeros(1, 2).expand(rows, 2),
        torch.zeros(1, 3).expand(rows, 3),
        torch.zeros(1).expand(rows),
    )
    lists = TileLists(torch.zeros(1, 1, 1, dtype=torch.int32), torch.zeros(1, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"268435456 visible splats.*render fewer batch items"):
        composite(stand_in, splats, lists, torch.ones(1), torch.ones(1, 20), (4, 4))


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("batch", [1, 2])
def test_cached_lists_draw_what_the_plain_path_draws(batch: int) -> None:
    """Value and gradient; the rigs of the batch differ, and so do the voxels that are left."""
    rig = surround_rig((20, 33), batch)
    rig.cam_to_ego[-1, :, 2, 3] += 0.3 * (batch - 1)
    results = []
    for cache in (True, False):
        renderer, scene = build_renderer("splat_gsplat", cache=cache), voxels(batch=batch)
        renderer.render(scene, rig)
        out = renderer.render(scene, rig)
        (weighted_sum(out) + out.depth_m.sum()).backward()
        results.append((out, scene.opacities.grad, scene.features.grad))
    assert_same(results[0][0], results[1][0])
    for measured, expected in zip(results[0][1:], results[1][1:], strict=True):
        assert expected.abs().max() > 0.0
        torch.testing.assert_close(measured, expected, atol=1e-5, rtol=1e-4)


def test_a_second_frame_neither_projects_nor_sorts(stand_in: GsplatStandIn) -> None:
    renderer, rig = build_renderer("splat_gsplat"), surround_rig(batch=2)
    renderer.render(voxels(batch=2), rig)
    stand_in.calls.clear()
    renderer.render(voxels(batch=2, seed=1), rig)
    assert stand_in.calls == {"rasterize_to_pixels": 1}


def test_lists_are_found_by_the_values_of_the_rig(stand_in: GsplatStandIn) -> None:
    """Loaders make new tensors at every step; some change theirs in place."""
    renderer, rig = build_renderer("splat_gsplat"), surround_rig(batch=2)
    renderer.render(voxels(batch=2), rig)
    assert len(renderer.cache) == 1, "both items have the same cameras"
    copied = CameraRig(rig.intrinsics.clone(), rig.cam_to_ego.clone(), rig.image_size)
    renderer.render(voxels(batch=2), copied)
    renderer.render(voxels(), rig.item(0))
    assert len(renderer.cache) == 1
    copied.cam_to_ego[1, 0, 0, 3] += 0.1
    moved = renderer.render(voxels(batch=2), copied)
    assert len(renderer.cache) == 2
    assert_same(moved, build_renderer("splat_gsplat", cache=False).render(voxels(batch=2), copied))
    renderer.render(replace(voxels(), scale_fraction=(0.3, 0.3, 0.3)), rig.item(0))
    assert len(renderer.cache) == 3
    renderer.render(replace(voxels(), tiers=((3.0, 2.0),)), rig.item(0))
    assert len(renderer.cache) == 4
    with torch.inference_mode():
        renderer.render(voxels(), CameraRig(rig.intrinsics[:1].clone(), rig.cam_to_ego[:1].clone(), rig.image_size))
    assert len(renderer.cache) == 4
    assert stand_in.calls["isect_tiles"] == 4 + 1


@pytest.mark.usefixtures("stand_in")
def test_only_voxels_that_can_be_drawn_reach_the_rasteriser() -> None:
    """Alpha is at most the opacity: below 1 / 255 no pixel shows it; at 1 / 255 the middle of the voxel may."""
    renderer, rig = build_renderer("splat_gsplat"), surround_rig()
    scene = voxels()
    held = renderer.cache.get(renderer._gsplat, scene, rig)
    opacities = torch.full((1, 800), 0.9 / 255)
    opacities[0, 300:310] = 1 / 255
    opacities[0, 400] = float("nan")
    splats, lists = live_lists(held, opacities)
    assert set(splats.gaussians.tolist()) <= {*range(300, 310), 400}
    assert len(splats.gaussians) > 0
    assert lists.rows.max() < len(splats.gaussians)
    # Lists stay in order of depth within their tile.
    ends = [*lists.offsets.flatten().tolist()[1:], len(lists.rows)]
    for start, end in zip(lists.offsets.flatten().tolist(), ends, strict=True):
        depths = splats.depths_m[lists.rows[start:end]]
        assert (depths.diff() >= 0.0).all()
    splats, lists = live_lists(held, torch.zeros(1, 800))
    assert len(splats.gaussians) == len(lists.rows) == 0
    splats, lists = live_lists(held, torch.ones(1, 800))
    assert splats.means2d is held[0].splats.means2d
    assert torch.equal(lists.rows, held[0].lists.rows)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_full_and_empty_grids_are_drawn(opacity: float) -> None:
    rig = surround_rig((1, 1))
    scene = voxels()
    scene = replace(scene, opacities=torch.full_like(scene.opacities, opacity))
    out = build_renderer("splat_gsplat").render(scene, rig)
    assert_same(out, build_renderer("splat_torch").render(scene, rig))
    assert (out.opacity.max() > 0.9) == (opacity > 0.0)


def test_lists_are_as_long_as_counted(stand_in: GsplatStandIn) -> None:
    """What is refused for its size is never allocated, so the size must be known beforehand, to the entry."""
    renderer, rig = build_renderer("splat_gsplat"), surround_rig((37, 70), batch=2)
    scene = random_gaussians(40, 1, batch=2)
    projected = project(stand_in, scene, rig, renderer.options, None)
    lists = intersect(stand_in, projected, 6, rig.image_size)
    assert count_intersections(projected, rig.image_size) == len(lists.rows)


@pytest.mark.usefixtures("stand_in")
def test_the_cache_keeps_to_its_limit() -> None:
    """A rig that fits exactly is taken, one byte less is refused with the figure; the oldest rig makes room."""
    rig, scene = surround_rig(), voxels()
    other = replace(rig, cam_to_ego=rig.cam_to_ego.clone())
    other.cam_to_ego[:, :, 0, 3] += 0.2
    renderer = build_renderer("splat_gsplat")
    renderer.render(scene, rig)
    held = renderer.cache.nbytes
    exact = build_renderer("splat_gsplat", cache_max_gb=held / 1e9)
    exact.render(scene, rig)
    assert exact.cache.nbytes == held
    expected = (
        r"tile lists of one rig \(3 views of 12x20 px, grid 8x10x10\) need 0.00 GB, cache_max_gb is .*cache=False"
    )
    with pytest.raises(ValueError, match=expected):
        build_renderer("splat_gsplat", cache_max_gb=(held - 1) / 1e9).render(scene, rig)
    both = build_renderer("splat_gsplat", cache_max_gb=1.5 * held / 1e9)
    both.render(scene, rig)
    both.render(scene, other)
    assert len(both.cache) == 1
    both.render(scene, rig)
    assert both.cache.nbytes == held
    pair = CameraRig(
        *(torch.cat([getattr(r, n) for r in (rig, other)]) for n in ("intrinsics", "cam_to_ego")), (12, 20)
    )
    with pytest.raises(ValueError, match=r"beside 0.00 GB of other rigs in the batch"):
        both.render(voxels(batch=2), pair)


@pytest.mark.usefixtures("stand_in")
def test_poses_that_want_a_gradient_are_not_drawn_from_lists_that_have_none() -> None:
    rig = surround_rig()
    learned = replace(rig, cam_to_ego=rig.cam_to_ego.clone().requires_grad_())
    with pytest.raises(ValueError, match="cached lists have no gradient to cam_to_ego; set cache=False"):
        build_renderer("splat_gsplat").render(voxels(), learned)
    with torch.no_grad():
        build_renderer("splat_gsplat").render(voxels(), learned)
    build_renderer("splat_gsplat", cache=False).render(voxels(), learned).opacity.sum().backward()
    assert learned.cam_to_ego.grad is not None
    assert learned.cam_to_ego.grad.abs().max() > 0.0


def test_the_stand_in_is_tested_too(stand_in: GsplatStandIn) -> None:
    """By hand: a row in the middle of the second tile meets that one alone; one on the corner of all four meets all."""
    centres = torch.tensor([[24.0, 8.0], [16.0, 16.0]])
    radii = torch.full((2, 2), 4, dtype=torch.int32)
    ids = torch.arange(2)
    _, keys, rows = stand_in.isect_tiles(
        centres, radii, torch.tensor([5.0, 4.0]), 16, 2, 2, packed=True, n_images=2, image_ids=ids * 0 + 1,
        gaussian_ids=ids,
    )  # fmt: skip
    assert rows.tolist() == [1, 1, 0, 1, 1]
    assert stand_in.isect_offset_encode(keys, 2, 2, 2).tolist() == [[[0, 0], [0, 0]], [[0, 1], [3, 4]]]


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


def test_free_gaussians_take_the_plain_path(stand_in: GsplatStandIn) -> None:
    scene: Gaussians = random_gaussians(5, 1).map(leaf)
    renderer = build_renderer("splat_gsplat")
    renderer.render(scene, surround_rig())
    renderer.render(scene, surround_rig())
    assert stand_in.calls["isect_tiles"] == 2
    assert len(renderer.cache) == 0
