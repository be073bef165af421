"""The moderate world: a winding street, lined by low houses, walls, hedges and trees; nothing above the grid's top."""

from dataclasses import dataclass

import numpy as np

from gsocc.datasets.world import objects
from gsocc.datasets.world.ground import make_ground
from gsocc.datasets.world.materials import MaterialTable
from gsocc.datasets.world.objects import Blueprint
from gsocc.datasets.world.placing import Placer
from gsocc.datasets.world.roads import Course, Motion, drive, winding_course
from gsocc.datasets.world.scene import WorldObject, WorldScene

ROAD_HALF_WIDTH_M = 5.4
WALK_M = 2.4
PARKING_M = 2.1
SLOT_M = 6.5
TOP_M = 5.3  # the Occ3D grid ends at 5.4
BEFORE_M, AFTER_M = 75.0, 110.0  # of street behind and ahead of the drive
PARKED = "vehicle.parked"


def moderate_scene(rng: np.random.Generator, duration_s: float) -> WorldScene:
    """Build a scene of the moderate world.

    Args:
        rng: Source of all randomness.
        duration_s: Length of the drive.
    """
    table = MaterialTable(rng)
    course = winding_course(rng, -BEFORE_M, duration_s * 9.0 + AFTER_M, (48.0, 85.0))
    ego = drive(course, rng, duration_s, (6.0, 8.5))
    end = float(ego.arcs_m[-1])
    builder = _Street(rng, table, course, (-BEFORE_M, end + AFTER_M), Placer([course], [ROAD_HALF_WIDTH_M]))
    for side in (-1, 1):
        builder.frontage(side)
        builder.backdrop(side)
    builder.parked_cars()
    builder.furniture()
    builder.people()
    crossings = np.arange(-40.0, end + AFTER_M, 70.0) + rng.uniform(-15, 15)
    movers = builder.movers(ego, duration_s)
    return finish_scene(
        rng, table, course, ROAD_HALF_WIDTH_M, [], crossings, (WALK_M, PARKING_M, SLOT_M), ego,
        tuple(builder.placer.objects) + movers,
    )  # fmt: skip


def finish_scene(
    rng: np.random.Generator, table: MaterialTable, main: Course, half_width_m: float,
    sides: list[tuple[Course, float]], crossings: np.ndarray, widths_m: tuple[float, float, float], ego: Motion,
    placed: tuple[WorldObject, ...],
) -> WorldScene:  # fmt: skip
    """Add the ground and the sun; `widths_m` are those of sidewalk, parking lane and parking slot."""
    walk, parking, slot = widths_m
    seed = int(rng.integers(1, 1 << 20))
    ground = make_ground(
        main, half_width_m, sides, crossings, walk_m=walk, parking_m=parking, slot_m=slot, seed=seed
    )  # fmt: skip
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(38, 55))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    return WorldScene(ego, placed, table.array(), main, ground, sun)


