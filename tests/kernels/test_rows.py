"""Vector arithmetic on feature rows, against numpy."""

import re

import numpy as np
import pytest
from numba import njit

from gsocc.kernels.rows import add_row, dot_rows


@njit
def _add(out: np.ndarray, at: int, weight: np.float32, rows: np.ndarray, index: int) -> None:
    add_row(out, at, weight, rows, index)


@njit
def _dot(a: np.ndarray, i: int, b: np.ndarray, j: int) -> np.float32:
    return dot_rows(a, i, b, j)


@pytest.mark.parametrize("padded", [8, 24, 136])
def test_rows_are_added_and_multiplied_like_numpy_does(padded: int) -> None:
    """Neighbouring rows stay as they are; sums of 136 products differ by the order of adding."""
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 5, padded)).astype(np.float32)
    expected = a.copy()
    expected[3] += np.float32(0.7) * b[1]
    assert _dot(a, 2, b, 4) == pytest.approx(float(a[2].astype(np.float64) @ b[4]), rel=1e-5, abs=1e-5)
    _add(a, 3, np.float32(0.7), b, 1)
    np.testing.assert_allclose(a, expected, rtol=1e-6, atol=1e-6)


def test_a_row_may_be_added_to_its_own_array() -> None:
    """Rows of one array do not overlap: no copy is needed."""
    rows = np.arange(16, dtype=np.float32).reshape(2, 8)
    _add(rows, 0, np.float32(2.0), rows, 1)
    np.testing.assert_array_equal(rows[0], np.arange(8) + 2.0 * np.arange(8, 16))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_numbers_are_passed_on(value: float) -> None:
    rows = np.full((1, 8), value, np.float32)
    assert not np.isfinite(_dot(rows, 0, np.ones((1, 8), np.float32), 0))


def test_the_loops_are_vector_code() -> None:
    """What the intrinsics are for: no scalar multiplication is left (checked where the assembler is x86)."""
    _add(np.zeros((1, 8), np.float32), 0, np.float32(1.0), np.zeros((1, 8), np.float32), 0)
    assembly = "\n".join(_add.inspect_asm().values())
    if "%xmm" not in assembly:
        pytest.skip("not an x86 processor")
    assert re.search(r"\bv?(mul|fmadd\d*)ps\b", assembly)
    assert not re.search(r"\bv?(mul|fmadd\d*)ss\b", assembly)
