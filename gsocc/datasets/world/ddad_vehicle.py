"""The car that carries DDAD's rig, as its own cameras see it: bonnet, roof and boot."""

from dataclasses import replace

import numpy as np

from gsocc.datasets.world.blueprints import Blueprint, centred
from gsocc.datasets.world.materials import MaterialTable
from gsocc.datasets.world.meshes import box, extrusion
from gsocc.datasets.world.scene import WorldObject, WorldScene


def with_own_car(scene: WorldScene, seed: list[int]) -> WorldScene:
    """Return the scene with the ego's own car as its last object; it casts no shadow, as no mover does."""
    table = MaterialTable(np.random.default_rng([*seed, 4]))
    car = _own_car(table)
    # The table's first row is the ground, which the scene has already.
    mesh = replace(car.mesh, materials=car.mesh.materials + len(scene.materials) - 1)
    return replace(
        scene,
        objects=(*scene.objects, WorldObject(replace(car, mesh=mesh), scene.ego)),
        materials=np.concatenate([scene.materials, table.array()[1:]]),
    )


def _own_car(table: MaterialTable) -> Blueprint:
    """Build a saloon in the vehicle frame, whose origin is on the ground below the rear axle.

    The front camera looks over the bonnet; the others see the tray below the cameras, the bonnet or the boot at the
    lower edge of their images.
    """
    paint = table.add("plain", "car", (0.62, 0.10, 0.08), (0.34, 0.05, 0.05), wavelength_m=0.5, contrast=0.7)
    dark = table.add("plain", "car", (0.16, 0.17, 0.20), (0.03, 0.03, 0.04), wavelength_m=0.35, contrast=0.8)
    body = [(-1.05, 0.3), (3.80, 0.25), (3.85, 0.60), (3.60, 0.74), (1.95, 0.96), (-0.95, 1.02), (-1.05, 0.9)]
    cabin = [(-0.75, 1.0), (1.95, 0.95), (1.15, 1.36), (-0.15, 1.36)]
    tray = box(2.15, 1.52, 0.06, dark, x=0.825, z=1.345)
    return centred(
        "vehicle.car",
        [extrusion(body, 1.84, paint, taper=0.08), extrusion(cabin, 1.62, dark, taper=0.10), tray],
        recentre=False,
    )
