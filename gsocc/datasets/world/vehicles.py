"""Vehicles: cars, trucks, buses, trailers, construction vehicles and cycles."""

import numpy as np

from gsocc.datasets.world.blueprints import PAINTS, TYRE, Blueprint, centred, pick, tyre
from gsocc.datasets.world.materials import MaterialTable
from gsocc.datasets.world.meshes import Mesh, box, cylinder, extrusion, wheel
from gsocc.datasets.world.people import seated


def wheels(
    table: MaterialTable,
    class_name: str,
    axles_m: tuple[float, ...],
    *,
    radius: float,
    width: float,
    track_m: float = 0.0,
    rim: float = 0.62,
    spokes: int = 5,
) -> list[Mesh]:
    """Return the wheels of a vehicle.

    Args:
        table: Where their material goes.
        class_name: Class of the vehicle.
        axles_m: x of one to three axles.
        radius: Of a wheel.
        width: Of a wheel.
        track_m: Distance between the wheels of an axle; 0 for a cycle.
        rim: Share of the radius that is rim.
        spokes: Of a rim.
    """
    x = [*axles_m, 1e3, 1e3][:3]
    material = table.add("wheel", class_name, TYRE, wavelength_m=0.3, parameters=(radius, rim, *x, float(spokes)))
    sides = (-1, 1) if track_m else (0,)
    return [wheel(radius, width, material, x=a, y=s * track_m / 2, sides=14) for a in axles_m for s in sides]


