"""What stands and moves in the street: blueprints made of primitives, each with its materials."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gsocc.datasets.world.materials import Colour, MaterialTable
from gsocc.datasets.world.meshes import Mesh, box, bumpy_box, cylinder, ellipsoid, extrusion, join, wheel


@dataclass(frozen=True)
class Blueprint:
    """An object before it is placed.

    Attributes:
        category: nuScenes category of its annotation and of its LiDAR points.
        mesh: Its surface; the middle of its bounds in x and y is the origin.
    """

    category: str
    mesh: Mesh

    @property
    def size_m(self) -> tuple[float, float, float]:
        """Length, width and height of the bounds."""
        extent = np.ptp(self.mesh.vertices, axis=0)
        return float(extent[0]), float(extent[1]), float(self.mesh.vertices[:, 2].max())


Factory = Callable[[np.random.Generator, MaterialTable], Blueprint]

PAINTS: tuple[Colour, ...] = (
    (0.86, 0.86, 0.88), (0.62, 0.64, 0.68), (0.22, 0.23, 0.26), (0.72, 0.12, 0.10), (0.12, 0.28, 0.62),
    (0.90, 0.72, 0.16), (0.16, 0.42, 0.30), (0.52, 0.34, 0.22), (0.30, 0.50, 0.66), (0.80, 0.44, 0.14),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (*PAINTS, (0.75, 0.3, 0.5), (0.36, 0.24, 0.52), (0.88, 0.84, 0.72))
SKIN: tuple[Colour, ...] = ((0.88, 0.70, 0.58), (0.62, 0.44, 0.32), (0.42, 0.28, 0.20))


def pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: float = 0.06) -> Colour:
    """Return one of the colours, slightly changed."""
    r, g, b = np.clip(np.asarray(colours[rng.integers(len(colours))]) + rng.uniform(-spread, spread, 3), 0.03, 0.97)
    return float(r), float(g), float(b)


def tyre(table: MaterialTable, class_name: str) -> int:
    """Return the material of wheels and undercarriages."""
    return table.add("plain", class_name, (0.16, 0.16, 0.17), wavelength_m=0.3)


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
    wheels = [
        wheel(0.33, 0.22, rubber, x=sx * half * 0.62, y=sy * (width / 2 - 0.10)) for sx in (-1, 1) for sy in (-1, 1)
    ]
    floor = box(length * 0.9, width * 0.8, 0.25, rubber, z=0.15)
    shell = [extrusion(lower, width, body), extrusion(upper, width - 0.08, body, taper=0.14)]
    return _centred("vehicle.car", [*shell, floor, *wheels])


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
    parts += [wheel(0.45, 0.3, rubber, x=a, y=s * (half - 0.16)) for a in axles for s in (-1, 1)]
    return _centred("vehicle.truck", parts)


def pedestrian(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a standing or walking person: legs, torso, arms, head."""
    height = rng.uniform(1.58, 1.90)
    scale = height / 1.75
    coat = table.add("plain", "pedestrian", pick(rng, CLOTHES), wavelength_m=0.5, contrast=0.7)
    trousers = table.add("plain", "pedestrian", pick(rng, PAINTS[1:5] + PAINTS[7:8]), wavelength_m=0.4)
    skin = table.add("plain", "pedestrian", pick(rng, SKIN, 0.03), wavelength_m=0.2, contrast=0.3)
    stride = rng.uniform(0.05, 0.22)
    legs = [cylinder(0.09 * scale, 0.86 * scale, trousers, sides=6).moved(x=s * stride, y=s * 0.10) for s in (-1, 1)]
    arms = [
        cylinder(0.05 * scale, 0.62 * scale, coat, z=0.78 * scale, sides=6).moved(x=-s * stride * 0.7, y=s * 0.25)
        for s in (-1, 1)
    ]
    torso = ellipsoid((0.15 * scale, 0.22 * scale, 0.38 * scale), coat, centre=(0, 0, 1.13 * scale), rings=6, sides=8)
    head = ellipsoid((0.11 * scale, 0.10 * scale, 0.14 * scale), skin, centre=(0, 0, height - 0.14), rings=5, sides=8)
    return _centred("human.pedestrian.adult", [*legs, *arms, torso, head])


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
    wall = table.add("facade", "manmade", pick(rng, walls), wavelength_m=2.8, contrast=0.7, parameters=parameters)
    if height > 5.6 or rng.random() < 0.4:
        edge = table.add("plain", "manmade", (0.70, 0.68, 0.66), wavelength_m=0.8)
        parts = [
            box(length, depth, height - 0.25, wall),
            box(length + 0.3, depth + 0.3, 0.25, edge, z=height - 0.25),
        ]
        return _centred("static.manmade", parts)
    tiles: tuple[Colour, ...] = ((0.62, 0.28, 0.20), (0.40, 0.36, 0.36), (0.52, 0.36, 0.26))
    tile = table.add(
        "stripes", "manmade", pick(rng, tiles), (0.24, 0.18, 0.16), wavelength_m=1.5, parameters=(0.32, 0.07, 2.0)
    )
    eaves = min(storey + 0.1, height - 0.9)
    roof = extrusion([(-depth / 2 - 0.3, eaves), (depth / 2 + 0.3, eaves), (0.0, height)], length + 0.5, tile)
    return _centred("static.manmade", [box(length, depth, eaves, wall), roof.moved(yaw_rad=np.pi / 2)])


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
    return _centred("static.manmade", parts)


def hedge(rng: np.random.Generator, table: MaterialTable, length: float, height: float) -> Blueprint:
    """Build a clipped hedge."""
    leaf = table.add("plain", "vegetation", (0.40, 0.56, 0.18), (0.05, 0.12, 0.04), wavelength_m=1.0, contrast=1.1)
    body = bumpy_box(length, rng.uniform(0.9, 1.3), height, leaf, step_m=0.6, bumps_m=0.1, rng=rng)
    return _centred("static.vegetation", [body])


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
        parts.append(ellipsoid((size, size, size), leaf, centre=centre, rings=8, sides=12, bumps=0.12, rng=rng))
    return _centred("static.vegetation", parts, recentre=False)


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
    return _centred("static.manmade", parts, recentre=False)


def sign(rng: np.random.Generator, table: MaterialTable) -> Blueprint:
    """Build a road sign on a post; it faces -x."""
    metal = table.add("plain", "manmade", (0.60, 0.62, 0.64), wavelength_m=0.4)
    faces: tuple[Colour, ...] = ((0.80, 0.12, 0.10), (0.12, 0.30, 0.70), (0.90, 0.78, 0.16))
    face = table.add("stripes", "manmade", pick(rng, faces), (0.94, 0.94, 0.92), parameters=(0.5, 0.16, 2.0))
    parts = [cylinder(0.05, 2.9, metal, sides=6), box(0.05, 0.75, 0.75, face, z=2.1, x=-0.08)]
    return _centred("static.manmade", parts, recentre=False)


def _centred(category: str, parts: list[Mesh], recentre: bool = True) -> Blueprint:
    mesh = join(parts)
    if recentre:
        middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
        mesh = mesh.moved(x=-float(middle[0]), y=-float(middle[1]))
    return Blueprint(category, mesh)
