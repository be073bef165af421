"""Filling a street: house fronts, hedges, trees, parked vehicles, street furniture, people and traffic."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gsocc.datasets.world import people, structures, vehicles
from gsocc.datasets.world.blueprints import Blueprint
from gsocc.datasets.world.ground import make_ground
from gsocc.datasets.world.materials import MaterialTable
from gsocc.datasets.world.placing import Placer
from gsocc.datasets.world.roads import Course, Motion
from gsocc.datasets.world.scene import WorldObject, WorldScene

PARKED = "vehicle.parked"
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a street looks; lengths in metres, each range a smallest and a largest value.

    Attributes:
        half_width: From the centre line to the kerb, parking lane included.
        walk: Width of the sidewalk.
        parking: Width of the parking lane.
        slot: Length of a parking slot.
        parked: Share of slots that are taken.
        house_height: Of houses.
        house_length: Along the street.
        house_depth: Across it.
        setback: From the sidewalk to a house.
        fronts: Shares of houses, hedges and garden walls.
        tree_height: Of trees.
        lamp_height: Of street lamps.
        backdrop: From the sidewalk to the row of hedges and walls behind the houses; 0 for none.
    """

    half_width: float
    walk: float
    parking: float
    slot: float
    parked: float
    house_height: Range
    house_length: Range
    house_depth: Range
    setback: Range
    fronts: tuple[float, float, float]
    tree_height: Range
    lamp_height: Range
    backdrop: float

    @property
    def kerb_to_front(self) -> float:
        """From the centre line to the outer edge of the sidewalk."""
        return self.half_width + self.walk


