"""Occupancy of a voxel grid from triangles, and what rays see of it."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gsocc.kernels.arrays import F32, F64, I64
from gsocc.kernels.world_ground import Ground, ground_class, ground_margin


@njit(cache=True, nogil=True)
def add_triangle_area(area: F32, corners: F64, columns: I64, low: F64, voxel_m: float, spacing_m: float) -> None:
    """Spread the area of triangles over the voxels that they pass through.

    Every triangle is cut into n x n equal ones whose edges are at most `spacing_m`; each adds its area to the
    voxel of its centroid.

    Args:
        area: (X, Y, Z, K) float32, square metres of surface by column, added to.
        corners: (T, 3, 3) corners of the triangles in the frame of the grid.
        columns: (T,) column of each triangle's class.
        low: (3,) lower corner of the grid.
        voxel_m: Edge of a voxel.
        spacing_m: Longest edge of a piece.
    """
    nx, ny, nz, _ = area.shape
    for t in range(corners.shape[0]):
        ax, ay, az = corners[t, 0]
        ux, uy, uz = corners[t, 1] - corners[t, 0]
        vx, vy, vz = corners[t, 2] - corners[t, 0]
        cross = (uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2
        longest = max(ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz)
        longest = max(longest, (ux - vx) ** 2 + (uy - vy) ** 2 + (uz - vz) ** 2)
        n = max(math.ceil(math.sqrt(longest) / spacing_m), 1)
        piece = 0.5 * math.sqrt(cross) / (n * n)
        column = columns[t]
        # From here on in voxels.
        ax, ay, az = (ax - low[0]) / voxel_m, (ay - low[1]) / voxel_m, (az - low[2]) / voxel_m
        scale = 1.0 / (n * voxel_m)
        ux, uy, uz, vx, vy, vz = ux * scale, uy * scale, uz * scale, vx * scale, vy * scale, vz * scale
        for i in range(n):
            for j in range(2 * (n - i) - 1):
                # Even j is an upright piece, odd j the inverted one beside it.
                third = 1.0 / 3.0 if j % 2 == 0 else 2.0 / 3.0
                a, b = i + third, j // 2 + third
                x, y, z = ax + a * ux + b * vx, ay + a * uy + b * vy, az + a * uz + b * vz
                if 0.0 <= x < nx and 0.0 <= y < ny and 0.0 <= z < nz:
                    area[int(x), int(y), int(z), column] += piece


@njit(cache=True, nogil=True)
def add_ground_area(
    area: F32, ground: Ground, pose: F64, column_of: I64, low: F64, voxel_m: float, layer: int, pieces: int
) -> None:
    """Add the ground plane to layer `layer`, `pieces` x `pieces` samples where its class changes.

    `column_of` gives the column of `area` for a class.
    """
    piece = (voxel_m / pieces) ** 2
    for i in range(area.shape[0]):
        for j in range(area.shape[1]):
            ex, ey = low[0] + (i + 0.5) * voxel_m, low[1] + (j + 0.5) * voxel_m
            x, y = pose[0] + pose[2] * ex - pose[3] * ey, pose[1] + pose[3] * ex + pose[2] * ey
            if ground_margin(ground, x, y) > voxel_m:
                area[i, j, layer, column_of[ground_class(ground, x, y)]] += voxel_m * voxel_m
                continue
            for a in range(pieces):
                for b in range(pieces):
                    ex = low[0] + (i + (a + 0.5) / pieces) * voxel_m
                    ey = low[1] + (j + (b + 0.5) / pieces) * voxel_m
                    x, y = pose[0] + pose[2] * ex - pose[3] * ey, pose[1] + pose[3] * ex + pose[2] * ey
                    area[i, j, layer, column_of[ground_class(ground, x, y)]] += piece


@njit(cache=True, nogil=True)
def label_voxels(labels: NDArray[np.uint8], area: F32, class_of: I64, least_m2: float, free: int) -> None:
    """Give every voxel the class with the most surface, or `free` where it holds less than `least_m2`.

    `class_of` gives the class of a column of `area`.
    """
    nx, ny, nz, kinds = area.shape
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                total, best, most = 0.0, free, 0.0
                for c in range(kinds):
                    total += area[i, j, k, c]
                    if area[i, j, k, c] > most:
                        best, most = class_of[c], area[i, j, k, c]
                labels[i, j, k] = best if total >= least_m2 else free


@njit(cache=True, nogil=True)
def mark_seen(
    seen: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    origin: F64,
    directions: F64,
    low: F64,
    voxel_m: float,
    free: int,
) -> None:
    """Walk along rays and mark every voxel up to and including the first occupied one.

    The walk is exact: it visits each voxel that the ray passes through (Amanatides and Woo, 1987).

    Args:
        seen: (X, Y, Z) uint8, set to 1.
        labels: (X, Y, Z) classes.
        origin: (3,) start of all rays, in the frame of the grid.
        directions: (N, 3), of any length.
        low: (3,) lower corner of the grid.
        voxel_m: Edge of a voxel.
        free: Class of an empty voxel.
    """
    shape = labels.shape
    start = (origin - low) / voxel_m
    cell = np.empty(3, np.int64)
    step = np.empty(3, np.int64)
    crossing = np.empty(3)
    stride = np.empty(3)
    for r in range(directions.shape[0]):
        # Where the origin lies outside the grid, begin at the border.
        enter, leave = 0.0, np.inf
        for axis in range(3):
            d = directions[r, axis]
            if abs(d) < 1e-12:
                if not 0.0 <= start[axis] < shape[axis]:
                    leave = -1.0
                continue
            near, far = -start[axis] / d, (shape[axis] - start[axis]) / d
            enter, leave = max(enter, min(near, far)), min(leave, max(near, far))
        if leave <= enter:
            continue
        for axis in range(3):
            d = directions[r, axis]
            position = start[axis] + enter * d
            cell[axis] = min(max(math.floor(position), 0), shape[axis] - 1)
            step[axis] = 1 if d > 0 else -1
            stride[axis] = abs(1.0 / d) if abs(d) >= 1e-12 else np.inf
            edge = cell[axis] + (1 if d > 0 else 0)
            crossing[axis] = (edge - start[axis]) / d if abs(d) >= 1e-12 else np.inf
        while True:
            i, j, k = cell[0], cell[1], cell[2]
            seen[i, j, k] = 1
            if labels[i, j, k] != free:
                break
            axis = (
                0
                if crossing[0] <= crossing[1] and crossing[0] <= crossing[2]
                else (1 if crossing[1] <= crossing[2] else 2)
            )
            cell[axis] += step[axis]
            if cell[axis] < 0 or cell[axis] >= shape[axis]:
                break
            crossing[axis] += stride[axis]
