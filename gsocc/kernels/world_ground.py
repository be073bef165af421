"""The ground plane of the synthetic world: which class lies where, and its colour.

The ground is the plane z = 0. Roads are polylines with a half width; everything follows from the signed lateral
offset to the nearest one, found through a coarse raster of nearest polyline points.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gsocc.kernels.arrays import F32, F64, I32
from gsocc.kernels.world_noise import clamp, fractal_noise, hash_unit, inside, stripes
from gsocc.kernels.world_texture import Rgb, mix

CLASS_ROAD, CLASS_SIDEWALK, CLASS_TERRAIN = 11, 13, 14
NO_ROAD = 1.0e9
KERB_M = 0.15
POINT_SPACING_M = 0.5
# Columns of Ground.points.
X, Y, TANGENT_X, TANGENT_Y, ARC, HALF_WIDTH = range(6)


class Ground(NamedTuple):
    """Everything that the ground's class and colour depend on; positions in the scene's local frame, in metres.

    Attributes:
        origin: (2,) corner of the rasters.
        cell_m: Edge of a cell of `nearest_main` and `nearest_side`.
        nearest_main: (X, Y) index into `points` of the nearest point of the main road.
        nearest_side: (X, Y) same for the side streets; -1 without any.
        points: (P, 6) polyline points: x, y, unit tangent, arc length, half width of the road.
        crossings: (K,) arc lengths of pedestrian crossings on the main road.
        walk_m: Width of the sidewalks.
        parking_m: Width of the parking lanes.
        slot_m: Length of a parking slot.
        lit_cell_m: Edge of a cell of `lit`.
        lit: (X', Y') share of sunlight that arrives, 1 in the open, baked from the static objects.
        seed: Seed of the textures.
    """

    origin: F64
    cell_m: float
    nearest_main: I32
    nearest_side: I32
    points: F64
    crossings: F64
    walk_m: float
    parking_m: float
    slot_m: float
    lit_cell_m: float
    lit: F32
    seed: int


@njit(cache=True, nogil=True, inline="always")
def _offset(points: F64, index: int, x: float, y: float) -> tuple[float, float, float]:
    """Return (signed offset, arc length, half width) with respect to a road, starting from a near point.

    The offset is lateral, positive to the left; beyond an end of the road it is the distance to that end.
    """
    for _ in range(3):
        along = (x - points[index, X]) * points[index, TANGENT_X] + (y - points[index, Y]) * points[index, TANGENT_Y]
        step = 0 if abs(along) <= 0.5 * POINT_SPACING_M else (1 if along > 0.0 else -1)
        there = index + step
        if step == 0 or there < 0 or there >= points.shape[0]:
            break
        # Roads follow each other in the table; their arc lengths do not.
        if abs(points[there, ARC] - points[index, ARC] - step * POINT_SPACING_M) > 1e-6:
            break
        index = there
    dx, dy = x - points[index, X], y - points[index, Y]
    along = dx * points[index, TANGENT_X] + dy * points[index, TANGENT_Y]
    lateral = dy * points[index, TANGENT_X] - dx * points[index, TANGENT_Y]
    if abs(along) > POINT_SPACING_M:
        lateral = math.copysign(math.sqrt(dx * dx + dy * dy), lateral)
    return lateral, points[index, ARC] + along, points[index, HALF_WIDTH]


@njit(cache=True, nogil=True, inline="always")
def road_coordinates(ground: Ground, x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """Return (offset, arc length, half width) of the main road, then of the nearest side street.

    Where there is no side street, its offset is `NO_ROAD`. Points outside the raster use its border.
    """
    i = min(max(int((x - ground.origin[0]) / ground.cell_m), 0), ground.nearest_main.shape[0] - 1)
    j = min(max(int((y - ground.origin[1]) / ground.cell_m), 0), ground.nearest_main.shape[1] - 1)
    d, s, half = _offset(ground.points, ground.nearest_main[i, j], x, y)
    if ground.nearest_side[i, j] < 0:
        return d, s, half, NO_ROAD, 0.0, 0.0
    d_side, s_side, half_side = _offset(ground.points, ground.nearest_side[i, j], x, y)
    return d, s, half, d_side, s_side, half_side


@njit(cache=True, nogil=True)
def ground_class(ground: Ground, x: float, y: float) -> int:
    """Return the Occ3D class of the ground at a point."""
    d, _, half, d_side, _, half_side = road_coordinates(ground, x, y)
    edge = min(abs(d) - half, abs(d_side) - half_side)
    if edge <= 0.0:
        return CLASS_ROAD
    return CLASS_SIDEWALK if edge <= ground.walk_m else CLASS_TERRAIN


@njit(cache=True, nogil=True)
def ground_margin(ground: Ground, x: float, y: float) -> float:
    """Return how far a point is at least from where the class of the ground changes, in metres."""
    d, _, half, d_side, _, half_side = road_coordinates(ground, x, y)
    edge = min(abs(d) - half, abs(d_side) - half_side)
    return min(abs(edge), abs(edge - ground.walk_m))


@njit(cache=True, nogil=True, inline="always")
def sunlight(ground: Ground, x: float, y: float) -> float:
    """Return the baked share of sunlight at a point of the ground, interpolated."""
    u = (x - ground.origin[0]) / ground.lit_cell_m - 0.5
    v = (y - ground.origin[1]) / ground.lit_cell_m - 0.5
    i, j = math.floor(u), math.floor(v)
    if i < 0 or j < 0 or i + 1 >= ground.lit.shape[0] or j + 1 >= ground.lit.shape[1]:
        return 1.0
    u, v = u - i, v - j
    low = ground.lit[i, j] * (1 - u) + ground.lit[i + 1, j] * u
    high = ground.lit[i, j + 1] * (1 - u) + ground.lit[i + 1, j + 1] * u
    return low * (1 - v) + high * v


@njit(cache=True, nogil=True, inline="always")
def ground_colour(ground: Ground, x: float, y: float, footprint_m: float) -> Rgb:
    """Return the unlit colour of the ground at a point of the scene's local frame."""
    d, s, half, d_side, s_side, half_side = road_coordinates(ground, x, y)
    edge_main, edge_side = abs(d) - half, abs(d_side) - half_side
    edge = min(edge_main, edge_side)
    colour = (0.0, 0.0, 0.0)
    road = inside(edge, -1.0e3, 0.0, footprint_m)
    kerb = inside(edge, 0.0, KERB_M, footprint_m)
    walk = inside(edge, KERB_M, ground.walk_m, footprint_m)
    rest = max(1.0 - road - kerb - walk, 0.0)
    if road > 0.0:
        asphalt = _asphalt(x, y, d, half - ground.parking_m, half, footprint_m, ground.seed)
        paint = _paint(ground.crossings, ground.parking_m, ground.slot_m, d, s, half, edge_main, edge_side, footprint_m)
        if edge_side < edge_main and edge_main > 1.0:
            paint = stripes(s_side, 6.0, 2.5, footprint_m) * inside(d_side, -0.07, 0.07, footprint_m)
        if paint > 0.0:
            worn = clamp(0.85 + 0.4 * fractal_noise(x, y, 3.0, 0.6, 4, footprint_m, ground.seed + 40), 0.3, 1.0)
            asphalt = mix(asphalt, (0.88, 0.87, 0.82), paint * worn)
        colour = (asphalt[0] * road, asphalt[1] * road, asphalt[2] * road)
    if kerb + walk > 0.0:
        slab = _slabs(x, y, s, d, footprint_m, ground.seed)
        joint = 1.0 - 0.35 * stripes(s, 1.0, 0.03, footprint_m)
        colour = (
            colour[0] + slab[0] * walk + 0.72 * joint * kerb,
            colour[1] + slab[1] * walk + 0.71 * joint * kerb,
            colour[2] + slab[2] * walk + 0.68 * joint * kerb,
        )
    if rest > 0.0:
        grass = _grass(x, y, footprint_m, ground.seed)
        colour = (colour[0] + grass[0] * rest, colour[1] + grass[1] * rest, colour[2] + grass[2] * rest)
    return colour