@dataclass
class Street:
    """Fills one street.

    Attributes:
        rng: Source of all randomness.
        table: Where materials go.
        course: The road.
        span: First and last arc length to fill.
        style: How it looks.
        placer: Where objects go; shared by the streets of a scene.
    """

    rng: np.random.Generator
    table: MaterialTable
    course: Course
    span: Range
    style: Style
    placer: Placer

    def frontage(self, side: int) -> None:
        """Line one side with houses, garden walls and hedges, front to front."""
        style, position = self.style, self.span[0]
        while position < self.span[1]:
            kind = int(self.rng.choice(3, p=style.fronts))
            blueprint, setback = self._front(kind)
            length, depth, _ = blueprint.size_m
            offset = side * (style.kerb_to_front + setback + depth / 2)
            advance = length * self._stretch(position + length / 2, offset)
            pose = self.course.pose(position + advance / 2, offset) + np.array([0.0, 0.0, np.pi * (side < 0)])
            placed = self.placer.try_place(blueprint, pose, clearance_m=style.walk + 0.1, margin_m=0.3)
            position += advance + self.rng.uniform(0.4, 2.2) if placed else 1.0 + 0.5 * advance

    def _front(self, kind: int) -> tuple[Blueprint, float]:
        """Return a house (0), a hedge (1) or a wall (2), and how far behind the sidewalk it stands."""
        style = self.style
        if kind == 0:
            size = (self.rng.uniform(*r) for r in (style.house_length, style.house_depth, style.house_height))
            return structures.building(self.rng, self.table, *size), float(self.rng.uniform(*style.setback))
        length = self.rng.uniform(5.0, 9.0)
        if kind == 1:
            return structures.hedge(self.rng, self.table, length, self.rng.uniform(1.4, 2.6)), 0.3
        return structures.wall(self.rng, self.table, length, self.rng.uniform(1.6, 2.8)), 0.3

    def _stretch(self, arc: float, offset: float) -> float:
        """Return how much arc length of the road goes by per metre at an offset."""
        return 1.0 / max(1.0 - float(np.interp(arc, self.course.arc_m, self.course.curvature)) * offset, 0.4)

    def backdrop(self, side: int) -> None:
        """Close the view behind the front row with tall hedges and walls, and fill the gardens with trees."""
        position = self.span[0]
        while position < self.span[1]:
            offset = side * (self.style.kerb_to_front + self.style.backdrop)
            advance = 8.0 * self._stretch(position, offset)
            pose = self.course.pose(position + advance / 2, offset)
            if self.rng.random() < 0.6:
                blueprint = structures.hedge(self.rng, self.table, 7.6, self.rng.uniform(3.0, 4.6))
            else:
                blueprint = structures.wall(self.rng, self.table, 7.6, self.rng.uniform(2.6, 3.6))
            self.placer.try_place(blueprint, pose, clearance_m=self.style.walk + 2.0)
            for _ in range(2):
                self.tree(position + self.rng.uniform(0, advance), offset - side * self.rng.uniform(1.5, 7.5))
            position += advance

    def tree(self, arc: float, offset: float) -> bool:
        """Plant a tree; only its trunk needs room."""
        blueprint = structures.tree(self.rng, self.table, self.rng.uniform(*self.style.tree_height))
        pose = self.course.pose(arc, offset)
        pose[2] = self.rng.uniform(-np.pi, np.pi)
        return self.placer.try_place(blueprint, pose, clearance_m=0.3, footprint_m=(0.9, 0.9))

    def park(self, blueprint: Blueprint, side: int, arc: float, attribute: str = PARKED) -> bool:
        """Park a vehicle at the kerb, facing the way the traffic goes on that side."""
        offset = side * (self.style.half_width - blueprint.size_m[1] / 2 - self.rng.uniform(0.05, 0.2))
        pose = self.course.pose(arc, offset)
        pose[2] += np.pi * (side > 0) + self.rng.normal(0, 0.02)
        return self.placer.try_place(blueprint, pose, clearance_m=None, attribute=attribute)

    def parked_vehicles(self, keep_clear: np.ndarray, clear_m: float) -> None:
        """Fill parking slots on both sides, here and there with a truck, but not within `clear_m` of crossings."""
        slot = self.style.slot
        for side in (-1, 1):
            for number in range(int(self.span[0] / slot), int(self.span[1] / slot)):
                draw = self.rng.random()
                arc = (number + 0.5) * slot + self.rng.uniform(-0.3, 0.3)
                if draw > self.style.parked or (len(keep_clear) and np.abs(keep_clear - arc).min() < clear_m):
                    continue
                factory = vehicles.truck if draw < 0.1 * self.style.parked else vehicles.car
                blueprint = factory(self.rng, self.table)
                if blueprint.size_m[0] < slot + 1.2:
                    self.park(blueprint, side, arc)

    def furniture(self) -> None:
        """Set lamps, signs and street trees along the sidewalks."""
        style = self.style
        for side in (-1, 1):
            arc = self.span[0] + self.rng.uniform(0, 8)
            while arc < self.span[1]:
                draw = self.rng.random()
                pose = self.course.pose(arc, side * (style.half_width + 0.45))
                if draw < 0.3:
                    pose[2] -= side * np.pi / 2
                    blueprint = structures.lamp_post(self.rng, self.table, self.rng.uniform(*style.lamp_height))
                    self.placer.try_place(blueprint, pose, clearance_m=0.2, footprint_m=(0.3, 0.3))
                elif draw < 0.4:
                    pose[2] += np.pi * (side > 0)
                    blueprint = structures.sign(self.rng, self.table)
                    self.placer.try_place(blueprint, pose, clearance_m=0.0, footprint_m=(0.6, 0.6))
                else:
                    self.tree(arc, side * (style.kerb_to_front - 0.2))
                arc += self.rng.uniform(5.0, 9.0)

    def people(self, gap: Range) -> None:
        """Let people stand on the sidewalks, so far apart."""
        arc = self.span[0]
        while arc < self.span[1]:
            side = 1 if self.rng.random() < 0.5 else -1
            pose = self.course.pose(arc, side * (self.style.half_width + self.rng.uniform(0.7, self.style.walk - 0.5)))
            pose[2] = self.rng.uniform(-np.pi, np.pi)
            blueprint = people.pedestrian(self.rng, self.table)
            self.placer.try_place(blueprint, pose, clearance_m=0.2, attribute="pedestrian.standing")
            arc += self.rng.uniform(*gap)

    def oncoming(self, ego: Motion, gap_s: Range, choose: Callable[[], Blueprint]) -> list[WorldObject]:
        """Return traffic that meets the ego every so many seconds, all of one speed."""
        moving: list[WorldObject] = []
        speed, meet = self.rng.uniform(5.5, 8.0), self.rng.uniform(0.5, 4.0)
        while meet < ego.times_s[-1] + 6.0:
            arcs = np.interp(meet, ego.times_s, ego.arcs_m) + speed * (meet - ego.times_s)
            motion = Motion(self.course, ego.times_s, arcs, 1.75, reverse=True)
            blueprint = choose()
            cycle = blueprint.category in ("vehicle.motorcycle", "vehicle.bicycle")
            moving.append(WorldObject(blueprint, motion, "cycle.with_rider" if cycle else "vehicle.moving"))
            meet += self.rng.uniform(*gap_s)
        return moving

    def walkers(self, ego: Motion) -> list[WorldObject]:
        """Return people who walk along the sidewalks, one for every four seconds of driving and three more."""
        moving: list[WorldObject] = []
        for _ in range(3 + int(ego.times_s[-1] / 4)):
            side, way = (int(v) for v in self.rng.choice([-1, 1], 2))
            start = self.rng.uniform(-10.0, float(ego.arcs_m[-1]) + 30.0)
            offset = side * (self.style.half_width + self.rng.uniform(0.9, 1.4))
            arcs = start + way * self.rng.uniform(0.9, 1.6) * ego.times_s
            motion = Motion(self.course, ego.times_s, arcs, offset, reverse=way < 0)
            moving.append(WorldObject(people.pedestrian(self.rng, self.table), motion, "pedestrian.moving"))
        return moving


def assemble(
    street: Street, sides: list[tuple[Course, float]], crossings: np.ndarray, ego: Motion, movers: list[WorldObject]
) -> WorldScene:
    """Put a scene together from a filled main street, its side streets, crossings, ego and movers."""
    rng, style = street.rng, street.style
    seed = int(rng.integers(1, 1 << 20))
    ground = make_ground(
        street.course, style.half_width, sides, crossings, walk_m=style.walk, parking_m=style.parking,
        slot_m=style.slot, seed=seed,
    )  # fmt: skip
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(38, 55))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    return WorldScene(ego, (*street.placer.objects, *movers), street.table.array(), street.course, ground, sun)