def car(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a saloon, an estate car or a small van: a body, a glasshouse and four wheels."""
    length, width = rng.uniform(4.1, 4.9), rng.uniform(1.75, 1.95)
    style = rng.integers(3)
    belt = (0.92, 0.95, 1.05)[style] + rng.uniform(-0.03, 0.05)
    roof = (1.45, 1.55, 1.85)[style] + rng.uniform(-0.04, 0.06)
    half = length / 2
    # x of the glasshouse: rear and front at the belt line, rear and front at the roof.
    glass = {0: (-0.72, 0.34, -0.48, 0.08), 1: (-0.94, 0.38, -0.86, 0.12), 2: (-0.97, 0.66, -0.93, 0.40)}[int(style)]
    rear, front, rear_top, front_top = (v * half for v in glass)
    paint = pick(rng, PAINTS)
    parameters = (belt, roof, rear, front, rear_top, front_top, half, width / 2)
    body = table.add("car", "car", paint, wavelength_m=0.9, contrast=0.4, parameters=parameters)
    hood = belt - rng.uniform(0.06, 0.14)
    lower = [
        (-half, 0.30), (half - 0.08, 0.24), (half, 0.45), (half - 0.06, hood - 0.12), (front, belt), (rear, belt),
        (-half + 0.03, belt - 0.05),
    ]  # fmt: skip
    upper = [(rear, belt - 0.01), (front, belt - 0.01), (front_top, roof), (rear_top, roof)]
    rubber = tyre(table, "car")
    axles = (-half * 0.62, half * 0.62)
    tyres = wheels(table, "car", axles, radius=0.33, width=0.22, track_m=width - 0.2)
    floor = box(length * 0.9, width * 0.8, 0.25, rubber, z=0.15)
    shell = [extrusion(lower, width, body), extrusion(upper, width - 0.08, body, taper=0.14)]
    return centred("vehicle.car", [*shell, floor, *tyres])


def truck(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a delivery truck: a cab and a box body on four or six wheels."""
    length, width, height = rng.uniform(6.4, 8.2), rng.uniform(2.2, 2.4), rng.uniform(2.9, 3.3)
    cab_length = 1.9
    paint, panel = pick(rng, PAINTS), pick(rng, PAINTS[:2] + PAINTS[5:6] + PAINTS[8:])
    half = width / 2
    cab = table.add(
        "window_band", "truck", paint, parameters=(1.45, 2.15, 4.0, -9.0, 9.0, 0.95, 0.06, half)
    )  # fmt: skip
    body = table.add(
        "stripes", "truck", panel, pick(rng, PAINTS), wavelength_m=1.4, parameters=(2.4, 0.7, float(rng.integers(3)))
    )
    rubber = tyre(table, "truck")
    x = length / 2 - cab_length / 2
    parts = [
        extrusion(
            [(x - 0.95, 0.45), (x + 0.95, 0.45), (x + 0.95, 1.2), (x + 0.7, 2.35), (x - 0.95, 2.35)], width - 0.1, cab
        ),
        box(length - cab_length - 0.2, width, height - 0.85, body, z=0.85, x=-cab_length / 2 - 0.1),
        box(length - 0.3, width * 0.7, 0.5, rubber, z=0.4),
    ]
    axles = (length / 2 - 1.1, -length / 2 + 1.3) + ((-length / 2 + 2.4,) if length > 7.4 else ())
    parts += wheels(table, "truck", axles, radius=0.45, width=0.3, track_m=width - 0.32)
    return centred("vehicle.truck", parts)


def bus(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a city bus."""
    length, width, height = rng.uniform(9.5, 11.5), 2.5, rng.uniform(3.0, 3.2)
    half = length / 2
    parameters = (1.25, 2.45, 1.6, -half + 0.3, half - 0.1, 0.75, 0.14, width / 2)
    body = table.add("window_band", "bus", pick(rng, PAINTS[3:]), wavelength_m=1.2, parameters=parameters)
    rubber = tyre(table, "bus")
    profile = [
        (-half, 0.35), (half - 0.05, 0.35), (half, 1.1), (half - 0.18, height - 0.1), (half - 0.4, height),
        (-half, height),
    ]  # fmt: skip
    parts = [extrusion(profile, width, body, taper=0.06), box(length * 0.4, width * 0.6, 0.22, rubber, z=height)]
    parts += wheels(table, "bus", (-0.5 * half, 0.55 * half), radius=0.48, width=0.3, track_m=width - 0.28)
    return centred("vehicle.bus.rigid", parts)


def trailer(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a parked semi-trailer on its wheels and landing gear."""
    length, width, height = rng.uniform(6.5, 8.5), 2.4, rng.uniform(3.2, 3.6)
    parameters = (1.1, 0.12, 0.0)
    body = table.add("stripes", "trailer", pick(rng, PAINTS[:2]), pick(rng, PAINTS), parameters=parameters)
    rubber = tyre(table, "trailer")
    parts = [
        box(length, width, height - 1.05, body, z=1.05),
        box(length - 0.2, width * 0.5, 0.3, rubber, z=0.8),
        *(box(0.15, 0.15, 0.8, rubber, x=length * 0.28, y=s * 0.8) for s in (-1, 1)),
        *wheels(table, "trailer", (0.9 - length / 2, 1.9 - length / 2), radius=0.45, width=0.35, track_m=width - 0.4),
    ]
    return centred("vehicle.trailer", parts)


def excavator(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a tracked excavator with its arm stretched forwards."""
    yellow = pick(rng, ((0.92, 0.66, 0.10), (0.90, 0.46, 0.10)), 0.03)
    body = table.add("plain", "construction_vehicle", yellow, wavelength_m=0.8)
    parameters = (1.55, 2.4, 3.0, -9.0, 9.0, 1.3, 0.05, 0.55)
    cab = table.add("window_band", "construction_vehicle", yellow, wavelength_m=0.7, parameters=parameters)
    iron = tyre(table, "construction_vehicle")
    track = [(-1.5, 0.0), (1.5, 0.0), (1.75, 0.4), (1.5, 0.8), (-1.5, 0.8), (-1.75, 0.4)]
    lift = rng.uniform(0.55, 0.75)
    boom = box(3.0, 0.35, 0.4, body).pitched(-lift).moved(x=1.9, y=-0.35, z=2.0)
    stick = box(2.2, 0.28, 0.3, body).pitched(1.05).moved(x=3.4, y=-0.35, z=1.9)
    bucket = extrusion([(3.5, 0.35), (4.1, 0.25), (4.3, 0.8), (3.8, 1.0)], 0.9, iron, y=-0.35)
    parts = [
        *(extrusion(track, 0.5, iron, y=s * 0.95) for s in (-1, 1)),
        box(2.6, 2.2, 0.3, iron, z=0.75),
        box(1.5, 2.2, 0.95, body, z=1.05, x=-0.9),
        box(1.3, 1.0, 1.65, cab, z=1.05, x=0.5, y=0.55),
        boom, stick, bucket,
    ]  # fmt: skip
    return centred("vehicle.construction", parts)


def motorcycle(rng: np.random.Generator, table: MaterialTable, *, rider: bool = False) -> Blueprint:
    """Build a motorcycle, with a rider or without."""
    paint = table.add("plain", "motorcycle", pick(rng, PAINTS[3:]), wavelength_m=0.4)
    rubber = tyre(table, "motorcycle")
    parts = [
        *wheels(table, "motorcycle", (-0.7, 0.7), radius=0.31, width=0.14),
        box(0.9, 0.32, 0.35, rubber, z=0.32),
        extrusion([(-0.85, 0.72), (0.1, 0.66), (0.5, 0.78), (0.45, 0.98), (0.1, 0.98), (-0.8, 0.86)], 0.34, paint),
        box(0.08, 0.70, 0.06, rubber, x=0.5, z=1.05),
        box(0.14, 0.24, 0.24, paint, x=0.62, z=0.82),
    ]
    if rider:
        parts += seated(rng, table, "motorcycle", x=-0.2, seat_m=0.86)
    return centred("vehicle.motorcycle", parts)


def bicycle(rng: np.random.Generator, table: MaterialTable, *, rider: bool = False) -> Blueprint:
    """Build a bicycle, with a rider or without."""
    paint = table.add("plain", "bicycle", pick(rng, PAINTS[2:]), wavelength_m=0.4)
    rubber = tyre(table, "bicycle")
    bar = {"material": paint}
    parts = [
        *wheels(table, "bicycle", (-0.52, 0.52), radius=0.34, width=0.05, rim=0.88, spokes=14),
        box(0.75, 0.06, 0.06, z=0.0, **bar).pitched(-0.55).moved(x=0.05, z=0.58),
        box(0.60, 0.05, 0.05, z=0.80, **bar),
        cylinder(0.03, 0.60, paint, z=0.35, sides=6).moved(x=-0.18),
        cylinder(0.03, 0.65, paint, z=0.40, sides=6).moved(x=0.44),
        box(0.06, 0.56, 0.05, x=0.44, z=1.02, **bar),
        box(0.28, 0.18, 0.07, rubber, x=-0.2, z=0.92),
    ]
    if rider:
        parts += seated(rng, table, "bicycle", x=-0.15, seat_m=0.96)
    return centred("vehicle.bicycle", parts)
