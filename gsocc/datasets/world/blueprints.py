"""What a placed object is made from: surface, category, and the colours that objects choose from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gsocc.datasets.world.materials import Colour, MaterialTable
from gsocc.datasets.world.meshes import Mesh, join


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
TYRE: Colour = (0.16, 0.16, 0.17)
SKIN: tuple[Colour, ...] = ((0.88, 0.70, 0.58), (0.62, 0.44, 0.32), (0.42, 0.28, 0.20))


def pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: float = 0.06) -> Colour:
    """Return one of the colours, slightly changed."""
    r, g, b = np.clip(np.asarray(colours[rng.integers(len(colours))]) + rng.uniform(-spread, spread, 3), 0.03, 0.97)
    return float(r), float(g), float(b)


def tyre(table: MaterialTable, class_name: str) -> int:
    """Return the material of undercarriages."""
    return table.add("plain", class_name, TYRE, wavelength_m=0.3)


def centred(category: str, parts: list[Mesh], recentre: bool = True) -> Blueprint:
    """Join parts into a blueprint; unless told otherwise the middle of their bounds becomes the origin."""
    mesh = join(parts)
    if recentre:
        middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
        mesh = mesh.moved(x=-float(middle[0]), y=-float(middle[1]))
    return Blueprint(category, mesh)
