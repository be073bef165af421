"""Rays through fields whose picture is known: every weight rule, in torch and in the kernels."""

import math

import pytest
import torch
from render_helpers import SMALL_GRID, forward_rig, random_volume, surround_rig, weighted_sum
from torch import Tensor

from gsocc.fields.base import Field
from gsocc.fields.density import DensityField
from gsocc.fields.ray_rules import Exponential, NeusLogistic, RayRule, SaturatingSum, ShiftedSoftplus
from gsocc.fields.sdf import SdfField
from gsocc.geometry.projection import camera_directions
from gsocc.renderers import build_renderer
from gsocc.structures import ContractedGrid, VoxelGrid
from gsocc.structures.contracted_grid import Lattice

CELLS = {"sampling": "cells", "interpolation": "nearest"}
both = pytest.mark.parametrize("name", ["volume", "volume_cpu"])

BOX = VoxelGrid((2.0, -3.0, -3.0), (8, 12, 12), (0.5, 0.5, 0.5))
"""A box from 2 m to 6 m ahead, wide enough for every ray of `forward_rig` to leave through its back."""


def box(value: float, rule: RayRule) -> DensityField:
    """Return the box full of one value, with features that tell the layers apart: the depth of their centres."""
    depth = BOX.centers_m()[None, None, ..., 0]
    return DensityField(BOX, torch.full((1, *BOX.shape), value), depth, rule)


@both
@pytest.mark.parametrize("density", [10.0, 13.0, 15.0])
def test_softplus_fog_follows_beer_and_lambert(name: str, density: float) -> None:
    """By the metre the shifted softplus is a density: opacity 1 - exp(-4 |d| softplus(density + shift))."""
    rule = ShiftedSoftplus(interval=None)
    rig = forward_rig()
    out = build_renderer(name, **CELLS).render(box(density, rule), rig)
    sigma = math.log1p(math.exp(density + rule.shift))
    way_m = 4.0 * camera_directions(rig.intrinsics, rig.image_size).norm(dim=-1)
    torch.testing.assert_close(out.opacity, -torch.expm1(-sigma * way_m), atol=1e-6, rtol=1e-4)


@both
def test_softplus_of_a_built_in_interval_counts_samples(name: str) -> None:
    """Eight voxels of 1 - (1 + e)^(-1/2) each, however long the stretch: density = 1 - shift."""
    rule = ShiftedSoftplus()
    out = build_renderer(name, **CELLS).render(box(1.0 - rule.shift, rule), forward_rig((1, 1)))
    assert out.opacity.item() == pytest.approx(1.0 - (1.0 + math.e) ** (-0.5 * 8), rel=1e-5)


@both
def test_probabilities_add_up_until_the_ray_is_full(name: str) -> None:
    """P = 0.3 per voxel: weights 0.3, 0.3, 0.3, 0.1 at 2.25, 2.75, 3.25 and 3.75 m, and nothing behind."""
    out = build_renderer(name, **CELLS).render(box(0.3, SaturatingSum()), forward_rig((1, 1)))
    assert out.opacity.item() == pytest.approx(1.0, abs=1e-6)
    expected = 0.3 * (2.25 + 2.75 + 3.25) + 0.1 * 3.75
    assert out.depth_m.item() == pytest.approx(expected, abs=1e-5)
    assert out.features.item() == pytest.approx(expected, abs=1e-5)


@both
@pytest.mark.parametrize("rest", [False, True])
def test_what_a_ray_has_left_goes_to_the_last_sample_where_that_is_asked_for(name: str, rest: bool) -> None:
    """P = 0.1 in eight voxels fills 0.8; the last of the uniform samples, at 9.75 m, lies behind the box."""
    rule = SaturatingSum(rest_at_last=rest)
    renderer = build_renderer(name, near_m=1.0, far_m=10.0, step_m=0.5, interpolation="nearest")
    out = renderer.render(box(0.1, rule), forward_rig((1, 1)))
    inside = sum(0.1 * (2.25 + 0.5 * k) for k in range(8))
    assert out.opacity.item() == pytest.approx(1.0 if rest else 0.8, abs=1e-5)
    assert out.depth_sum_m.item() == pytest.approx(inside + (0.2 * 9.75 if rest else 0.0), abs=1e-4)


