"""The cached way of `splat_cpu`: what it must equal, and what it may hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from render_helpers import SMALL_GRID, DensityField, random_volume, surround_rig, weighted_sum

from gsocc.renderers import build_renderer
from gsocc.renderers.base import SplatOptions
from gsocc.renderers.voxel_lists import VoxelListCache, build_voxel_lists
from gsocc.structures import VoxelGaussians


def voxel_scene(opacity: float | None = None, channels: int = 3, scale_fraction: float = 0.4) -> VoxelGaussians:
    density, features = random_volume(channels)
    opacities = -torch.expm1(-density) if opacity is None else torch.full_like(density, opacity)
    return VoxelGaussians(SMALL_GRID, (scale_fraction, scale_fraction, 0.7 * scale_fraction), opacities, features)


@pytest.mark.parametrize("opacity", [None, 0.003, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("scale_fraction", [0.2, 0.5])
def test_cached_equals_plain(opacity: float | None, scale_fraction: float) -> None:
    """The cache holds the same numbers that the plain way computes: 1e-5, below a thousandth of an 8-bit step."""
    scene, rig = voxel_scene(opacity, scale_fraction=scale_fraction), surround_rig()
    results = []
    for cache in (True, False):
        leaves = [t.clone().requires_grad_() for t in (scene.opacities, scene.features)]
        out = build_renderer("splat_cpu", cache=cache).render(
            replace(scene, opacities=leaves[0], features=leaves[1]), rig
        )
        (weighted_sum(out) + out.depth_m.sum()).backward()
        results.append((out, leaves))
    (one, ours), (two, theirs) = results
    for part in ("depth_m", "depth_sum_m", "opacity", "features"):
        torch.testing.assert_close(getattr(one, part), getattr(two, part), atol=1e-5, rtol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(
            mine.grad, other.grad, atol=1e-5 * max(1.0, other.grad.abs().max().item()), rtol=1e-4
        )


def test_cached_agrees_with_the_oracle() -> None:
    scene, rig = voxel_scene(), surround_rig()
    one, two = (build_renderer(name).render(scene, rig) for name in ("splat_cpu", "splat_torch"))
    for part in ("depth_m", "opacity", "features"):
        torch.testing.assert_close(getattr(one, part), getattr(two, part), atol=1e-5, rtol=1e-5)


def test_lists_are_sorted_and_hold_what_an_opaque_voxel_could_add() -> None:
    """Kernels lie in [1 / 255, 1] (an ulp below is harmless, the blend tests alpha again) and fall within a pair.

    Depth never falls within a block, no voxel comes twice, and no pixel comes twice within a pair.
    """
    scene = voxel_scene()
    lists = build_voxel_lists(scene, surround_rig(), SplatOptions())
    assert lists.entry_kernel.min() > (1 - 1e-5) / 255
    assert lists.entry_kernel.max() <= 1.0
    assert lists.block_entries[-1] == len(lists.entry_kernel)
    for block in range(len(lists.block_pairs) - 1):
        pairs = slice(lists.block_pairs[block], lists.block_pairs[block + 1])
        assert (np.diff(lists.pair_depth[pairs]) >= 0).all()
        assert len(set(lists.pair_voxel[pairs].tolist())) == pairs.stop - pairs.start
        first = lists.block_entries[block]
        for end in lists.block_entries[block] + lists.pair_end[pairs]:
            assert end > first
            assert (np.diff(lists.entry_kernel[first:end]) <= 0).all()
            assert len(set(lists.entry_pixel[first:end].tolist())) == end - first
            first = end
        assert first == lists.block_entries[block + 1]


def test_a_rig_is_known_by_its_values_not_by_its_tensors() -> None:
    cache = VoxelListCache(SplatOptions())
    scene = voxel_scene()
    first = cache.get(scene, surround_rig())
    assert cache.get(scene, surround_rig()) is first
    moved = surround_rig()
    moved.cam_to_ego[0, 1, 0, 3] += 1e-3
    assert cache.get(scene, moved) is not first
    assert cache.get(replace(scene, scale_fraction=(0.1, 0.1, 0.1)), surround_rig()) is not first
    assert cache.get(scene, surround_rig().resized((6, 10))) is not first
    assert cache.get(replace(scene, tiers=((3.0, 2.0),)), surround_rig()) is not first
    assert len(cache) == 5


def test_the_least_recently_used_rig_goes_first() -> None:
    scene = voxel_scene()
    one = build_voxel_lists(scene, surround_rig(), SplatOptions())
    cache = VoxelListCache(SplatOptions(cache_max_gb=2.9 * one.nbytes / 1e9))
    rigs = [surround_rig() for _ in range(3)]
    for shift, rig in enumerate(rigs):
        rig.cam_to_ego[0, :, 2, 3] += 1e-3 * shift
    kept = cache.get(scene, rigs[0])
    dropped = cache.get(scene, rigs[1])
    assert cache.get(scene, rigs[0]) is kept
    cache.get(scene, rigs[2])
    assert len(cache) == 2
    assert cache.nbytes <= 2.9 * one.nbytes
    assert cache.get(scene, rigs[0]) is kept
    assert cache.get(scene, rigs[1]) is not dropped


def test_a_rig_that_does_not_fit_is_refused_with_the_figure() -> None:
    renderer = build_renderer("splat_cpu", cache_max_gb=1e-4)
    with pytest.raises(
        ValueError, match=r"3 views of 12x20 px, grid 8x10x10\) need 0\.0\d+ GB, cache_max_gb is 0.0001"
    ):
        renderer.render(voxel_scene(), surround_rig())


def test_shapes_that_do_not_fit_the_grid_are_refused() -> None:
    """Tensors may agree with each other, which the shape checker sees, and still not with the grid."""
    scene = voxel_scene()
    renderer = build_renderer("splat_cpu")
    grown = {"opacities": torch.zeros(1, 10, 10, 9), "features": torch.zeros(1, 3, 10, 10, 9)}
    with pytest.raises(ValueError, match=r"opacities must be \(B, \*\(10, 10, 8\)\)"):
        renderer.render(replace(scene, **grown), surround_rig())
    with pytest.raises(ValueError, match="scale_fraction"):
        renderer.render(replace(scene, scale_fraction=(0.3, float("nan"), 0.3)), surround_rig())


def test_a_field_is_refused_with_the_way_out() -> None:
    field = DensityField(SMALL_GRID, *random_volume(2))
    with pytest.raises(TypeError, match=r"draws Gaussians or VoxelGaussians, got DensityField; field.to_gaussians"):
        build_renderer("splat_cpu").render(field, surround_rig())


def test_gradient_buffers_that_do_not_fit_run_with_fewer_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same gradient with one task as with one per thread, to rounding."""
    scene, rig = voxel_scene(), surround_rig()
    renderer = build_renderer("splat_cpu")

    def gradient() -> torch.Tensor:
        opacities = scene.opacities.clone().requires_grad_()
        weighted_sum(renderer.render(replace(scene, opacities=opacities), rig)).backward()
        assert opacities.grad is not None
        return opacities.grad

    many = gradient()
    monkeypatch.setattr("gsocc.renderers.buffers.MAX_BYTES", 1)
    torch.testing.assert_close(gradient(), many, atol=1e-5, rtol=1e-4)
