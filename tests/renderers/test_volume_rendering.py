"""Rays through a field: cases with a formula, and agreement of the kernels with plain torch."""

import math

import pytest
import torch
from render_helpers import SMALL_GRID, forward_rig, random_gaussians, random_volume, surround_rig
from render_helpers import weighted_sum as weigh
from torch import Tensor

from gsocc.fields.density import DensityField
from gsocc.geometry.projection import camera_directions
from gsocc.renderers import build_renderer
from gsocc.structures import RenderOutput, VoxelGrid

CELLS = {"sampling": "cells", "interpolation": "nearest"}
both = pytest.mark.parametrize("name", ["volume", "volume_cpu"])

BOX = VoxelGrid((2.0, -3.0, -3.0), (8, 12, 12), (0.5, 0.5, 0.5))
"""A box from 2 m to 6 m ahead, wide enough for every ray of `forward_rig` to leave through its back."""


def box_field(density: float) -> DensityField:
    return DensityField(BOX, torch.full((1, *BOX.shape), density), torch.ones(1, 1, *BOX.shape))


@both
@pytest.mark.parametrize("density", [1e-6, 0.05, 0.4])
def test_fog_follows_beer_and_lambert(name: str, density: float) -> None:
    """4 m of depth is 4 |d| m of way: opacity 1 - exp(-4 |d| sigma), exact cell by cell, thin fog included."""
    rig = forward_rig()
    out = build_renderer(name, **CELLS).render(box_field(density), rig)
    way_m = 4.0 * camera_directions(rig.intrinsics, rig.image_size).norm(dim=-1)
    torch.testing.assert_close(out.opacity, -torch.expm1(-density * way_m), atol=1e-9, rtol=1e-4)


@both
def test_depth_in_fog_is_that_of_the_exponential(name: str) -> None:
    """E[z] of an exponential over [2, 6] m, by integration; samples in the middles are late by sigma h^2 / 12."""
    grid = VoxelGrid((2.0, -3.0, -3.0), (80, 4, 4), (0.05, 1.5, 1.5))
    sigma = 0.7
    field = DensityField(grid, torch.full((1, *grid.shape), sigma), torch.ones(1, 1, *grid.shape))
    out = build_renderer(name, **CELLS).render(field, forward_rig((1, 1)))
    z = torch.linspace(2.0, 6.0, 40001, dtype=torch.float64)
    weight = sigma * torch.exp(-sigma * (z - 2.0))
    expected = torch.trapezoid(weight * z, z) / torch.trapezoid(weight, z)
    assert out.depth_m.item() == pytest.approx(expected.item() + sigma * 0.05**2 / 12, abs=2e-5)


@both
def test_uniform_samples_converge_to_the_cells(name: str) -> None:
    """First order in the step: a tenth of the step leaves about a tenth of the difference in opacity."""
    field = DensityField(SMALL_GRID, *random_volume(2))
    rig = surround_rig()
    exact = build_renderer(name, **CELLS).render(field, rig).opacity
    errors = []
    for step_m in (0.2, 0.02):
        sampled = build_renderer(name, step_m=step_m, interpolation="nearest", far_m=20.0).render(field, rig).opacity
        errors.append((sampled - exact).abs().mean().item())
    assert errors[1] < 0.2 * errors[0]
    assert errors[1] < 3e-3


@both
def test_an_opaque_slab_is_met_where_it_stands(name: str) -> None:
    """The wall of the voxel layer from 4.0 m to 4.5 m: rays end in it, in the middle of their stretch at the latest."""
    field = box_field(0.0)
    field.density[:, 4] = 1e3
    out = build_renderer(name, **CELLS).render(field, forward_rig())
    torch.testing.assert_close(out.depth_m, torch.full_like(out.depth_m, 4.25), atol=1e-4, rtol=0.0)


@both
@pytest.mark.parametrize("near_m", [3.0, 4.7])
def test_rays_start_at_the_near_plane(name: str, near_m: float) -> None:
    out = build_renderer(name, near_m=near_m, **CELLS).render(box_field(0.3), forward_rig((1, 1)))
    assert out.opacity.item() == pytest.approx(-math.expm1(-0.3 * (6.0 - near_m)), abs=1e-6)


@both
def test_a_camera_inside_the_grid_sees_what_is_ahead(name: str) -> None:
    grid = VoxelGrid((-5.0, -5.0, -5.0), (10, 10, 10), (1.0, 1.0, 1.0))
    field = DensityField(grid, torch.full((1, *grid.shape), 0.2), torch.ones(1, 1, *grid.shape))
    out = build_renderer(name, near_m=0.5, **CELLS).render(field, forward_rig((1, 1)))
    assert out.opacity.item() == pytest.approx(-math.expm1(-0.2 * 4.5), abs=1e-6)