@both
@pytest.mark.parametrize("inv_s", [4.0, 20.0])
def test_a_plane_of_signed_distance_is_a_logistic_around_it(name: str, inv_s: float) -> None:
    """Contiguous samples telescope: T = N_last / P_first, whatever the spacing, and the mean depth is the plane.

    eps = 1e-5 adds as much to each of 200 alphas.
    """
    grid = VoxelGrid((2.0, -3.0, -3.0), (40, 12, 12), (0.1, 0.5, 0.5))
    sdf = (4.0 - grid.centers_m()[None, ..., 0]).contiguous()
    field = SdfField(grid, sdf, torch.ones(1, 1, *grid.shape), NeusLogistic(inv_s))
    out = build_renderer(name, near_m=1.0, far_m=8.0, step_m=0.02).render(field, forward_rig((1, 1)))

    def logistic(x: float) -> float:
        return 1.0 / (1.0 + math.exp(-x * inv_s))

    # The outer half voxels repeat the values at 2.05 and 5.95 m, with a gradient that does not.
    first = 1.95
    left = logistic(-first) / logistic(first)
    assert out.opacity.item() == pytest.approx(1.0 - left, abs=4e-3)
    assert out.depth_m.item() == pytest.approx(4.0, abs=0.02)


def sphere(sharp: bool) -> tuple[Field, float]:
    """Return a ball of 1.5 m, 5 m ahead, as a distance or as a medium of 0.8 / m, and the edge of its voxels."""
    edge = 0.125
    grid = VoxelGrid((3.0, -2.0, -2.0), (32, 32, 32), (edge, edge, edge))
    distance = (grid.centers_m() - torch.tensor([5.0, 0.0, 0.0])).norm(dim=-1)[None] - 1.5
    features = torch.ones(1, 1, *grid.shape)
    if sharp:
        return SdfField(grid, distance, features, NeusLogistic(60.0)), edge
    # The share of a voxel that lies within, to first order.
    return DensityField(grid, 0.8 * (0.5 - distance / edge).clamp(0.0, 1.0), features), edge


@both
def test_a_ball_of_fog_dims_by_its_chords(name: str) -> None:
    """Opacity 1 - exp(-0.8 c), c the chord; trilinear ramps blur the rim, so within 0.02 elsewhere."""
    field, edge = sphere(sharp=False)
    rig = forward_rig((9, 9), 9.0)
    out = build_renderer(name, step_m=0.05, far_m=9.0).render(field, rig)
    directions = camera_directions(rig.intrinsics, rig.image_size)[0, 0]
    sine = directions[..., :2].norm(dim=-1) / directions.norm(dim=-1)
    chord = 2.0 * (1.5**2 - (5.0 * sine) ** 2).clamp(min=0.0).sqrt()
    away = ((5.0 * sine) - 1.5).abs() > edge
    assert away.float().mean() > 0.7
    error = (out.opacity[0, 0] + torch.expm1(-0.8 * chord)).abs()
    assert error[away].max() < 0.02, error


@both
def test_a_ball_of_signed_distance_is_met_at_its_surface(name: str) -> None:
    """The depth where the ray enters the sphere, within 2 cm where it does not graze."""
    field, _ = sphere(sharp=True)
    rig = forward_rig((9, 9), 9.0)
    out = build_renderer(name, step_m=0.02, far_m=9.0).render(field, rig)
    d = camera_directions(rig.intrinsics, rig.image_size)[0, 0]
    a, b, c = d.square().sum(-1), -10.0 * d[..., 2], 25.0 - 1.5**2
    disc = b.square() - 4.0 * a * c
    z = (-b - disc.clamp(min=0.0).sqrt()) / (2.0 * a)
    steep = disc > 0.4 * disc.max()
    assert steep.sum() > 8
    torch.testing.assert_close(out.depth_m[0, 0][steep], z[steep], atol=0.02, rtol=0.0)
    assert out.opacity[0, 0][disc < -4.0].max() < 0.02


@both
def test_a_contracted_grid_sees_to_infinity(name: str) -> None:
    """Fog over all of space: 0.2 / m up to the last sample, 120 m away, leaves nothing of the ray."""
    grid = ContractedGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), (30, 30, 12))
    field = DensityField(grid, torch.full((1, *grid.shape), 0.2), torch.ones(1, 1, *grid.shape))
    out = build_renderer(name, sampling="contracted", step_m=0.2).render(field, forward_rig())
    assert out.opacity.min() > 0.99
    near = build_renderer(name, step_m=0.2, far_m=5.2).render(field, forward_rig((1, 1)))
    assert near.opacity.item() == pytest.approx(-math.expm1(-0.2 * 5.0), abs=1e-4)


