"""From ray hits to pixels: up to four samples each, every one coloured at its own point of the surface."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gsocc.kernels.arrays import F64, I32
from gsocc.kernels.world_ground import Ground, ground_class, ground_colour, sunlight
from gsocc.kernels.world_noise import clamp, fractal_noise
from gsocc.kernels.world_texture import KIND_GROUND, Rgb, mix, surface_colour

AMBIENT, SUN = 0.62, 0.42
VEGETATION = 16
# Columns of the object table: position and heading in the ego frame, direction to the sun in the object's frame.
OBJECT_X, OBJECT_Y, OBJECT_COS, OBJECT_SIN, SUN_X, SUN_Y, SUN_Z = range(7)
OBJECT_COLUMNS = 7


class Surfaces(NamedTuple):
    """The triangles of an instant in the ego frame, and what decides their colour.

    Attributes:
        corners: (T, 3) one corner of each.
        normals: (T, 3) unit normals.
        owners: (T,) row in `objects`.
        looks: (T,) row in `materials`.
        materials: (M, MATERIAL_COLUMNS) the material table.
        objects: (N, OBJECT_COLUMNS) the object table.
        pose: x, y, cos and sin of the heading of the ego in the scene's local frame.
        ground: The ground of the scene.
    """

    corners: F64
    normals: F64
    owners: I32
    looks: I32
    materials: F64
    objects: F64
    pose: F64
    ground: Ground


@njit(cache=True, nogil=True)
def sky_colour(x: float, y: float, z: float, seed: int) -> Rgb:
    """Return the colour of the sky in a direction of the scene's local frame: a gradient with faint clouds."""
    up = z / math.sqrt(x * x + y * y + z * z)
    height = clamp(up / 0.5, 0.0, 1.0)
    base = mix((0.80, 0.86, 0.92), (0.42, 0.60, 0.85), math.sqrt(height))
    scale = 1.0 / max(up + 0.25, 0.1)  # clouds lie in a layer
    cloud = fractal_noise(x * scale, y * scale, 0.5, 1.2, 3, 0.02, seed)
    return mix(base, (0.97, 0.97, 0.98), clamp(0.25 + 0.6 * cloud, 0.0, 0.6) * height)


@njit(cache=True, nogil=True)
def _light_on_object(class_id: float, z: float, nx: float, ny: float, nz: float, facing: float) -> float:
    """Return diffuse light that is fixed to the object: sun, sky, and a darker foot where it meets the ground."""
    # Light goes around the curve of foliage, which is no hard surface.
    direct = 0.4 + 0.45 * facing if class_id == VEGETATION else max(facing, 0.0)
    foot = 0.72 + 0.28 * clamp(z / 0.8, 0.0, 1.0)
    return (AMBIENT + 0.10 * nz + SUN * direct) * foot


@njit(cache=True, nogil=True, inline="always")
def shade_point(point: tuple[float, float, float], triangle: int, surfaces: Surfaces, width_m: float) -> Rgb:
    """Return the lit colour of a point (ego frame) on a triangle, averaged over `width_m`."""
    px, py, pz = point
    look = surfaces.looks[triangle]
    if int(surfaces.materials[look, 0]) == KIND_GROUND:
        pose = surfaces.pose
        x = pose[0] + pose[2] * px - pose[3] * py
        y = pose[1] + pose[3] * px + pose[2] * py
        light = AMBIENT + 0.08 + SUN * 0.8 * sunlight(surfaces.ground, x, y)
        colour = ground_colour(surfaces.ground, x, y, width_m)
        return (colour[0] * light, colour[1] * light, colour[2] * light)
    row = surfaces.objects[surfaces.owners[triangle]]
    cos, sin = row[OBJECT_COS], row[OBJECT_SIN]
    dx, dy = px - row[OBJECT_X], py - row[OBJECT_Y]
    ex, ey, nz = surfaces.normals[triangle, 0], surfaces.normals[triangle, 1], surfaces.normals[triangle, 2]
    nx, ny = cos * ex + sin * ey, -sin * ex + cos * ey
    colour = surface_colour(
        surfaces.materials[look], cos * dx + sin * dy, -sin * dx + cos * dy, pz, nx, ny, nz, width_m
    )
    facing = nx * row[SUN_X] + ny * row[SUN_Y] + nz * row[SUN_Z]
    light = _light_on_object(surfaces.materials[look, 1], pz, nx, ny, nz, facing)
    return (colour[0] * light, colour[1] * light, colour[2] * light)


@njit(cache=True, nogil=True)
def _samples(normal: F64, rotation: F64, a: float, b: float) -> int:
    """Return how many samples a pixel inside a surface needs: two where its footprint is long and thin."""
    dot, length = 0.0, 1.0 + a * a + b * b
    for axis in range(3):
        dot += normal[axis] * (rotation[axis, 0] * a + rotation[axis, 1] * b + rotation[axis, 2])
    return 1 if dot * dot > 0.25 * length else 2


