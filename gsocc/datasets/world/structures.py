"""What stands along a street: houses, walls, hedges, trees, lamps, signs, barriers and cones."""

import numpy as np

from gsocc.datasets.world.blueprints import Blueprint, centred, pick
from gsocc.datasets.world.materials import Colour, MaterialTable
from gsocc.datasets.world.meshes import box, bumpy_box, cylinder, ellipsoid, extrusion


def building(rng: np.random.Generator, table: MaterialTable, length: float, depth: float, height: float) -> Blueprint:
    """Build a house with windows on every side; low ones may carry a gabled roof within their height."""
    walls: tuple[Colour, ...] = (
        (0.74, 0.48, 0.36), (0.84, 0.76, 0.60), (0.70, 0.70, 0.68), (0.62, 0.38, 0.30), (0.88, 0.84, 0.78),
        (0.60, 0.66, 0.62), (0.82, 0.62, 0.44), (0.56, 0.54, 0.56),
    )  # fmt: skip
    storey = rng.uniform(2.6, 3.1)
    parameters = (
        storey, rng.uniform(2.0, 3.4), rng.uniform(0.9, 1.5), rng.uniform(1.1, 1.5), rng.uniform(0.8, 1.0),
        float(rng.choice([0.0, 0.09, 0.14])),
    )  # fmt: skip
    wall = table.add("facade", "manmade", pick(rng, walls), wavelength_m=2.8, contrast=0.55, parameters=parameters)
    if height > 5.6 or rng.random() < 0.4:
        edge = table.add("plain", "manmade", (0.70, 0.68, 0.66), wavelength_m=0.8)
        parts = [
            box(length, depth, height - 0.25, wall),
            box(length + 0.3, depth + 0.3, 0.25, edge, z=height - 0.25),
        ]
        return centred("static.manmade", parts)
    tiles: tuple[Colour, ...] = ((0.62, 0.28, 0.20), (0.40, 0.36, 0.36), (0.52, 0.36, 0.26))
    tile = table.add(
        "stripes", "manmade", pick(rng, tiles), (0.24, 0.18, 0.16), wavelength_m=1.5, parameters=(0.32, 0.07, 2.0)
    )
    eaves = min(storey + 0.1, height - 0.9)
    roof = extrusion([(-depth / 2 - 0.3, eaves), (depth / 2 + 0.3, eaves), (0.0, height)], length + 0.5, tile)
    return centred("static.manmade", [box(length, depth, eaves, wall), roof.moved(yaw_rad=np.pi / 2)])


def wall(rng: np.random.Generator, table: MaterialTable, length: float, height: float) -> Blueprint:
    """Build a garden wall of bricks with a coping."""
    bricks: tuple[Colour, ...] = ((0.70, 0.40, 0.30), (0.76, 0.66, 0.52), (0.58, 0.56, 0.54))
    stone = table.add(
        "brick",
        "manmade",
        pick(rng, bricks),
        wavelength_m=2.0,
        contrast=0.8,
        parameters=(float(rng.uniform(0.1, 0.2)),),
    )
    coping = table.add("plain", "manmade", (0.78, 0.76, 0.72), wavelength_m=0.6)
    parts = [box(length, 0.3, height - 0.1, stone), box(length + 0.1, 0.4, 0.1, coping, z=height - 0.1)]
    return centred("static.manmade", parts)


def hedge(rng: np.random.Generator, table: MaterialTable, length: float, height: float) -> Blueprint:
    """Build a clipped hedge."""
    leaf = table.add("plain", "vegetation", (0.40, 0.56, 0.18), (0.05, 0.12, 0.04), wavelength_m=1.0, contrast=1.1)
    body = bumpy_box(length, rng.uniform(0.9, 1.3), height, leaf, step_m=0.6, bumps_m=0.1, rng=rng)
    return centred("static.vegetation", [body])


def tree(rng: np.random.Generator, table: MaterialTable, height: float) -> Blueprint:
    """Build a tree: a trunk and a crown of one to three bumpy ellipsoids."""
    bark = table.add("plain", "vegetation", (0.42, 0.32, 0.24), wavelength_m=0.5, contrast=0.9)
    greens: tuple[tuple[Colour, Colour], ...] = (
        ((0.46, 0.62, 0.22), (0.06, 0.15, 0.05)), ((0.60, 0.64, 0.24), (0.12, 0.18, 0.05)),
        ((0.28, 0.50, 0.24), (0.03, 0.10, 0.06)), ((0.74, 0.50, 0.18), (0.22, 0.14, 0.05)),
    )  # fmt: skip
    light, dark = greens[rng.choice(4, p=[0.4, 0.25, 0.25, 0.1])]
    leaf = table.add("plain", "vegetation", light, dark, wavelength_m=1.3, contrast=1.2)
    radius = min(rng.uniform(0.26, 0.34) * height, 2.6)
    middle = height - radius * 1.1
    parts = [cylinder(0.045 * height, middle, bark, sides=7, top_radius=0.03 * height)]
    for i in range(int(rng.integers(1, 4))):
        shift = rng.uniform(-0.35, 0.35, 3) * radius * (i > 0)
        size = radius * (1.0 if i == 0 else rng.uniform(0.6, 0.8))
        top = min(middle + shift[2] + size * 1.1, height)
        centre = (float(shift[0]), float(shift[1]), float(top - size * 1.1))
        parts.append(ellipsoid((size, size, size), leaf, centre=centre, rings=9, sides=14, bumps=0.10, rng=rng))
    return centred("static.vegetation", parts, recentre=False)