@dataclass
class _Street:
    """Fills a street."""

    rng: np.random.Generator
    table: MaterialTable
    course: Course
    span_m: tuple[float, float]
    placer: Placer

    def frontage(self, side: int) -> None:
        """Line one side with houses, walls, hedges and front gardens, front to front."""
        position = self.span_m[0]
        while position < self.span_m[1]:
            kind = self.rng.choice(["house", "hedge", "wall"], p=[0.55, 0.2, 0.25])
            blueprint, setback = self._front(str(kind))
            length, depth, _ = blueprint.size_m
            offset = side * (ROAD_HALF_WIDTH_M + WALK_M + setback + depth / 2)
            bend = np.interp(position + length / 2, self.course.arc_m, self.course.curvature)
            advance = length / max(1.0 - bend * offset, 0.4)
            pose = self.course.pose(position + advance / 2, offset)
            turn = np.pi if side < 0 else 0.0
            placed = self.placer.try_place(blueprint, pose + np.array([0.0, 0.0, turn]), clearance_m=WALK_M + 0.1, margin_m=0.3)
            position += advance + (self.rng.uniform(0.4, 2.2) if placed else 1.0 - advance * 0.5)

    def _front(self, kind: str) -> tuple[Blueprint, float]:
        """Return a blueprint and how far behind the sidewalk it stands."""
        if kind == "house":
            length, depth = self.rng.uniform(7.0, 13.0), self.rng.uniform(5.0, 7.0)
            height = self.rng.uniform(4.2, TOP_M)
            return objects.building(self.rng, self.table, length, depth, height), float(self.rng.uniform(0.4, 3.0))
        length = self.rng.uniform(5.0, 9.0)
        if kind == "hedge":
            return objects.hedge(self.rng, self.table, length, self.rng.uniform(1.4, 2.6)), 0.3
        return objects.wall(self.rng, self.table, length, self.rng.uniform(1.6, 2.8)), 0.3

    def backdrop(self, side: int) -> None:
        """Close the view behind the front row with tall hedges, walls and trees."""
        position = self.span_m[0]
        while position < self.span_m[1]:
            offset = side * (ROAD_HALF_WIDTH_M + WALK_M + 10.0)
            bend = np.interp(position, self.course.arc_m, self.course.curvature)
            advance = 8.0 / max(1.0 - bend * offset, 0.4)
            pose = self.course.pose(position + advance / 2, offset)
            if self.rng.random() < 0.6:
                blueprint = objects.hedge(self.rng, self.table, 7.6, self.rng.uniform(3.0, 4.6))
            else:
                blueprint = objects.wall(self.rng, self.table, 7.6, self.rng.uniform(2.6, 3.6))
            self.placer.try_place(blueprint, pose, clearance_m=WALK_M + 2.0)
            for _ in range(2):
                self._tree(position + self.rng.uniform(0, advance), offset - side * self.rng.uniform(1.5, 7.5))
            position += advance

    def _tree(self, arc: float, offset: float) -> bool:
        blueprint = objects.tree(self.rng, self.table, self.rng.uniform(3.6, TOP_M))
        pose = self.course.pose(arc, offset)
        pose[2] = self.rng.uniform(-np.pi, np.pi)
        return self.placer.try_place(blueprint, pose, clearance_m=0.3, footprint_m=(0.9, 0.9))

    def parked_cars(self) -> None:
        """Fill parking slots on both sides, here and there with a truck."""
        for side in (-1, 1):
            for slot in range(int(self.span_m[0] / SLOT_M), int(self.span_m[1] / SLOT_M)):
                draw = self.rng.random()
                if draw > 0.62:
                    continue
                factory = objects.truck if draw < 0.07 else objects.car
                blueprint = factory(self.rng, self.table)
                if blueprint.size_m[0] > SLOT_M + 1.2:
                    continue
                offset = side * (ROAD_HALF_WIDTH_M - blueprint.size_m[1] / 2 - self.rng.uniform(0.05, 0.2))
                pose = self.course.pose((slot + 0.5) * SLOT_M + self.rng.uniform(-0.3, 0.3), offset)
                pose[2] += (np.pi if side > 0 else 0.0) + self.rng.normal(0, 0.02)
                self.placer.try_place(blueprint, pose, clearance_m=None, attribute=PARKED)

    def furniture(self) -> None:
        """Set lamps, signs and street trees along the sidewalks."""
        for side in (-1, 1):
            arc = self.span_m[0] + self.rng.uniform(0, 8)
            while arc < self.span_m[1]:
                draw = self.rng.random()
                facing = self.course.pose(arc, side * (ROAD_HALF_WIDTH_M + 0.45))
                if draw < 0.3:
                    facing[2] += -side * np.pi / 2
                    blueprint = objects.lamp_post(self.rng, self.table, self.rng.uniform(4.6, 5.2))
                    self.placer.try_place(blueprint, facing, clearance_m=0.2, footprint_m=(0.3, 0.3))
                elif draw < 0.4:
                    facing[2] += 0.0 if side < 0 else np.pi
                    blueprint = objects.sign(self.rng, self.table)
                    self.placer.try_place(blueprint, facing, clearance_m=0.0, footprint_m=(0.6, 0.6))
                else:
                    self._tree(arc, side * (ROAD_HALF_WIDTH_M + WALK_M - 0.2))
                arc += self.rng.uniform(5.0, 9.0)

    def people(self) -> None:
        """Let people stand on the sidewalks."""
        arc = self.span_m[0]
        while arc < self.span_m[1]:
            side = 1 if self.rng.random() < 0.5 else -1
            pose = self.course.pose(arc, side * (ROAD_HALF_WIDTH_M + self.rng.uniform(0.7, 1.7)))
            pose[2] = self.rng.uniform(-np.pi, np.pi)
            blueprint = objects.pedestrian(self.rng, self.table)
            self.placer.try_place(blueprint, pose, clearance_m=0.2, attribute="pedestrian.standing")
            arc += self.rng.uniform(4.0, 14.0)

    def movers(self, ego: Motion, duration_s: float) -> tuple[WorldObject, ...]:
        """Return oncoming cars and walking people."""
        moving = []
        speed = self.rng.uniform(5.5, 8.0)
        times = ego.times_s
        meet = self.rng.uniform(0.5, 4.0)
        while meet < duration_s + 6.0:
            factory = objects.truck if self.rng.random() < 0.2 else objects.car
            arcs = np.interp(meet, ego.times_s, ego.arcs_m) + speed * (meet - times)
            motion = Motion(self.course, times, arcs, 1.75, reverse=True)
            moving.append(WorldObject(factory(self.rng, self.table), motion, "vehicle.moving"))
            meet += self.rng.uniform(5.0, 9.0)
        for _ in range(3 + int(duration_s / 4)):
            side, way = self.rng.choice([-1, 1], 2)
            start = self.rng.uniform(-10.0, float(ego.arcs_m[-1]) + 30.0)
            offset = float(side) * (ROAD_HALF_WIDTH_M + self.rng.uniform(0.9, 1.4))
            arcs = start + float(way) * self.rng.uniform(0.9, 1.6) * times
            motion = Motion(self.course, times, arcs, offset, reverse=bool(way < 0))
            moving.append(WorldObject(objects.pedestrian(self.rng, self.table), motion, "pedestrian.moving"))
        return tuple(moving)
