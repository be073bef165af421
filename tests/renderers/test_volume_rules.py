"""Every weight rule with every sampler: the kernels against plain torch in double precision, in value and gradient."""

from collections.abc import Callable

import pytest
import torch
from render_helpers import SMALL_GRID, surround_rig, weighted_sum
from torch import Tensor

from gsocc.fields.density import DensityField
from gsocc.fields.ray_rules import Exponential, NeusLogistic, RayRule, SaturatingLogits, SaturatingSum, ShiftedSoftplus
from gsocc.fields.sdf import SdfField
from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, ContractedGrid, RenderOutput, VoxelGrid

CONTRACTED = ContractedGrid((-3.0, -3.0, -1.2), (3.0, 3.0, 1.2), (12, 12, 9))
PUBLISHED = ContractedGrid((-3.0, -3.1, -1.2), (3.0, 3.0, 1.2), (12, 11, 9), 0.66667, "ends")

SAMPLERS: dict[str, dict[str, object]] = {
    "uniform": {"step_m": 0.3, "far_m": 9.0},
    "uniform-nearest": {"step_m": 0.3, "far_m": 9.0, "interpolation": "nearest"},
    "cells": {"sampling": "cells", "interpolation": "nearest"},
    "contracted": {"sampling": "contracted", "step_m": 0.35},
    "contracted-effective": {"sampling": "contracted", "step_m": 0.2, "min_move_voxels": 0.2},
    "alpha_min": {"step_m": 0.3, "alpha_min": 1 / 255},
}

RULES: dict[str, Callable[[], RayRule]] = {
    "exponential": Exponential,
    "saturating_sum": SaturatingSum,
    "saturating_sum-rest": lambda: SaturatingSum(rest_at_last=True),
    "saturating_logits": SaturatingLogits,
    "saturating_logits-rest": lambda: SaturatingLogits(rest_at_last=True),
    "shifted_softplus": ShiftedSoftplus,
    "shifted_softplus-metric": lambda: ShiftedSoftplus(interval=None),
    "neus": lambda: NeusLogistic(torch.tensor(4.0, requires_grad=True)),
    "neus-early": lambda: NeusLogistic(torch.tensor(2.0, requires_grad=True), anneal=0.3),
}


def volume_for(rule: RayRule, grid: VoxelGrid | ContractedGrid) -> tuple[Tensor, Tensor]:
    """Return random values of the rule's kind, so that rays meet thin and opaque voxels, and three features."""
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(1, *grid.shape, generator=generator)
    features = torch.randn(1, 3, *grid.shape, generator=generator)
    if isinstance(rule, Exponential):
        values = 3.0 * values.pow(3)
    elif isinstance(rule, SaturatingSum):
        values = 0.6 * values.pow(4)
    elif isinstance(rule, SaturatingLogits):
        values = 8.0 * values - 7.0
    elif isinstance(rule, ShiftedSoftplus):
        values = 4.0 + 12.0 * values
    else:
        values = 1.5 * values - 0.4
    return values, features


def draw(
    name: str, options: dict[str, object], rule: RayRule, grid: VoxelGrid | ContractedGrid, rig: CameraRig
) -> tuple[RenderOutput, list[Tensor]]:
    """Return the picture, and the gradients to values, features and, of NeuS, inv_s."""
    dtype = torch.float64 if name == "volume" else torch.float32
    leaves = [leaf.to(dtype).requires_grad_() for leaf in volume_for(rule, grid)]
    if isinstance(rule, NeusLogistic):
        assert isinstance(rule.inv_s, Tensor)
        leaves.append(rule.inv_s.detach().clone().requires_grad_())
        field = SdfField(grid, leaves[0], leaves[1], NeusLogistic(leaves[2], rule.anneal))
    else:
        field = DensityField(grid, leaves[0], leaves[1], rule)
    out = build_renderer(name, **options).render(field, rig)
    weighted_sum(out).backward()
    return out, [leaf.grad for leaf in leaves if leaf.grad is not None]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_kernels_agree_with_torch_for_every_rule_and_sampler(rule: str, sampler: str) -> None:
    """Kernels hold positions in double and weights in single precision: sums of a hundred terms, 2e-5."""
    rig = surround_rig()
    options = SAMPLERS[sampler]
    grids: list[VoxelGrid | ContractedGrid] = [SMALL_GRID]
    if sampler.startswith("contracted") and not rule.startswith("neus"):
        grids += [CONTRACTED, PUBLISHED]
    for grid in grids:
        one, mine = draw("volume_cpu", options, RULES[rule](), grid, rig)
        two, theirs = draw("volume", options, RULES[rule](), grid, rig)
        assert two.opacity.max() > 0.5
        for part in ("depth_sum_m", "opacity", "features"):
            expected = getattr(two, part)
            scale = max(1.0, expected.abs().max().item())
            torch.testing.assert_close(getattr(one, part).double(), expected, atol=2e-5 * scale, rtol=2e-5)
        assert len(mine) == len(theirs) == (3 if rule.startswith("neus") else 2)
        for ours, other in zip(mine, theirs, strict=True):
            scale = max(1.0, other.abs().max().item())
            assert other.abs().max() > 0.0
            torch.testing.assert_close(ours.double(), other.double(), atol=5e-5 * scale, rtol=1e-3)
