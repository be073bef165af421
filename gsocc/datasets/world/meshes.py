"""Triangle meshes of primitives. An object's frame: x forward, y left, z up, origin on the ground below its middle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Triangles with a material each.

    Attributes:
        vertices: (V, 3) float64, metres, in the object's frame.
        triangles: (T, 3) int64 rows of `vertices`, counter-clockwise seen from outside.
        materials: (T,) int64 rows of the scene's material table.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    materials: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw_rad: float = 0.0) -> "Mesh":
        """Return the mesh turned about z, then moved."""
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return Mesh(self.vertices @ turn.T + [x, y, z], self.triangles, self.materials)

    def pitched(self, pitch_rad: float) -> "Mesh":
        """Return the mesh turned about y; a positive angle lowers the front."""
        c, s = np.cos(pitch_rad), np.sin(pitch_rad)
        turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
        return Mesh(self.vertices @ turn.T, self.triangles, self.materials)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Put meshes of one frame together."""
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.triangles + k for m, k in zip(meshes, offsets, strict=True)]),
        np.concatenate([m.materials for m in meshes]),
    )


def box(
    length: float, width: float, height: float, material: int, *, z: float = 0.0, x: float = 0.0, y: float = 0.0
) -> Mesh:
    """Return a box that stands on height `z`, its middle above (x, y)."""
    return extrusion(
        [(-length / 2 + x, z), (length / 2 + x, z), (length / 2 + x, z + height), (-length / 2 + x, z + height)],
        width,
        material,
        y=y,
    )


def extrusion(
    profile: Sequence[tuple[float, float]], width: float, material: int, *, y: float = 0.0, taper: float = 0.0
) -> Mesh:
    """Sweep a convex side profile, (x, z) points counter-clockwise seen from the right, across the width.

    Args:
        profile: Corners of the profile.
        width: Extent along y.
        material: Row of the material table.
        y: Middle of the sweep.
        taper: How much narrower the highest corner is than the lowest, on each side.
    """
    p = np.asarray(profile, np.float64)
    n = len(p)
    low, high = p[:, 1].min(), p[:, 1].max()
    inset = taper * (p[:, 1] - low) / max(high - low, 1e-9)
    right = np.stack([p[:, 0], y - width / 2 + inset, p[:, 1]], -1)
    left = np.stack([p[:, 0], y + width / 2 - inset, p[:, 1]], -1)
    triangles = [(0, i, i + 1) for i in range(1, n - 1)]
    triangles += [(n, n + i + 1, n + i) for i in range(1, n - 1)]
    for i in range(n):
        j = (i + 1) % n
        triangles += [(i, n + i, n + j), (i, n + j, j)]
    return _mesh(np.concatenate([right, left]), triangles, material)


def cylinder(
    radius: float, height: float, material: int, *, z: float = 0.0, sides: int = 10, top_radius: float | None = None
) -> Mesh:
    """Return an upright cylinder, or a cone frustum where `top_radius` differs, with its caps."""
    top = radius if top_radius is None else top_radius
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    lower = np.concatenate([ring * radius, np.full((sides, 1), z)], -1)
    upper = np.concatenate([ring * top, np.full((sides, 1), z + height)], -1)
    triangles = [(0, i + 1, i) for i in range(1, sides - 1)]
    triangles += [(sides, sides + i, sides + i + 1) for i in range(1, sides - 1)]
    for i in range(sides):
        j = (i + 1) % sides
        triangles += [(i, j, sides + j), (i, sides + j, sides + i)]
    return _mesh(np.concatenate([lower, upper]), triangles, material)


def wheel(radius: float, width: float, material: int, *, x: float, y: float, sides: int = 12) -> Mesh:
    """Return a cylinder that lies on its side, touching the ground below (x, y)."""
    angle = np.arange(sides) * 2 * np.pi / sides
    profile = [(x + radius * np.cos(a), radius + radius * np.sin(a)) for a in angle]
    return extrusion(profile, width, material, y=y)


def ellipsoid(
    radii: tuple[float, float, float],
    material: int,
    *,
    centre: tuple[float, float, float],
    rings: int = 7,
    sides: int = 12,
    bumps: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Mesh:
    """Return an ellipsoid; `bumps` moves every corner in or out by up to that share of the radius."""
    polar = np.linspace(0, np.pi, rings + 1)[1:-1]
    around = np.arange(sides) * 2 * np.pi / sides
    a, b = np.meshgrid(polar, around, indexing="ij")
    body = np.stack([np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), -np.cos(a)], -1).reshape(-1, 3)
    unit = np.concatenate([[[0, 0, -1]], body, [[0, 0, 1]]])
    if bumps and rng is not None:
        unit = unit * (1 + bumps * rng.uniform(-1, 1, (len(unit), 1)))
    last = len(unit) - 1
    triangles = []
    for i in range(sides):
        j = (i + 1) % sides
        triangles += [(0, 1 + j, 1 + i), (last, last - sides + i, last - sides + j)]
        for r in range(rings - 2):
            k = 1 + r * sides
            triangles += [(k + i, k + j, k + sides + j), (k + i, k + sides + j, k + sides + i)]
    return _mesh(unit * np.asarray(radii) + np.asarray(centre), triangles, material)


def bumpy_box(
    length: float,
    width: float,
    height: float,
    material: int,
    *,
    step_m: float,
    bumps_m: float,
    rng: np.random.Generator,
) -> Mesh:
    """Return a box whose faces are grids with displaced corners, as a clipped hedge."""
    nx, ny, nz = (max(round(v / step_m), 1) for v in (length, width, height))
    lattice = rng.uniform(-bumps_m, bumps_m, (nx + 1, ny + 1, nz + 1, 3))
    lattice[:, :, 0, 2] = 0.0  # the foot stays on the ground
    axes = np.meshgrid(
        np.linspace(-length / 2, length / 2, nx + 1),
        np.linspace(-width / 2, width / 2, ny + 1),
        np.linspace(0, height, nz + 1),
        indexing="ij",
    )
    lattice = lattice + np.stack(axes, -1)
    sheets = [
        (lattice[:, 0], False),
        (lattice[:, -1], True),
        (lattice[0], True),
        (lattice[-1], False),
        (lattice[:, :, -1], False),
    ]
    return join([_sheet(points, flip, material) for points, flip in sheets])


def _sheet(points: np.ndarray, flip: bool, material: int) -> Mesh:
    """Return a grid of quads; `flip` turns its outside round."""
    rows, columns = points.shape[:2]
    i, j = (k.ravel() for k in np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij"))
    a = i * columns + j
    quads = np.stack([a, a + columns, a + columns + 1, a + 1], -1)
    if flip:
        quads = quads[:, ::-1]
    return _mesh(points.reshape(-1, 3), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), material)


def _mesh(vertices: np.ndarray, triangles: Sequence | np.ndarray, material: int) -> Mesh:
    index = np.asarray(triangles, np.int64)
    return Mesh(np.asarray(vertices, np.float64), index, np.full(len(index), material, np.int64))