def lamp_post(rng: np.random.Generator, table: MaterialTable, height: float) -> Blueprint:
    """Build a street lamp whose arm reaches over the road (towards +x)."""
    metal = table.add("plain", "manmade", (0.34, 0.38, 0.36), wavelength_m=0.4)
    glass = table.add("plain", "manmade", (0.92, 0.90, 0.78), wavelength_m=0.3, contrast=0.2)
    parts = [
        cylinder(0.14, 0.6, metal, sides=8, top_radius=0.09),
        cylinder(0.08, height - 0.65, metal, z=0.6, sides=8),
        box(1.3, 0.1, 0.1, metal, z=height - 0.15, x=0.6),
        box(0.5, 0.25, 0.12, glass, z=height - 0.27, x=1.15),
    ]
    return centred("static.manmade", parts, recentre=False)


def sign(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a road sign on a post; it faces -x."""
    metal = table.add("plain", "manmade", (0.60, 0.62, 0.64), wavelength_m=0.4)
    faces: tuple[Colour, ...] = ((0.80, 0.12, 0.10), (0.12, 0.30, 0.70), (0.90, 0.78, 0.16))
    face = table.add("stripes", "manmade", pick(rng, faces), (0.94, 0.94, 0.92), parameters=(0.5, 0.16, 2.0))
    parts = [cylinder(0.05, 2.9, metal, sides=6), box(0.05, 0.75, 0.75, face, z=2.1, x=-0.08)]
    return centred("static.manmade", parts, recentre=False)


def traffic_light(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a traffic light on a post; its lamps face -x."""
    metal = table.add("plain", "manmade", (0.30, 0.32, 0.33), wavelength_m=0.4)
    case = table.add("plain", "manmade", (0.12, 0.13, 0.13), wavelength_m=0.3)
    lamps = [
        table.add("plain", "manmade", c, wavelength_m=0.2) for c in ((0.2, 0.7, 0.4), (0.9, 0.7, 0.2), (0.9, 0.15, 0.1))
    ]
    parts = [cylinder(0.07, 3.6, metal, sides=8), box(0.28, 0.34, 0.98, case, z=2.6, x=-0.15)]
    parts += [box(0.04, 0.2, 0.2, lamp, z=2.68 + 0.3 * k, x=-0.30) for k, lamp in enumerate(lamps)]
    return centred("static.manmade", parts, recentre=False)


def barrier(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a piece of road barrier: a concrete one or a striped plastic one."""
    if rng.random() < 0.5:
        colour = table.add("plain", "barrier", (0.76, 0.74, 0.70), wavelength_m=0.8)
    else:
        colour = table.add("stripes", "barrier", (0.86, 0.20, 0.12), (0.94, 0.92, 0.88), parameters=(0.8, 0.4, 0.0))
    # A foot and a blade, swept across y and then turned to lie along x.
    foot = [(-0.30, 0.0), (0.30, 0.0), (0.26, 0.20), (-0.26, 0.20)]
    blade = [(-0.17, 0.20), (0.17, 0.20), (0.09, 0.90), (-0.09, 0.90)]
    parts = [extrusion(profile, 1.9, colour).moved(yaw_rad=np.pi / 2) for profile in (foot, blade)]
    return centred("movable_object.barrier", parts)


def cone(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a traffic cone with white bands."""
    height = rng.uniform(0.68, 0.82)
    orange = table.add("stripes", "traffic_cone", (0.94, 0.94, 0.92), (0.95, 0.38, 0.08), parameters=(0.34, 0.12, 2.0))
    foot = table.add("plain", "traffic_cone", (0.30, 0.20, 0.15), wavelength_m=0.3)
    parts = [box(0.42, 0.42, 0.06, foot), cylinder(0.17, height - 0.06, orange, z=0.06, sides=10, top_radius=0.03)]
    return centred("movable_object.trafficcone", parts)


def bus_shelter(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a bus shelter; it opens towards -y."""
    metal = table.add("plain", "manmade", (0.42, 0.46, 0.48), wavelength_m=0.5)
    glass = table.add("stripes", "manmade", (0.62, 0.72, 0.76), (0.40, 0.52, 0.58), parameters=(1.3, 1.1, 0.0))
    poster = table.add(
        "plain", "manmade", pick(rng, ((0.9, 0.5, 0.2), (0.3, 0.6, 0.8))), wavelength_m=0.6, contrast=1.2
    )
    parts = [
        box(4.0, 0.06, 1.9, glass, z=0.3, y=0.6), box(4.2, 1.5, 0.12, metal, z=2.4, y=0.1),
        box(0.08, 1.1, 1.9, poster, z=0.3, x=-1.95, y=0.1), box(2.6, 0.4, 0.08, metal, z=0.45, y=0.3),
        *(box(0.1, 0.1, 2.4, metal, x=a * 1.95, y=b) for a in (-1, 1) for b in (0.58, -0.5)),
    ]  # fmt: skip
    return centred("static.manmade", parts, recentre=False)
