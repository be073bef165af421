"""The weight rules of `gsocc.fields.ray_rules`, one sample at a time, with their derivatives."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from gsocc.kernels.ray_geometry import FAST

EXPONENTIAL, SATURATING_SUM, SHIFTED_SOFTPLUS, NEUS = range(4)


class Rule(NamedTuple):
    """A weight rule, and when to skip and stop.

    Attributes:
        code: Which.
        first: SATURATING_SUM: whether the last sample gets the rest (0 or 1). SHIFTED_SOFTPLUS: shift. NEUS: inv_s.
        second: SATURATING_SUM: whether values are logits (0 or 1). SHIFTED_SOFTPLUS: interval, negative for the spacing
            in metres. NEUS: anneal.
        alpha_min: Samples of smaller alpha are skipped.
        t_min: The march ends after the sample that leaves this much light or less.
    """

    code: int
    first: np.float32
    second: np.float32
    alpha_min: np.float32
    t_min: np.float32


_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_NEUS_EPS = np.float32(1e-5)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def opaque_part(optical_depth: np.float32) -> np.float32:
    """Return 1 - exp(-x) to float32 accuracy: for small x by its series, where the difference would cancel."""
    x = optical_depth
    if x < np.float32(0.05):
        return x * (_ONE - x * (np.float32(0.5) - x * (np.float32(1 / 6) - x * np.float32(1 / 24))))
    return _ONE - math.exp(-x)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _logistic(x: np.float32) -> np.float32:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = math.exp(-abs(x))
    return (_ONE if x >= _ZERO else small) / (_ONE + small)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _half_step(anneal: np.float32, cos: np.float32, delta: np.float32) -> np.float32:
    """Return half of the change of distance over the sample, never positive."""
    half = np.float32(0.5)
    slope = max(half - half * cos, _ZERO) * (_ONE - anneal) + max(-cos, _ZERO) * anneal
    return -half * slope * delta


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def alpha_of(rule: Rule, value: np.float32, cos: np.float32, delta: np.float32) -> np.float32:
    """Return the alpha of a sample.

    Args:
        rule: What makes it.
        value: First channel of the field's ray values there.
        cos: NEUS: scalar product of the ray's unit direction and the gradient of the distance.
        delta: Length of the sample along the ray, in metres.
    """
    if rule.code == EXPONENTIAL:
        return opaque_part(value * delta)
    if rule.code == SATURATING_SUM:
        return _logistic(value) if rule.second > _ZERO else value
    if rule.code == SHIFTED_SOFTPLUS:
        x = value + rule.first
        density = max(x, _ZERO) + math.log1p(math.exp(-abs(x)))
        return opaque_part(density * (rule.second if rule.second >= _ZERO else delta))
    half = _half_step(rule.second, cos, delta)
    before, after = _logistic((value - half) * rule.first), _logistic((value + half) * rule.first)
    return min(max((before - after + _NEUS_EPS) / (before + _NEUS_EPS), _ZERO), _ONE)


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def pull_back(
    rule: Rule, value: np.float32, cos: np.float32, delta: np.float32, slope: np.float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Return the gradients to value, cos and inv_s of `alpha_of`.

    Args:
        rule: As there, as are the following.
        value: See there.
        cos: See there.
        delta: See there.
        slope: (1 - alpha) times the gradient to alpha; the gradient to alpha where alphas add up. The factor cancels
            what would be a division by zero in an opaque sample.
    """
    if rule.code == EXPONENTIAL:
        return slope * delta, _ZERO, _ZERO
    if rule.code == SATURATING_SUM:
        if rule.second > _ZERO:
            share = _logistic(value)
            slope *= share * (_ONE - share)
        return slope, _ZERO, _ZERO
    if rule.code == SHIFTED_SOFTPLUS:
        return slope * (rule.second if rule.second >= _ZERO else delta) * _logistic(value + rule.first), _ZERO, _ZERO
    inv_s, anneal = rule.first, rule.second
    half = _half_step(anneal, cos, delta)
    first, second = value - half, value + half
    before, after = _logistic(first * inv_s), _logistic(second * inv_s)
    # d alpha / (1 - alpha) = -dN / N + dP / (P + eps), with P = before, N = after.
    by_first = slope * before * (_ONE - before) / (before + _NEUS_EPS)
    by_second = -slope * (_ONE - after)
    by_cos = _ZERO
    if cos < _ONE:
        by_cos += np.float32(0.5) * (_ONE - anneal)
    if cos < _ZERO:
        by_cos += anneal
    by_cos *= (by_second - by_first) * inv_s * np.float32(0.5) * delta
    return (by_first + by_second) * inv_s, by_cos, by_first * first + by_second * second
