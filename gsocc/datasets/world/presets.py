"""The two kinds of world: the full one, and a moderate one that a small network can learn in minutes."""

from typing import Protocol

import numpy as np

from gsocc.datasets.world import people, structures, vehicles
from gsocc.datasets.world.blueprints import Blueprint
from gsocc.datasets.world.materials import MaterialTable
from gsocc.datasets.world.placing import Placer
from gsocc.datasets.world.roads import Motion, drive, straight, town_course, winding_course
from gsocc.datasets.world.scene import WorldObject, WorldScene
from gsocc.datasets.world.street import PARKED, Street, Style, assemble

AROUND_M = (75.0, 110.0)  # of street behind and ahead of the drive
FASTEST_MPS = 10.0
SIDE_STREET_M = 95.0

MODERATE = Style(
    half_width=5.0, walk=2.4, parking=2.1, slot=6.5, parked=0.3, house_height=(4.2, 5.3), house_length=(7.0, 13.0),
    house_depth=(5.0, 7.0), setback=(3.5, 7.0), fronts=(0.76, 0.12, 0.12), tree_height=(3.6, 5.3),
    lamp_height=(4.6, 5.2), backdrop=13.0,
)  # fmt: skip
TOWN = Style(
    half_width=6.8, walk=3.2, parking=2.5, slot=6.5, parked=0.5, house_height=(6.0, 22.0), house_length=(9.0, 20.0),
    house_depth=(8.0, 12.0), setback=(0.2, 5.0), fronts=(0.72, 0.14, 0.14), tree_height=(4.5, 9.0),
    lamp_height=(6.0, 8.0), backdrop=0.0,
)  # fmt: skip


def moderate_scene(rng: np.random.Generator, duration_s: float, around_m: tuple[float, float] = AROUND_M) -> WorldScene:
    """Build a winding residential street: low houses behind front lawns, walls, hedges, trees, some parked cars.

    Eight classes (car, truck, pedestrian, driveable surface, sidewalk, terrain, manmade, vegetation); nothing is
    higher than the Occ3D grid, no side streets, and the bends keep most of what is seen within 40 m.
    """
    table = MaterialTable(rng)
    course = winding_course(rng, -around_m[0], duration_s * FASTEST_MPS + around_m[1], (48.0, 85.0))
    ego = drive(course, rng, duration_s, (5.0, 9.0))
    span = (-around_m[0], float(ego.arcs_m[-1]) + around_m[1])
    street = Street(rng, table, course, span, MODERATE, Placer([course], [MODERATE.half_width]))
    crossings = np.arange(-40.0, span[1], 70.0) + rng.uniform(-15, 15)
    for side in (-1, 1):
        street.frontage(side)
        street.backdrop(side)
    street.parked_vehicles(crossings, 6.0)
    street.furniture()
    street.people((4.0, 14.0))

    def traffic() -> Blueprint:
        return (vehicles.truck if rng.random() < 0.2 else vehicles.car)(rng, table)

    movers = street.oncoming(ego, (5.0, 9.0), traffic) + street.walkers(ego)
    return assemble(street, [], crossings, ego, movers)


def full_scene(rng: np.random.Generator, duration_s: float, around_m: tuple[float, float] = AROUND_M) -> WorldScene:
    """Build a town: right-angled turns at crossroads, buildings of any height, works, and every scored class.

    One vehicle or thing of each class stands near the start, so that short scenes have them all.
    """
    table = MaterialTable(rng)
    course, corners = town_course(rng, -around_m[0], duration_s * FASTEST_MPS + around_m[1])
    ego = drive(course, rng, duration_s, (5.0, 9.0))
    span = (-around_m[0], float(ego.arcs_m[-1]) + around_m[1])
    sides = [straight(course.pose(arc), turn, SIDE_STREET_M) for arc, turn in corners]
    placer = Placer([course, *sides], [TOWN.half_width] * (1 + len(sides)))
    street = Street(rng, table, course, span, TOWN, placer)
    mouths = np.array(sorted({arc for arc, _ in corners}))
    _works(street, side=1 if rng.random() < 0.5 else -1)
    for place in [street, *(Street(rng, table, s, (8.0, SIDE_STREET_M), TOWN, placer) for s in sides)]:
        for side in (-1, 1):
            place.frontage(side)
    turns = 0.5 * (mouths[1:] + mouths[:-1])[np.diff(mouths) < 40.0]
    street.parked_vehicles(np.concatenate([mouths, turns]), 12.0)
    _signals(street, mouths)
    street.furniture()
    street.people((3.0, 10.0))
    kinds = (vehicles.car, vehicles.car, vehicles.car, vehicles.truck, vehicles.bus)

    def traffic() -> Blueprint:
        if rng.random() < 0.15:
            return vehicles.motorcycle(rng, table, rider=True)
        return kinds[int(rng.integers(len(kinds)))](rng, table)

    movers = street.oncoming(ego, (3.0, 7.0), traffic) + street.walkers(ego) + _cyclists(street, ego)
    crossings = np.concatenate([mouths[::2] - 13.0, np.arange(-50.0, 0.0, 60.0)])
    return assemble(street, [(s, TOWN.half_width) for s in sides], crossings, ego, movers)


