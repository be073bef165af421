"""Rays in a voxel grid: where they enter, which voxels surround a position, and the walk from voxel to voxel.

Ray directions are not normalised: the ray parameter t is depth along the optical axis, in metres. Positions along a
ray are in voxels (voxel i spans [i, i + 1)); of a contracted grid they are in half extents of its box, with its middle
at 0, until `position` turns them into voxels.

What takes and returns numbers alone is left to LLVM to inline; what takes arrays is inlined by numba, because a call
would count references, and threads share the counters.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from gsocc.kernels.arrays import F32, F64, I32

FAST = {"contract", "reassoc"}
"""All of fastmath that kernels may use: NaN and infinity keep their meaning, so that broken input shows."""

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)


class Grid(NamedTuple):
    """Where voxels are and how values are read between them.

    Attributes:
        nx: Voxels along x.
        ny: Along y.
        nz: Along z.
        inner: Share of the axes that a contracted grid gives to its box; 0 of a regular grid.
        trilinear: Interpolate, or take the voxel that holds the position.
        border: Positions beyond the outermost centres see the outermost voxels, and rays end at the faces of the grid;
            otherwise they see zeros.
        ends: The contracted axes run between the centres of the outermost voxels, not their faces.
    """

    nx: int
    ny: int
    nz: int
    inner: float
    trilinear: bool
    border: bool
    ends: bool


class Ray(NamedTuple):
    """Origin and direction (per metre of depth) in units of position, and the direction in metres along the ray.

    Attributes:
        ox: Origin along x; oy and oz likewise.
        dx: Direction along x; dy and dz likewise.
        speed: Metres along the ray per metre of depth.
        ux: Unit direction in metres along x; uy and uz likewise.
    """

    ox: float
    oy: float
    oz: float
    dx: float
    dy: float
    dz: float
    speed: float
    ux: float
    uy: float
    uz: float


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def ray_of(cameras: F64, view: int, pixel: int, width: int) -> Ray:
    """Return the ray of a pixel.

    Args:
        cameras: (V, 3, 5): R K^-1 in the first three columns, then the origin, and the metres per unit of position.
        view: Of the cameras.
        pixel: row * width + column.
        width: Columns of the image.
    """
    row = pixel // width
    u, v = pixel - row * width + 0.5, row + 0.5
    x = cameras[view, 0, 0] * u + cameras[view, 0, 1] * v + cameras[view, 0, 2]
    y = cameras[view, 1, 0] * u + cameras[view, 1, 1] * v + cameras[view, 1, 2]
    z = cameras[view, 2, 0] * u + cameras[view, 2, 1] * v + cameras[view, 2, 2]
    speed = math.sqrt(x * x + y * y + z * z)
    return Ray(
        cameras[view, 0, 3], cameras[view, 1, 3], cameras[view, 2, 3],
        x / cameras[view, 0, 4], y / cameras[view, 1, 4], z / cameras[view, 2, 4],
        speed, x / speed, y / speed, z / speed,
    )  # fmt: skip


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _clip(origin: float, direction: float, low: float, high: float, t0: float, t1: float) -> tuple[float, float]:
    """Cut [t0, t1] to where origin + t direction lies in [low, high]; empty intervals come out with t1 < t0."""
    if direction == 0.0:
        if origin < low or origin > high:
            return t0, t0 - 1.0
        return t0, t1
    a, b = (low - origin) / direction, (high - origin) / direction
    return max(t0, min(a, b)), min(t1, max(a, b))


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def span(ray: Ray, grid: Grid, reach: float, near: float, far: float) -> tuple[float, float]:
    """Return the interval of t inside the grid widened by reach voxels; empty ones come out with the end first."""
    t0, t1 = _clip(ray.ox, ray.dx, -reach, grid.nx + reach, near, far)
    t0, t1 = _clip(ray.oy, ray.dy, -reach, grid.ny + reach, t0, t1)
    return _clip(ray.oz, ray.dz, -reach, grid.nz + reach, t0, t1)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _contracted(x: float, inner: float, count: int, ends: bool) -> float:
    """Return the voxel coordinate of x half extents, as `gsocc.structures.ContractedGrid.to_index`."""
    size = abs(x)
    if size <= 1.0:
        x *= inner
    else:
        x = math.copysign(1.0 - (1.0 - inner) ** 2 / (inner * size + 1.0 - 2.0 * inner), x)
    if ends:
        return 0.5 * (x + 1.0) * (count - 1) + 0.5
    return 0.5 * (x + 1.0) * count


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def position(ray: Ray, t: float, grid: Grid) -> tuple[float, float, float]:
    """Return the position at t in voxels."""
    x, y, z = ray.ox + t * ray.dx, ray.oy + t * ray.dy, ray.oz + t * ray.dz
    if grid.inner > 0.0:
        x = _contracted(x, grid.inner, grid.nx, grid.ends)
        y = _contracted(y, grid.inner, grid.ny, grid.ends)
        z = _contracted(z, grid.inner, grid.nz, grid.ends)
    return x, y, z


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def nearest(x: float, y: float, z: float, grid: Grid) -> int:
    """Return the voxel at a position that rounding may have put just outside of the grid."""
    i = min(max(int(x), 0), grid.nx - 1)
    j = min(max(int(y), 0), grid.ny - 1)
    k = min(max(int(z), 0), grid.nz - 1)
    return (i * grid.ny + j) * grid.nz + k


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _edge(
    index: int, count: int, stride: int, border: bool, low: np.float32, high: np.float32
) -> tuple[int, int, np.float32, np.float32]:
    """Return index, stride and shares of the two voxels along an axis, kept within the grid."""
    if index < 0:
        if index < -1:
            return 0, 0, _ONE if border else _ZERO, _ZERO
        return 0, 0, low if border else _ZERO, high
    if index >= count - 1:
        if border:
            return count - 1, 0, low, high
        return count - 1, 0, low if index < count else _ZERO, _ZERO
    return index, stride, low, high


@njit(inline="always", nogil=True, fastmath=FAST, error_model="numpy")
def surround(x: float, y: float, z: float, grid: Grid, values: F32, voxels: I32, shares: F32, at: int) -> np.float32:
    """Write the eight voxels around a position and their shares, z fastest, from element `at` of the lists on.

    A voxel that would lie outside of the grid is replaced by the one at the border, with its share, or with none.

    Args:
        x: In voxels; as are y and z.
        y: See there.
        z: See there.
        grid: Where the voxels are.
        values: (L, N).
        voxels: Written.
        shares: Written.
        at: First element of the lists.

    Returns:
        The first channel of the values, interpolated.
    """
    # Conversion to int rounds towards zero: add what makes the number positive within half a voxel of the grid.
    i, j, k = int(x + 0.5) - 1, int(y + 0.5) - 1, int(z + 0.5) - 1
    x1, y1, z1 = np.float32(x - 0.5 - i), np.float32(y - 0.5 - j), np.float32(z - 0.5 - k)
    x0, y0, z0 = _ONE - x1, _ONE - y1, _ONE - z1
    stride_x, stride_y, stride_z = grid.ny * grid.nz, grid.nz, 1
    if i < 0 or j < 0 or k < 0 or i >= grid.nx - 1 or j >= grid.ny - 1 or k >= grid.nz - 1:
        i, stride_x, x0, x1 = _edge(i, grid.nx, stride_x, grid.border, x0, x1)
        j, stride_y, y0, y1 = _edge(j, grid.ny, stride_y, grid.border, y0, y1)
        k, stride_z, z0, z1 = _edge(k, grid.nz, stride_z, grid.border, z0, z1)
    # As unsigned, because numba would check every signed index for being negative.
    v000 = np.uint32((i * grid.ny + j) * grid.nz + k)
    v001, v010 = np.uint32(v000 + stride_z), np.uint32(v000 + stride_y)
    v011, v100 = np.uint32(v010 + stride_z), np.uint32(v000 + stride_x)
    v101, v110 = np.uint32(v100 + stride_z), np.uint32(v100 + stride_y)
    v111 = np.uint32(v110 + stride_z)
    s00, s01, s10, s11 = x0 * y0, x0 * y1, x1 * y0, x1 * y1
    a0, a1, a2, a3 = np.uint32(at), np.uint32(at + 1), np.uint32(at + 2), np.uint32(at + 3)
    a4, a5, a6, a7 = np.uint32(at + 4), np.uint32(at + 5), np.uint32(at + 6), np.uint32(at + 7)
    voxels[a0], voxels[a1], voxels[a2], voxels[a3] = v000, v001, v010, v011
    voxels[a4], voxels[a5], voxels[a6], voxels[a7] = v100, v101, v110, v111
    shares[a0], shares[a1], shares[a2], shares[a3] = s00 * z0, s00 * z1, s01 * z0, s01 * z1
    shares[a4], shares[a5], shares[a6], shares[a7] = s10 * z0, s10 * z1, s11 * z0, s11 * z1
    low = s00 * values[0, v000] + s01 * values[0, v010] + (s10 * values[0, v100] + s11 * values[0, v110])
    high = s00 * values[0, v001] + s01 * values[0, v011] + (s10 * values[0, v101] + s11 * values[0, v111])
    return z0 * low + z1 * high


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def face(origin: float, direction: float, t: float, count: int) -> tuple[int, int, float, float]:
    """Return of one axis, at t: the cell, the step to the next, the t of its far face, and the t between faces.

    For the walk of Amanatides and Woo, "A fast voxel traversal algorithm" (1987).
    """
    index = min(max(int(origin + t * direction), 0), count - 1)
    if direction > 0.0:
        return index, 1, (index + 1.0 - origin) / direction, 1.0 / direction
    if direction < 0.0:
        return index, -1, (index - origin) / direction, -1.0 / direction
    return index, 0, np.inf, np.inf