@pytest.mark.parametrize("lattice", ["cells", "ends"])
@pytest.mark.parametrize("interpolation", ["trilinear", "nearest"])
def test_the_kernels_find_voxels_of_either_contracted_lattice(lattice: Lattice, interpolation: str) -> None:
    """A thin medium, so that every voxel along a ray counts; `volume` asks the grid, the kernels have it built in."""
    grid = ContractedGrid((-4.3, -4.1, -1.2), (4.0, 4.0, 1.0), (7, 6, 5), lattice=lattice)  # no ray runs in a face
    generator = torch.Generator().manual_seed(1)
    density = 0.1 * torch.rand(1, *grid.shape, generator=generator)
    field = DensityField(grid, density, torch.rand(1, 2, *grid.shape, generator=generator))
    options = {"sampling": "contracted", "step_m": 0.2, "interpolation": interpolation}
    one, two = (build_renderer(name, **options).render(field, forward_rig((3, 5))) for name in ("volume", "volume_cpu"))
    torch.testing.assert_close(two.features, one.features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(two.depth_sum_m, one.depth_sum_m, atol=1e-4, rtol=1e-4)


GRADIENT_RULES: dict[str, RayRule] = {
    "exponential": Exponential(),
    "saturating_sum": SaturatingSum(),
    "saturating_sum-rest": SaturatingSum(rest_at_last=True),
    "shifted_softplus": ShiftedSoftplus(),
    "neus": NeusLogistic(),
}
SAMPLERS: list[dict[str, object]] = [
    {"step_m": 0.3, "far_m": 4.0},
    {**CELLS, "far_m": 4.0},
    {"sampling": "contracted", "step_m": 0.3},
]


@pytest.mark.parametrize("rule", GRADIENT_RULES)
@pytest.mark.parametrize("options", SAMPLERS)
def test_volume_passes_a_gradient_check_in_double_precision(rule: str, options: dict[str, object]) -> None:
    """Everything that a loss may look at: depth, opacity, features and the weights of single samples."""
    grid = VoxelGrid((1.5, -0.5, -0.5), (2, 2, 2), (0.5, 0.5, 0.5))
    rig = forward_rig((2, 3), 6.0)
    generator = torch.Generator().manual_seed(4)
    values = torch.rand(1, 2, 2, 2, generator=generator, dtype=torch.float64)
    values = 12.0 + 2.0 * values if rule == "shifted_softplus" else 0.05 + 0.4 * values
    features = torch.rand(1, 2, 2, 2, 2, generator=generator, dtype=torch.float64)
    inv_s = torch.tensor(3.0, dtype=torch.float64)
    renderer = build_renderer("volume", weights=True, **options)

    def picture(v: Tensor, f: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        if rule == "neus":
            field: Field = SdfField(grid, v - 0.2, f, NeusLogistic(s))
        else:
            field = DensityField(grid, v, f, GRADIENT_RULES[rule])
        out = renderer.render(field, rig)
        assert out.weights is not None
        return out.depth_m, out.opacity, out.features, out.weights

    leaves = [leaf.requires_grad_() for leaf in (values, features)]
    assert torch.autograd.gradcheck(picture, (*leaves, inv_s.requires_grad_(rule == "neus")))


def test_weights_come_with_their_depths() -> None:
    """sum(w z) over the samples is the depth of the picture, by every sampler."""
    field = DensityField(SMALL_GRID, *random_volume(1))
    for options in ({"step_m": 0.3}, CELLS, {"sampling": "contracted"}, {"sampling": "importance", "far_m": 9.0}):
        out = build_renderer("volume", weights=True, **options).render(field, surround_rig())
        assert out.weights is not None
        assert out.sample_depths_m is not None
        assert out.sample_depths_m.shape == out.weights.shape
        assert not out.sample_depths_m.requires_grad
        torch.testing.assert_close((out.weights * out.sample_depths_m).sum(-1), out.depth_sum_m)


@pytest.mark.parametrize("options", [{"sampling": "importance", "far_m": 9.0}, {"sampling": "contracted"}])
def test_chunks_change_nothing_of_other_samplers(options: dict[str, object]) -> None:
    results = []
    for chunk_gb in (1.0, 1e-3):
        density, features = (leaf.requires_grad_() for leaf in random_volume(2))
        renderer = build_renderer("volume", weights=True, chunk_gb=chunk_gb, **options)
        out = renderer.render(DensityField(SMALL_GRID, density, features), surround_rig())
        weighted_sum(out).backward()
        results.append((out.features, out.weights, density.grad, features.grad))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_cells_of_a_contracted_grid_are_refused() -> None:
    grid = ContractedGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), (4, 4, 4))
    field = DensityField(grid, torch.ones(1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4))
    with pytest.raises(ValueError, match='"cells" walks through a VoxelGrid, got a ContractedGrid'):
        build_renderer("volume", **CELLS).render(field, forward_rig())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampling": "contracted", "min_move_voxels": -1.0}, "min_move_voxels must be 0 or more"),
        ({"min_move_voxels": 0.2}, 'belongs to sampling "contracted"'),
        ({"fine_samples": 0}, "fine_samples must be at least 1"),
        ({"feature_group": 0}, "feature_group must be at least 1"),
        ({"sampling": "contracted", "jitter_m": -0.1}, "jitter_m must be 0 or more"),
        ({"jitter_m": 0.1}, 'jitter_m belongs to sampling "contracted"'),
        ({"half": True}, 'half belongs to sampling "contracted"'),
        ({"sampling": "stratified"}, "expected one of uniform, cells, contracted, importance"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_renderer("volume", **options)