OPTIONS = [
    {"step_m": 0.3},
    {"step_m": 0.3, "far_m": 3.0, "near_m": 1.0},
    {"step_m": 0.3, "interpolation": "nearest"},
    {"step_m": 0.3, "alpha_min": 1 / 255},
    {"alpha_min": 1 / 255, **CELLS},
    CELLS,
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("peak", [2.0, 80.0])
def test_kernels_agree_with_torch_in_value_and_gradient(options: dict[str, object], peak: float) -> None:
    """Both in float32, sums of a hundred terms: 2e-5; a peak of 80 / m makes most rays stop early in both."""
    rig = surround_rig()
    results = []
    for name in ("volume_cpu", "volume"):
        density, features = (leaf.requires_grad_() for leaf in random_volume(3, peak=peak))
        out = build_renderer(name, **options).render(DensityField(SMALL_GRID, density, features), rig)
        (weigh(out) + out.depth_m.sum()).backward()
        results.append((out, density.grad, features.grad))
    (one, *mine), (two, *theirs) = results
    for part in ("depth_m", "depth_sum_m", "opacity", "features"):
        torch.testing.assert_close(getattr(one, part), getattr(two, part), atol=2e-5, rtol=2e-5)
    for ours, other in zip(mine, theirs, strict=True):
        assert other.abs().max() > 0.0
        torch.testing.assert_close(ours, other, atol=3e-5 * max(1.0, other.abs().max().item()), rtol=1e-3)


def test_density_has_a_gradient_where_it_is_zero() -> None:
    """Empty space must be able to fill: d opacity / d sigma is the way through the voxel."""
    density = torch.zeros(1, *BOX.shape, requires_grad=True)
    for options in (CELLS, {"step_m": 0.1}):
        density.grad = None
        field = DensityField(BOX, density, torch.ones(1, 1, *BOX.shape))
        build_renderer("volume_cpu", **options).render(field, forward_rig((1, 1))).opacity.sum().backward()
        assert density.grad is not None
        # 4 m of box; uniform samples also see half a voxel of ramp at both ends.
        assert density.grad.sum().item() == pytest.approx(4.0, abs=0.06)


def test_chunks_change_neither_picture_nor_gradient() -> None:
    rig = surround_rig()
    results = []
    for chunk_gb in (1.0, 1e-3):
        density, features = (leaf.requires_grad_() for leaf in random_volume(3))
        renderer = build_renderer("volume", step_m=0.3, far_m=12.0, chunk_gb=chunk_gb)
        out = renderer.render(DensityField(SMALL_GRID, density, features), rig)
        weigh(out).backward()
        results.append((out.features, density.grad, features.grad))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_weights_are_returned_where_they_are_asked_for() -> None:
    field = DensityField(SMALL_GRID, *random_volume(1))
    plain: RenderOutput = build_renderer("volume", step_m=0.3, far_m=12.0).render(field, surround_rig())
    assert plain.weights is None
    out = build_renderer("volume", step_m=0.3, far_m=12.0, weights=True).render(field, surround_rig())
    assert out.weights is not None
    assert out.weights.shape == (1, 3, 12, 20, 39)
    torch.testing.assert_close(out.weights.sum(-1), out.opacity)


def test_the_kernels_refuse_what_they_do_not_know_and_point_to_torch() -> None:
    class Other:
        channels, compositing, padding, bounds = 1, "product", "zeros", (0.0, 1.0)

        def alpha(self, values: Tensor, delta_m: Tensor, directions: Tensor) -> Tensor:
            return 0.5 * values[0]

    density, features = random_volume(1, peak=1.0)
    field = DensityField(SMALL_GRID, density, features, Other())
    with pytest.raises(ValueError, match=r"ray_rule .*Other.*, .*renderer 'volume' draws any rule"):
        build_renderer("volume_cpu").render(field, surround_rig())
    assert build_renderer("volume", step_m=1.0).render(field, surround_rig()).opacity.max() > 0.0
    with pytest.raises(ValueError, match=r"importance.* renderer 'volume' has it"):
        build_renderer("volume_cpu", sampling="importance")


@both
def test_gaussians_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r"draws Field, got Gaussians; Gaussians are drawn by splat_cpu"):
        build_renderer(name).render(random_gaussians(3, 2), surround_rig())


@pytest.mark.parametrize("value", [-0.1, float("inf")])
def test_densities_that_cannot_be_are_refused(value: float) -> None:
    density, features = random_volume(1)
    density[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match="finite ray values between 0 and inf"):
        build_renderer("volume_cpu").render(DensityField(SMALL_GRID, density, features), surround_rig())


@both
def test_volumes_that_do_not_fit_their_grid_are_refused(name: str) -> None:
    density, features = random_volume(1)
    with pytest.raises(ValueError, match=r"expected ray_values \(B, 1, \*\(10, 10, 8\)\)"):
        build_renderer(name).render(DensityField(SMALL_GRID, density[..., :7], features[..., :7]), surround_rig())
