"""Triangle meshes of coloured voxels, a car and cameras; numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from gsocc.structures import VoxelGrid

# Per face direction: the axis of its normal, its sign, and the two axes that span it, ordered so that
# (span 0) x (span 1) points along the normal and every triangle is wound counter-clockwise seen from outside.
_FACES: tuple[tuple[int, int, int, int], ...] = (
    (0, 1, 1, 2),
    (0, -1, 2, 1),
    (1, 1, 2, 0),
    (1, -1, 0, 2),
    (2, 1, 0, 1),
    (2, -1, 1, 0),
)
_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])  # of a quad, in its span
_OPEN_CORNER_LIGHT = np.array([0.42, 0.62, 0.82, 1.0], dtype=np.float32)  # by how many of three neighbours are open


@dataclass(frozen=True)
class Mesh:
    """Triangles whose vertices are not shared between quads, so that colours and edges stay crisp.

    Attributes:
        vertices: Ego frame, metres.
        triangles: Vertex indices, counter-clockwise seen from outside.
        colors: RGB per vertex.
        light: Share of the sky that a vertex sees, 0..1: darkens the corners between voxels.
        uv: Position inside the quad, 0..1 along its edges; 0.5 where no edge is to be drawn.
    """

    vertices: Float[np.ndarray, "N 3"]
    triangles: Int[np.ndarray, "M 3"]
    colors: UInt8[np.ndarray, "N 3"]
    light: Float[np.ndarray, " N"]
    uv: Float[np.ndarray, "N 2"]


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """Join meshes into one; of none, an empty one."""
    if not meshes:
        return Mesh(
            np.zeros((0, 3), np.float32),
            np.zeros((0, 3), np.int32),
            np.zeros((0, 3), np.uint8),
            np.zeros(0, np.float32),
            np.zeros((0, 2), np.float32),
        )
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.triangles + o for m, o in zip(meshes, offsets, strict=True)]).astype(np.int32),
        np.concatenate([m.colors for m in meshes]),
        np.concatenate([m.light for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
    )


def voxel_mesh(colors: UInt8[np.ndarray, "X Y Z 3"], shown: Bool[np.ndarray, "X Y Z"], grid: VoxelGrid) -> Mesh:
    """Return the outer faces of the voxels that are shown: two of them that touch have no face in between."""
    solid = np.pad(shown, 1)
    return merge([_faces_along(direction, colors, shown, solid, grid) for direction in _FACES])


def _faces_along(
    direction: tuple[int, int, int, int],
    colors: UInt8[np.ndarray, "X Y Z 3"],
    shown: Bool[np.ndarray, "X Y Z"],
    solid: Bool[np.ndarray, "X2 Y2 Z2"],
    grid: VoxelGrid,
) -> Mesh:
    axis, sign, first, second = direction
    normal = np.zeros(3, dtype=np.int64)
    normal[axis] = sign
    at = np.argwhere(shown)  # (Q, 3)
    at = at[~_is_solid(solid, at + normal)]
    span = np.zeros((2, 3), dtype=np.int64)
    span[0, first] = span[1, second] = 1

    corners = at[:, None] + _CORNERS @ span + np.maximum(normal, 0)  # (Q, 4, 3), in voxels
    vertices = np.array(grid.min_m) + corners * np.array(grid.voxel_m)
    light = _corner_light(solid, at + normal, span)  # (Q, 4)

    # A quad's colour is interpolated over two triangles: cut along its brighter diagonal, so that one dark corner
    # does not bleed across the middle.
    cut_other = light[:, 0] + light[:, 2] < light[:, 1] + light[:, 3]
    pattern = np.where(cut_other[:, None], [[1, 2, 3, 1, 3, 0]], [[0, 1, 2, 0, 2, 3]])  # (Q, 6)
    triangles = (4 * np.arange(len(at))[:, None] + pattern).reshape(-1, 3)
    return Mesh(
        vertices.reshape(-1, 3).astype(np.float32),
        triangles.astype(np.int32),
        np.repeat(colors[tuple(at.T)], 4, axis=0),
        light.reshape(-1).astype(np.float32),
        np.tile(_CORNERS, (len(at), 1)).astype(np.float32),
    )


def _is_solid(solid: Bool[np.ndarray, "X2 Y2 Z2"], at: Int[np.ndarray, "*Q 3"]) -> Bool[np.ndarray, "*Q"]:
    """Look voxels up in the volume that is padded by one."""
    index = np.moveaxis(np.clip(at + 1, 0, np.array(solid.shape) - 1), -1, 0)
    return solid[tuple(index)]


def _corner_light(
    solid: Bool[np.ndarray, "X2 Y2 Z2"], outside: Int[np.ndarray, "Q 3"], span: Int[np.ndarray, "2 3"]
) -> Float[np.ndarray, "Q 4"]:
    """Return how much light reaches the corners of faces, from the three voxels that could shade each of them.

    Two neighbours along the edges close a corner whether the one across is there or not.
    """
    steps = 2 * _CORNERS - 1  # (4, 2), towards the corner
    side0 = _is_solid(solid, outside[:, None] + steps[:, :1] * span[0])
    side1 = _is_solid(solid, outside[:, None] + steps[:, 1:] * span[1])
    across = _is_solid(solid, outside[:, None] + steps @ span)
    is_open = 3 - (side0.astype(int) + side1 + across)
    return _OPEN_CORNER_LIGHT[np.where(side0 & side1, 0, is_open)]


def box(
    low_m: Sequence[float], high_m: Sequence[float], color: Sequence[int], top_inset_m: Sequence[float] = (0.0, 0.0)
) -> Mesh:
    """Return an axis-aligned box, whose top may be narrower by `top_inset_m` on each side along x and y."""
    low, high = np.asarray(low_m, dtype=np.float64), np.asarray(high_m, dtype=np.float64)
    quads = []
    for axis, sign, first, second in _FACES:
        corners = np.zeros((4, 3))
        corners[:, axis] = sign > 0
        corners[:, first], corners[:, second] = _CORNERS[:, 0], _CORNERS[:, 1]
        quads.append(corners)
    unit = np.concatenate(quads)  # (24, 3)
    vertices = low + unit * (high - low)
    inward = (1 - 2 * unit[:, :2]) * np.asarray(top_inset_m) * unit[:, 2:]
    vertices[:, :2] += inward
    n = len(vertices)
    triangles = (4 * np.arange(n // 4)[:, None] + np.array([[0, 1, 2, 0, 2, 3]])).reshape(-1, 3)
    return _plain(vertices, triangles, color)


def rod(start: Sequence[float], end: Sequence[float], thickness_m: float, color: Sequence[int]) -> Mesh:
    """Return a thin square rod between two points."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    helper = np.eye(3)[np.argmin(np.abs(along))]
    side = np.cross(along, helper)
    side /= np.linalg.norm(side)
    rotation = np.stack([side, np.cross(along, side), along], 1)  # columns: local x, y, z
    half = thickness_m / 2
    local = box((-half, -half, 0.0), (half, half, float(np.linalg.norm(b - a))), color)
    return _plain(local.vertices @ rotation.T + a, local.triangles, color)


def cylinder(center_m: Sequence[float], radius_m: float, width_m: float, color: Sequence[int], sides: int = 20) -> Mesh:
    """Return a cylinder whose axis lies along y: a wheel."""
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rim = np.stack([radius_m * np.cos(angle), np.zeros(sides), radius_m * np.sin(angle)], 1)
    half = np.array([0.0, width_m / 2, 0.0])
    hubs = np.stack([-half, half])
    vertices = np.concatenate([rim - half, rim + half, hubs]) + np.asarray(center_m)
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    left, right = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    triangles = np.concatenate(
        [
            np.stack([i, i + sides, j], 1),
            np.stack([j, i + sides, j + sides], 1),
            np.stack([left, i, j], 1),
            np.stack([right, j + sides, i + sides], 1),
        ]
    )
    return _plain(vertices, triangles, color)


def _plain(vertices: np.ndarray, triangles: np.ndarray, color: Sequence[int]) -> Mesh:
    n = len(vertices)
    return Mesh(
        vertices.astype(np.float32),
        triangles.astype(np.int32),
        np.tile(np.asarray(color, dtype=np.uint8), (n, 1)),
        np.ones(n, np.float32),
        np.full((n, 2), 0.5, np.float32),
    )
