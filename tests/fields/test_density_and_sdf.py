"""Density and distance fields: what they hand to renderers."""

import math

import pytest
import torch

from gsocc.fields.base import Field
from gsocc.fields.density import DensityField
from gsocc.fields.occupancy import OccupancyField
from gsocc.fields.ray_rules import Exponential, NeusLogistic, SaturatingSum, ShiftedSoftplus
from gsocc.fields.sdf import SdfField
from gsocc.structures import ContractedGrid, VoxelGaussians, VoxelGrid

GRID = VoxelGrid((0.0, 0.0, 0.0), (4, 3, 5), (0.8, 0.8, 0.4))


def plane(distance_m: float = 1.0) -> SdfField:
    """Return the distance to the half space x > distance_m."""
    sdf = distance_m - GRID.centers_m()[None, ..., 0]
    return SdfField(GRID, sdf, torch.zeros(1, 2, *GRID.shape), NeusLogistic(math.e))


def test_fields_honour_the_seam() -> None:
    density = DensityField(GRID, torch.rand(1, *GRID.shape), torch.rand(1, 2, *GRID.shape))
    for field in (density, plane()):
        assert isinstance(field, Field)
        assert field.ray_values().shape == (1, field.ray_rule.channels, *GRID.shape)


@pytest.mark.parametrize("rule", [Exponential(), SaturatingSum(), ShiftedSoftplus(interval=None)], ids=repr)
def test_a_density_is_as_opaque_as_its_shortest_crossing(rule: Exponential | SaturatingSum | ShiftedSoftplus) -> None:
    density = torch.full((1, *GRID.shape), 0.7)
    field = DensityField(GRID, density, torch.zeros(1, 2, *GRID.shape), rule)
    raw = math.log1p(math.exp(0.7 + ShiftedSoftplus().shift))
    expected = {
        Exponential: -math.expm1(-0.7 * 0.4),
        SaturatingSum: 0.7,
        ShiftedSoftplus: -math.expm1(-raw * 0.4),
    }[type(rule)]
    torch.testing.assert_close(field.occupancy(), torch.full_like(density, expected))
    gaussians = field.to_gaussians((0.3, 0.3, 0.3))
    assert isinstance(gaussians, VoxelGaussians)
    torch.testing.assert_close(gaussians.opacities, field.occupancy())


def test_the_gradient_of_a_plane_is_its_normal_up_to_the_faces() -> None:
    """Central differences of a linear function are exact; repeating the edge would halve them at the faces."""
    values = plane().ray_values()
    for channel, expected in ((1, -1.0), (2, 0.0), (3, 0.0)):
        torch.testing.assert_close(values[:, channel], torch.full((1, *GRID.shape), expected), atol=1e-5, rtol=0.0)


def test_a_surface_is_half_occupied_and_its_gaussians_are_those_of_neus() -> None:
    """At the surface sigmoid(0), and over 0.4 m: P = sigmoid(0.2 e), N = 1 - P, alpha = (P - N + eps) / (P + eps)."""
    field = SdfField(GRID, torch.zeros(1, *GRID.shape), torch.zeros(1, 2, *GRID.shape), NeusLogistic(math.e))
    torch.testing.assert_close(field.occupancy(), torch.full((1, *GRID.shape), 0.5))
    before = 1.0 / (1.0 + math.exp(-0.2 * math.e))
    expected = (2.0 * before - 1.0 + 1e-5) / (before + 1e-5)
    torch.testing.assert_close(field.to_gaussians((0.3,) * 3).opacities, torch.full((1, *GRID.shape), expected))


def test_occupancy_is_summed_where_the_rule_sums() -> None:
    """OccNeRF's rule reads probabilities, the exponential one densities."""
    logits = torch.randn(1, 4, *GRID.shape)
    field = OccupancyField.from_logits(GRID, logits, SaturatingSum())
    torch.testing.assert_close(field.ray_values()[:, 0], field.occupancy())
    assert OccupancyField.from_logits(GRID, logits).ray_rule == Exponential()


def test_gaussians_of_a_contracted_grid_have_the_size_of_its_inner_voxels() -> None:
    """By hand: the box of 8 x 8 x 2 m takes two thirds of 4 x 3 x 5 voxels, 3 x 4 x 0.6 m each."""
    grid = ContractedGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), (4, 3, 5))
    field = DensityField(grid, torch.rand(1, 4, 3, 5), torch.rand(1, 2, 4, 3, 5))
    scene = field.to_gaussians((0.3, 0.25, 0.5))
    torch.testing.assert_close(scene.scales_m(), torch.tensor([[0.9, 1.0, 0.3]]))
