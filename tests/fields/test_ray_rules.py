"""The weight rules against the published figures and against finite differences."""

import math

import pytest
import torch
from torch import Tensor

from gsocc.fields.ray_rules import Exponential, NeusLogistic, RayRule, SaturatingLogits, SaturatingSum, ShiftedSoftplus

AHEAD = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)

RULES: list[RayRule] = [
    Exponential(),
    SaturatingSum(),
    SaturatingLogits(),
    ShiftedSoftplus(),
    ShiftedSoftplus(interval=None),
    NeusLogistic(3.0),
    NeusLogistic(3.0, anneal=0.4),
]
every = pytest.mark.parametrize("rule", RULES, ids=repr)


def alpha(rule: RayRule, values: list[float], delta_m: float) -> float:
    """Return the alpha of one sample on a ray along x."""
    columns = torch.tensor(values, dtype=torch.float64)[:, None]
    return rule.alpha(columns, torch.tensor([delta_m], dtype=torch.float64), AHEAD).item()


@every
def test_rules_honour_the_protocol(rule: RayRule) -> None:
    assert isinstance(rule, RayRule)


@pytest.mark.parametrize(
    ("sdf", "cos", "inv_s", "anneal", "expected"),
    [
        (0.5, -1.0, math.e, 1.0, 0.155352),
        (0.0, -1.0, math.e, 1.0, 0.334861),
        (-0.5, -1.0, math.e, 1.0, 0.476227),
        (0.5, 0.5, math.e, 1.0, 1.3e-5),
        (0.5, 0.5, math.e, 0.0, 0.040855),
        (0.0, -1.0, 50.0, 1.0, 0.999447),
    ],
)
def test_neus_gives_the_alphas_of_selfocc(sdf: float, cos: float, inv_s: float, anneal: float, expected: float) -> None:
    """SelfOcc's formula worked out in plain Python over 0.3 m, with its eps of 1e-5."""
    # A gradient of length |cos| along the ray: SelfOcc does not normalise it.
    assert alpha(NeusLogistic(inv_s, anneal), [sdf, cos, 0.0, 0.0], 0.3) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("density", "expected"),
    [(0.0, 5.000001e-7), (5.0, 7.4198e-5), (8.5, 2.4484e-3), (10.0, 1.0835e-2), (15.0, 0.516011)],
)
def test_shifted_softplus_gives_the_alphas_of_renderocc(density: float, expected: float) -> None:
    """RenderOcc: alpha_init 1e-6, interval 0.5, whatever the spacing."""
    for delta_m in (0.1, 7.0):
        assert alpha(ShiftedSoftplus(), [density], delta_m) == pytest.approx(expected, rel=1e-4)


def test_shifted_softplus_by_the_metre_is_a_medium() -> None:
    """Two samples of half the length stop what one stops."""
    rule = ShiftedSoftplus(interval=None)
    half, whole = alpha(rule, [13.0], 0.5), alpha(rule, [13.0], 1.0)
    assert 1.0 - (1.0 - half) ** 2 == pytest.approx(whole)
    assert whole == pytest.approx(-math.expm1(-math.log1p(math.exp(13.0 + rule.shift))))


def test_thin_fog_does_not_cancel() -> None:
    """1 - exp(-x) in float32 is off by a fifth at x = 1e-7."""
    thin = Exponential().alpha(torch.full((1, 1), 1e-7), torch.ones(1), torch.tensor([1.0, 0.0, 0.0]))
    assert thin.item() == pytest.approx(1e-7, rel=1e-5)


@every
def test_alpha_lies_in_zero_one(rule: RayRule) -> None:
    """Also for values far beyond what a network gives."""
    low, high = (max(-1e3, rule.bounds[0]), min(1e3, rule.bounds[1]))
    values = torch.linspace(low, high, 101, dtype=torch.float64).repeat(rule.channels, 1)
    out = rule.alpha(values, torch.full((101,), 0.7, dtype=torch.float64), AHEAD)
    assert out.min() >= 0.0
    assert out.max() <= 1.0


@every
def test_gradient_is_that_of_the_formula(rule: RayRule) -> None:
    """Central differences in float64, values of the rule's own range."""
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(rule.channels, 2, 5, generator=generator, dtype=torch.float64)
    if isinstance(rule, ShiftedSoftplus):
        values = 10.0 + 6.0 * values
    elif isinstance(rule, NeusLogistic):
        values = values - 0.8
    delta_m = 0.2 + torch.rand(2, 5, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.rand(2, 3, generator=generator, dtype=torch.float64), dim=-1)

    def function(sampled: Tensor) -> Tensor:
        return rule.alpha(sampled, delta_m, directions)

    assert torch.autograd.gradcheck(function, (values.requires_grad_(),))


def test_the_slope_of_neus_can_be_learned() -> None:
    values = torch.tensor([[0.3, -0.1], [-0.9, -1.0], [0.1, 0.0], [0.0, 0.2]], dtype=torch.float64)

    def function(inv_s: Tensor) -> Tensor:
        return NeusLogistic(inv_s).alpha(values, torch.full((2,), 0.3, dtype=torch.float64), AHEAD)

    assert torch.autograd.gradcheck(function, (torch.tensor(3.0, dtype=torch.float64, requires_grad=True),))
