"""Weights along a ray."""

import math

import pytest
import torch

from gsocc.renderers.compositing import ray_weights, saturating_weights


@pytest.mark.parametrize("n_samples", [1, 7, 64])
def test_fog_dims_the_same_however_the_ray_is_cut(n_samples: int) -> None:
    """Beer-Lambert: an optical depth of ln 2 lets half of the light through."""
    alpha = -torch.expm1(torch.full((n_samples,), -math.log(2) / n_samples))
    weights, transmittance = ray_weights(alpha)
    torch.testing.assert_close(transmittance, torch.tensor(0.5))
    torch.testing.assert_close(weights.sum(), torch.tensor(0.5))


def test_weights_solved_by_hand() -> None:
    """0.5 of all, half of the rest, all of what is left."""
    weights, transmittance = ray_weights(torch.tensor([0.5, 0.5, 1.0, 0.7]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.25, 0.0]))
    assert transmittance == 0.0


def test_the_two_stops_differ_in_the_sample_that_crosses_the_limit() -> None:
    """After 0.99 and 0.995 the light is 1e-2 and 5e-5: rays still count the second sample, splats do not."""
    alpha = torch.tensor([0.99, 0.995, 0.5])
    inclusive, _ = ray_weights(alpha, t_min=1e-4)
    exclusive, _ = ray_weights(alpha, t_min=1e-4, stop_before=True)
    torch.testing.assert_close(inclusive, torch.tensor([0.99, 0.00995, 0.0]))
    torch.testing.assert_close(exclusive, torch.tensor([0.99, 0.0, 0.0]))


def test_a_ray_without_samples_lets_all_light_through() -> None:
    weights, transmittance = ray_weights(torch.zeros(4, 0))
    assert weights.shape == (4, 0)
    assert (transmittance == 1.0).all()


def test_gradient_is_that_of_the_formula() -> None:
    """Also with opaque samples, where a product over logarithms would be NaN."""
    alpha = torch.tensor([0.3, 1.0, 0.2, 0.6], dtype=torch.float64, requires_grad=True)
    value = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)

    def colour(a: torch.Tensor) -> torch.Tensor:
        return (ray_weights(a)[0] * value).sum()

    assert torch.autograd.gradcheck(colour, (alpha,))


def test_shares_add_up_to_a_full_ray_and_no_further() -> None:
    """0.5, then 0.3, then what is left of 0.7, then nothing."""
    weights = saturating_weights(torch.tensor([0.5, 0.3, 0.7, 0.4]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.3, 0.2, 0.0]))
    assert saturating_weights(torch.zeros(3, 0)).shape == (3, 0)


def test_a_sample_that_fills_the_ray_passes_its_gradient_to_those_before() -> None:
    """Weights are p0, p1, 1 - p0 - p1 and 0: the value of the third sample counts against the first two."""
    share = torch.tensor([0.5, 0.3, 0.7, 0.4], requires_grad=True)
    (saturating_weights(share) * torch.tensor([1.0, 5.0, 2.0, 9.0])).sum().backward()
    torch.testing.assert_close(share.grad, torch.tensor([-1.0, 3.0, 0.0, 0.0]))
