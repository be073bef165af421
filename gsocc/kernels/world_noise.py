"""Solid value noise and box-filtered patterns: the bricks of the synthetic world's textures.

Everything is a function of a point in an object's own frame, so that a surface looks the same from every
camera at every time. Patterns are averaged over the footprint of a pixel instead of being sampled in its
middle: what a pixel cannot resolve fades to its mean and never flickers.
"""

import math

import numpy as np
from numba import njit

_MASK = 0xFFFFFFFF
_WRAP = 1023
_SHUFFLED = np.random.default_rng(0).permutation(_WRAP + 1)
_VALUES = np.random.default_rng(1).permutation(_WRAP + 1) / (0.5 * _WRAP) - 1.0


@njit(cache=True, nogil=True, inline="always")
def hash_unit(ix: int, iy: int, iz: int, seed: int) -> float:
    """Return a number in [0, 1) that depends on the four integers and looks random."""
    h = (ix * 0x8DA6B343 + iy * 0xD8163841 + iz * 0xCB1AB31F + seed * 0x9E3779B1) & _MASK
    h ^= h >> 15
    h = (h * 0x2C1B3C6D) & _MASK
    h ^= h >> 12
    h = (h * 0x297A2D39) & _MASK
    h ^= h >> 15
    return h * (1.0 / 4294967296.0)


@njit(cache=True, nogil=True)
def value_noise(x: float, y: float, z: float, seed: int) -> float:
    """Return smooth noise in [-1, 1] with one random value per unit cell corner; it repeats after 1024 cells."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i0, j0, k0 = int(fx) + seed, int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    near, far = _SHUFFLED[i0 & _WRAP], _SHUFFLED[(i0 + 1) & _WRAP]
    a0, a1 = _SHUFFLED[(near + j0) & _WRAP] + k0, _SHUFFLED[(near + j0 + 1) & _WRAP] + k0
    b0, b1 = _SHUFFLED[(far + j0) & _WRAP] + k0, _SHUFFLED[(far + j0 + 1) & _WRAP] + k0
    a = _VALUES[a0 & _WRAP] * (1 - u) + _VALUES[b0 & _WRAP] * u
    b = _VALUES[a1 & _WRAP] * (1 - u) + _VALUES[b1 & _WRAP] * u
    c = _VALUES[(a0 + 1) & _WRAP] * (1 - u) + _VALUES[(b0 + 1) & _WRAP] * u
    d = _VALUES[(a1 + 1) & _WRAP] * (1 - u) + _VALUES[(b1 + 1) & _WRAP] * u
    return (a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w


@njit(cache=True, nogil=True)
def fractal_noise(
    x: float, y: float, z: float, wavelength_m: float, octaves: int, footprint_m: float, seed: int
) -> float:
    """Sum octaves of noise, each half as long as the one before; those below the footprint fade out.

    Returns:
        Noise of zero mean and a standard deviation of about 0.35 where all octaves are resolved.
    """
    total, power, amplitude, length = 0.0, 0.0, 1.0, wavelength_m
    for octave in range(octaves):
        power += amplitude * amplitude
        resolved = (length / footprint_m - 0.8) / 1.2
        if resolved > 0.0:  # the power counts every octave, so that distance fades contrast
            fade = amplitude * min(resolved, 1.0)
            total += fade * value_noise(x / length, y / length, z / length, seed + octave)
        amplitude *= 0.85
        length *= 0.5
    return total / math.sqrt(power)


@njit(cache=True, nogil=True, inline="always")
def clamp(value: float, low: float, high: float) -> float:
    """Return `value` moved into [low, high]."""
    return min(max(value, low), high)


@njit(cache=True, nogil=True)
def inside(x: float, low: float, high: float, footprint: float) -> float:
    """Return the share of [x - footprint/2, x + footprint/2] that lies in [low, high]."""
    half = 0.5 * footprint
    return (clamp(x + half, low, high) - clamp(x - half, low, high)) / footprint


@njit(cache=True, nogil=True)
def stripes(x: float, period: float, width: float, footprint: float) -> float:
    """Return the filtered value of bars of `width` centred on multiples of `period` (1 on a bar, 0 between)."""
    share = width / period
    if footprint >= period:
        return share
    offset = x - period * math.floor(x / period + 0.5)
    # The neighbouring bars matter once the footprint reaches over half a period.
    value = inside(offset, -0.5 * width, 0.5 * width, footprint)
    value += inside(offset - period, -0.5 * width, 0.5 * width, footprint)
    return value + inside(offset + period, -0.5 * width, 0.5 * width, footprint)