@njit(cache=True, nogil=True)
def _asphalt(x: float, y: float, d: float, lane: float, half: float, footprint_m: float, seed: int) -> Rgb:
    """Grey with aggregate grain, patches, and darker wheel tracks."""
    grain = fractal_noise(x, y, 0.5, 1.1, 5, footprint_m, seed)
    patch = fractal_noise(x, y, 9.5, 9.0, 2, footprint_m, seed + 10)
    track = 1.0 - 0.07 * (math.cos(2 * math.pi * (abs(d) - 0.95) / 1.6) if abs(d) < 3.5 else 0.0)
    tone = clamp((0.42 + 0.18 * grain + 0.05 * patch) * track, 0.12, 0.8)
    oil = 0.06 * inside(abs(d), lane, half, footprint_m)
    return (tone - oil, tone - oil, tone * 1.04 - oil)


@njit(cache=True, nogil=True)
def _paint(
    crossings: F64,
    parking_m: float,
    slot_m: float,
    d: float,
    s: float,
    half: float,
    edge_main: float,
    edge_side: float,
    footprint_m: float,
) -> float:
    """Return the share of white paint on the main road: centre line, parking bays, crossings with stop lines."""
    if edge_main > 0.0 or edge_side < 1.5:
        return 0.0
    nearest = 1.0e9
    for k in range(crossings.shape[0]):
        if abs(s - crossings[k]) < abs(nearest):
            nearest = s - crossings[k]
    zebra = inside(nearest, -1.6, 1.6, footprint_m) * stripes(d, 1.1, 0.55, footprint_m)
    stop = inside(nearest, -3.6, -3.2, footprint_m) * inside(d, -half + parking_m, -0.2, footprint_m)
    stop += inside(nearest, 3.2, 3.6, footprint_m) * inside(d, 0.2, half - parking_m, footprint_m)
    if abs(nearest) < 3.2:
        return min(zebra + stop, 1.0)
    centre = stripes(s, 5.0, 2.6, footprint_m) * inside(d, -0.08, 0.08, footprint_m)
    lane = half - parking_m
    bay = inside(abs(d), lane - 0.06, lane + 0.06, footprint_m)
    tick = stripes(s, slot_m, 0.12, footprint_m) * inside(abs(d), lane, half, footprint_m)
    return min(zebra + stop + centre + 0.9 * bay + 0.9 * tick, 1.0)


