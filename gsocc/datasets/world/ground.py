"""Making the ground of a scene: rasters of the nearest road, and the shadows of static objects."""

import numpy as np

from gsocc.datasets.world.raycast import RayCaster
from gsocc.datasets.world.roads import Course
from gsocc.kernels.world_ground import Ground, nearest_points

CELL_M = 1.0
LIT_CELL_M = 0.25
MARGIN_M = 120.0
SHADOW_REACH_M = 30.0  # ground farther from the main road than this is not shadowed
SUN_SPREAD = 0.03  # radius of the sun's disc for soft shadows, larger than the real one


def make_ground(
    main: Course, half_width_m: float, sides: list[tuple[Course, float]], crossings: np.ndarray, *,
    walk_m: float, parking_m: float, slot_m: float, seed: int,
) -> Ground:  # fmt: skip
    """Return a ground without shadows for a main road and its side streets (course and half width each)."""
    low = main.xy.min(0) - MARGIN_M
    cells = np.ceil((main.xy.max(0) + MARGIN_M - low) / CELL_M).astype(int)
    tables = [_points(main, half_width_m), *(_points(course, half) for course, half in sides)]
    points = np.concatenate(tables)
    nearest_main = np.empty(cells, np.int32)
    nearest_side = np.full(cells, -1, np.int32)
    nearest_points(nearest_main, points, 0, len(tables[0]), low, CELL_M)
    if sides:
        nearest_points(nearest_side, points, len(tables[0]), len(points), low, CELL_M)
    return Ground(
        low, CELL_M, nearest_main, nearest_side, points, np.asarray(crossings, np.float64), walk_m, parking_m,
        slot_m, LIT_CELL_M, np.ones((1, 1), np.float32), seed,
    )  # fmt: skip


def with_shadows(ground: Ground, main: Course, vertices: np.ndarray, triangles: np.ndarray, sun: np.ndarray) -> Ground:
    """Return the ground with the shadows that static objects cast on it, four samples of the sun per cell."""
    extent = np.array(ground.nearest_main.shape) * ground.cell_m
    shape = np.ceil(extent / LIT_CELL_M).astype(int)
    lit = np.ones(shape, np.float32)
    coarse = ground.points[ground.nearest_main][..., :2]
    i, j = np.meshgrid(np.arange(coarse.shape[0]), np.arange(coarse.shape[1]), indexing="ij")
    centres = ground.origin + (np.stack([i, j], -1) + 0.5) * ground.cell_m
    near = np.linalg.norm(centres - coarse, axis=-1) < SHADOW_REACH_M
    factor = round(ground.cell_m / LIT_CELL_M)
    cells = np.argwhere(near.repeat(factor, 0).repeat(factor, 1)[: shape[0], : shape[1]])
    origins = np.concatenate([ground.origin + (cells + 0.5) * LIT_CELL_M, np.full((len(cells), 1), 0.01)], -1)
    side = np.cross(sun, [0.0, 0.0, 1.0])
    side, up = side / np.linalg.norm(side), np.cross(side, sun) / np.linalg.norm(side)
    middle = main.xy.mean(0)
    caster = RayCaster(vertices - [*middle, 0.0], triangles)
    share = np.zeros(len(cells), np.float32)
    for a, b in ((-0.5, -1.0), (0.5, -0.3), (-0.5, 0.3), (0.5, 1.0)):
        direction = sun + SUN_SPREAD * (a * side + b * up)
        free = ~np.isfinite(caster.cast(origins - [*middle, 0.0], np.broadcast_to(direction, origins.shape)).distance)
        share += 0.25 * free
    lit[cells[:, 0], cells[:, 1]] = share
    return ground._replace(lit=lit)


def _points(course: Course, half_width_m: float) -> np.ndarray:
    """Return (P, 6) polyline points as `Ground.points` holds them, every half metre."""
    heading = course.heading_rad[::2]
    columns = [
        course.xy[::2, 0], course.xy[::2, 1], np.cos(heading), np.sin(heading), course.arc_m[::2],
        np.full(len(heading), half_width_m),
    ]  # fmt: skip
    return np.ascontiguousarray(np.stack(columns, -1))