class SceneBuilder(Protocol):
    """Builds a scene of a preset."""

    def __call__(
        self, rng: np.random.Generator, duration_s: float, around_m: tuple[float, float] = AROUND_M
    ) -> WorldScene:
        """Build a scene whose drive takes `duration_s`, with so much street behind and ahead of the drive."""


BUILDERS: dict[str, SceneBuilder] = {
    "full": full_scene,
    "moderate": moderate_scene,
}


def _works(street: Street, side: int) -> None:
    """Set up road works on one side near the start; park a bus, a trailer, a truck and cycles on the other."""
    rng, table, style = street.rng, street.table, street.style
    first = rng.uniform(9.0, 12.0)
    digger = vehicles.excavator(rng, table)
    pose = street.course.pose(first + 7.0, side * (style.half_width - 0.9))
    pose[2] += rng.uniform(-0.3, 0.3) + np.pi * (side > 0)
    street.placer.try_place(digger, pose, clearance_m=None, attribute=PARKED)
    lane = style.half_width - style.parking
    for k in range(7):
        pose = street.course.pose(first + 1.0 + 2.05 * k, side * (lane + 0.05))
        street.placer.try_place(structures.barrier(rng, table), pose, clearance_m=None, margin_m=0.0)
    for k in range(5):
        taper = side * (lane + 0.2 + 0.42 * k)
        for arc in (first - 1.2 - 0.9 * k, first + 15.2 + 0.9 * k):
            street.placer.try_place(structures.cone(rng, table), street.course.pose(arc, taper), clearance_m=None)
    street.park(vehicles.bus(rng, table), -side, rng.uniform(18.0, 22.0))
    street.park(vehicles.trailer(rng, table), -side, rng.uniform(34.0, 37.0))
    street.park(vehicles.truck(rng, table), -side, rng.uniform(-10.0, -7.0))
    street.park(vehicles.car(rng, table), side, rng.uniform(-6.0, -3.0))
    shelter = street.course.pose(19.0, -side * (style.half_width + 1.1)) + np.array([0.0, 0.0, np.pi * (side > 0)])
    street.placer.try_place(structures.bus_shelter(rng, table), shelter, clearance_m=0.1, footprint_m=(4.2, 1.2))
    for k, factory in enumerate([vehicles.motorcycle] * 3 + [vehicles.bicycle] * 4):
        pose = street.course.pose(8.0 - 0.9 * k, -side * (style.half_width - 1.1))
        pose[2] += 1.2 + rng.normal(0, 0.06)
        street.placer.try_place(factory(rng, table), pose, clearance_m=None, attribute="cycle.without_rider")
    for k in range(3):
        pose = street.course.pose(first + 3.0 + 4.0 * k, side * (style.half_width + 1.6))
        pose[2] = rng.uniform(-np.pi, np.pi)
        street.placer.try_place(people.pedestrian(rng, table), pose, clearance_m=0.2, attribute="pedestrian.standing")


def _signals(street: Street, mouths: np.ndarray) -> None:
    """Put traffic lights before crossroads."""
    for arc in mouths[::2]:
        for side, back in ((-1, -11.0), (1, 11.0)):
            pose = street.course.pose(float(arc) + back, side * (street.style.half_width + 0.5))
            pose[2] += np.pi * (side > 0)
            signal = structures.traffic_light(street.rng, street.table)
            street.placer.try_place(signal, pose, clearance_m=0.2, footprint_m=(0.4, 0.4))


def _cyclists(street: Street, ego: Motion) -> list[WorldObject]:
    """Return cyclists beside the parking lane whom the ego overtakes or meets."""
    rng = street.rng
    lane = street.style.half_width - street.style.parking
    moving = []
    for k in range(2 + int(ego.times_s[-1] / 6)):
        way = -1 if k % 2 else 1
        start = float(np.interp(6.0 * k, ego.times_s, ego.arcs_m)) + (rng.uniform(14.0, 30.0) if way > 0 else 40.0)
        arcs = start + way * rng.uniform(3.0, 4.5) * (ego.times_s - 6.0 * k)
        motion = Motion(street.course, ego.times_s, arcs, -way * (lane - 0.65), reverse=way < 0)
        moving.append(WorldObject(vehicles.bicycle(rng, street.table, rider=True), motion, "cycle.with_rider"))
    return moving