@njit(cache=True, nogil=True)
def _slabs(x: float, y: float, s: float, d: float, footprint_m: float, seed: int) -> Rgb:
    """Paving slabs of 0.75 m with joints; each slab has a tone of its own."""
    size = 0.75
    tone = hash_unit(math.floor(s / size), math.floor(d / size), 5, seed) - 0.5
    fade = clamp(1.5 * size / footprint_m - 1.0, 0.0, 1.0)
    grain = fractal_noise(x, y, 1.5, 1.5, 5, footprint_m, seed + 20)
    joint = max(stripes(s, size, 0.04, footprint_m), stripes(d, size, 0.04, footprint_m))
    value = clamp(0.66 + 0.20 * fade * tone + 0.22 * grain, 0.2, 0.95) * (1.0 - 0.4 * joint)
    return (value, value * 0.95, value * 0.87)


@njit(cache=True, nogil=True)
def _grass(x: float, y: float, footprint_m: float, seed: int) -> Rgb:
    """Grass with paler and bare spots."""
    blades = fractal_noise(x, y, 2.5, 1.6, 6, footprint_m, seed + 30)
    spots = fractal_noise(x, y, 4.5, 7.0, 3, footprint_m, seed + 50)
    green = mix((0.16, 0.26, 0.08), (0.52, 0.60, 0.26), clamp(0.5 + 0.75 * blades, 0.0, 1.0))
    return mix(green, (0.50, 0.42, 0.28), clamp(1.6 * spots - 0.15, 0.0, 0.8))


@njit(cache=True, nogil=True)
def map_mask(ground: Ground, cell_m: float) -> NDArray[np.uint8]:
    """Return an (X, Y) uint8 mask of road and sidewalk over the extent of the rasters: 255 there, 0 elsewhere."""
    scale = ground.cell_m / cell_m
    mask = np.zeros((int(ground.nearest_main.shape[0] * scale), int(ground.nearest_main.shape[1] * scale)), np.uint8)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            x, y = ground.origin[0] + (i + 0.5) * cell_m, ground.origin[1] + (j + 0.5) * cell_m
            if ground_class(ground, x, y) != CLASS_TERRAIN:
                mask[i, j] = 255
    return mask


@njit(cache=True, nogil=True)
def nearest_points(index: I32, points: F64, first: int, last: int, low: F64, cell_m: float) -> None:
    """Write for every cell of a raster which of the points `first` to `last` is nearest to its middle.

    Only every eighth point is tried, then its neighbours: the points follow each other along a road.
    """
    for i in range(index.shape[0]):
        for j in range(index.shape[1]):
            x, y = low[0] + (i + 0.5) * cell_m, low[1] + (j + 0.5) * cell_m
            best, least = first, 1e18
            for k in range(first, last, 8):
                square = (points[k, 0] - x) ** 2 + (points[k, 1] - y) ** 2
                if square < least:
                    best, least = k, square
            for k in range(max(best - 8, first), min(best + 9, last)):
                square = (points[k, 0] - x) ** 2 + (points[k, 1] - y) ** 2
                if square < least:
                    best, least = k, square
            index[i, j] = best
