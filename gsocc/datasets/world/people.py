"""People, standing, walking or riding."""

import numpy as np

from gsocc.datasets.world.blueprints import CLOTHES, PAINTS, SKIN, Blueprint, centred, pick
from gsocc.datasets.world.materials import MaterialTable
from gsocc.datasets.world.meshes import Mesh, box, cylinder, ellipsoid


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
    torso = ellipsoid(
        (0.15 * scale, 0.22 * scale, 0.38 * scale), coat, centre=(0.0, 0.0, 1.13 * scale), rings=6, sides=8
    )
    head = ellipsoid(
        (0.11 * scale, 0.10 * scale, 0.14 * scale), skin, centre=(0.0, 0.0, height - 0.14), rings=5, sides=8
    )
    return centred("human.pedestrian.adult", [*legs, *arms, torso, head])


def seated(rng: np.random.Generator, table: MaterialTable, class_name: str, *, x: float, seat_m: float) -> list[Mesh]:
    """Return the parts of a rider; nuScenes counts riders as part of their cycle.

    Args:
        rng: Source of randomness.
        table: Where materials go.
        class_name: Class of the cycle.
        x: Position of the seat.
        seat_m: Height of the seat.
    """
    coat = table.add("plain", class_name, pick(rng, CLOTHES), wavelength_m=0.5, contrast=0.7)
    trousers = table.add("plain", class_name, pick(rng, PAINTS[1:5]), wavelength_m=0.4)
    helmet = table.add("plain", class_name, pick(rng, PAINTS), wavelength_m=0.3)
    torso = ellipsoid((0.16, 0.21, 0.34), coat, centre=(0.0, 0.0, 0.0), rings=6, sides=8)
    return [
        torso.pitched(0.35).moved(x=x + 0.10, z=seat_m + 0.32),
        ellipsoid((0.13, 0.12, 0.15), helmet, centre=(x + 0.28, 0.0, seat_m + 0.76), rings=5, sides=8),
        *(box(0.50, 0.13, 0.14, trousers).pitched(0.5).moved(x=x + 0.22, y=s * 0.13, z=seat_m - 0.16) for s in (-1, 1)),
        *(box(0.12, 0.11, 0.50, trousers, x=x + 0.40, y=s * 0.13, z=seat_m - 0.68) for s in (-1, 1)),
        *(box(0.50, 0.08, 0.08, coat).pitched(0.3).moved(x=x + 0.40, y=s * 0.22, z=seat_m + 0.32) for s in (-1, 1)),
    ]