@njit(cache=True, nogil=True)
def _place(sample: int, samples: int, flat: bool) -> tuple[float, float]:
    """Return where in the pixel a sample lies: in the middle, on one of its axes, or in a quarter."""
    if samples == 4:
        return 0.25 + 0.5 * (sample % 2), 0.25 + 0.5 * (sample // 2)
    if samples == 1:
        return 0.5, 0.5
    # The footprint on a flat ground is long down the image, that on an upright wall across it.
    return (0.5, 0.25 + 0.5 * sample) if flat else (0.25 + 0.5 * sample, 0.5)


@njit(cache=True, nogil=True)
def shade_image(
    image: NDArray[np.uint8], depth: F64, triangle: I32, edge_row: I32, edge_depth: F64, edge_triangle: I32,
    origin: F64, rotation: F64, lens: F64, surfaces: Surfaces,
) -> None:  # fmt: skip
    """Fill an image with the mean colour of up to four samples per pixel.

    Where the pixel is no edge, the samples lie on the plane of the centre's triangle, which is exact within a
    triangle and costs no rays; a surface that faces the camera needs one sample only.

    Args:
        image: (H, W, 3) uint8, written to.
        depth: (H, W) depth along the optical axis at pixel centres; infinite for sky.
        triangle: (H, W) index of the triangle hit, -1 for sky.
        edge_row: (H, W) row of the pixel in the next two, or -1 for a pixel inside a surface.
        edge_depth: (E, 4) depth of the four samples.
        edge_triangle: (E, 4) triangle of the four samples, -1 for sky.
        origin: (3,) camera centre in the ego frame.
        rotation: (3, 3) of cam_to_ego.
        lens: fx, fy, cx, cy in pixels.
        surfaces: What is seen.
    """
    height, width = depth.shape
    pose, normals, corners = surfaces.pose, surfaces.normals, surfaces.corners
    for v in range(height):
        for u in range(width):
            row, hit = edge_row[v, u], triangle[v, u]
            samples = 4 if row >= 0 else 1
            if row < 0 and hit >= 0:
                samples = _samples(normals[hit], rotation, (u + 0.5 - lens[2]) / lens[0], (v + 0.5 - lens[3]) / lens[1])
            spread = 1.15 / math.sqrt(samples)
            red, green, blue = 0.0, 0.0, 0.0
            for k in range(samples):
                du, dv = _place(k, samples, samples == 2 and abs(normals[hit, 2]) > 0.7)
                a, b = (u + du - lens[2]) / lens[0], (v + dv - lens[3]) / lens[1]
                dx = rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2]
                dy = rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2]
                dz = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2]
                far = depth[v, u]
                if row >= 0:
                    hit, far = edge_triangle[row, k], edge_depth[row, k]
                if hit < 0:
                    x, y = pose[2] * dx - pose[3] * dy, pose[3] * dx + pose[2] * dy
                    colour = sky_colour(x, y, dz, surfaces.ground.seed)
                else:
                    slope = normals[hit, 0] * dx + normals[hit, 1] * dy + normals[hit, 2] * dz
                    if samples == 2:
                        gap = 0.0
                        for axis in range(3):
                            gap += normals[hit, axis] * (corners[hit, axis] - origin[axis])
                        far = clamp(gap / slope if abs(slope) > 1e-9 else far, 0.5 * far, 2.0 * far)
                    facing = abs(slope) / math.sqrt(dx * dx + dy * dy + dz * dz)
                    patch = far / lens[0] / math.sqrt(max(facing, 0.04)) * spread
                    point = (origin[0] + far * dx, origin[1] + far * dy, origin[2] + far * dz)
                    colour = shade_point(point, hit, surfaces, patch)
                red, green, blue = red + colour[0], green + colour[1], blue + colour[2]
            scale = 255.0 / samples
            image[v, u, 0] = np.uint8(clamp(red * scale + 0.5, 0.0, 255.0))
            image[v, u, 1] = np.uint8(clamp(green * scale + 0.5, 0.0, 255.0))
            image[v, u, 2] = np.uint8(clamp(blue * scale + 0.5, 0.0, 255.0))


@njit(cache=True, nogil=True)
def classify_hits(
    labels: NDArray[np.uint8], points: F64, triangle: I32, surfaces: Surfaces, miss: int
) -> None:  # fmt: skip
    """Write the Occ3D class of every hit.

    Args:
        labels: (N,) uint8, written to.
        points: (N, 3) hit points in the ego frame.
        triangle: (N,) triangle hit, -1 for none.
        surfaces: What was hit.
        miss: Label of a ray that hits nothing.
    """
    pose = surfaces.pose
    for i in range(labels.shape[0]):
        if triangle[i] < 0:
            labels[i] = miss
            continue
        look = surfaces.looks[triangle[i]]
        labels[i] = int(surfaces.materials[look, 1])
        if int(surfaces.materials[look, 0]) == KIND_GROUND:
            x = pose[0] + pose[2] * points[i, 0] - pose[3] * points[i, 1]
            y = pose[1] + pose[3] * points[i, 0] + pose[2] * points[i, 1]
            labels[i] = ground_class(surfaces.ground, x, y)
