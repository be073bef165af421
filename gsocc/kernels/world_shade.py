"""From ray hits to pixels: four samples each, every one coloured at its own point of the surface."""

import math

import numpy as np
from numba import njit

from gsocc.kernels.world_ground import ground_class, ground_colour, sunlight
from gsocc.kernels.world_noise import clamp, fractal_noise
from gsocc.kernels.world_texture import KIND_GROUND, mix, surface_colour

AMBIENT, SUN = 0.62, 0.42
# Columns of the object table: position and heading in the ego frame, direction to the sun in the object's frame.
OBJECT_X, OBJECT_Y, OBJECT_COS, OBJECT_SIN, SUN_X, SUN_Y, SUN_Z = range(7)
OBJECT_COLUMNS = 7


@njit(cache=True, nogil=True)
def sky_colour(x, y, z, seed):
    """Return the colour of the sky in a direction of the scene's local frame: a gradient with faint clouds."""
    up = z / math.sqrt(x * x + y * y + z * z)
    height = clamp(up / 0.5, 0.0, 1.0)
    base = mix((0.80, 0.86, 0.92), (0.42, 0.60, 0.85), math.sqrt(height))
    scale = 1.0 / max(up + 0.25, 0.1)  # clouds lie in a layer
    cloud = fractal_noise(x * scale, y * scale, 0.5, 1.2, 3, 0.02, seed)
    return mix(base, (0.97, 0.97, 0.98), clamp(0.25 + 0.6 * cloud, 0.0, 0.6) * height)


@njit(cache=True, nogil=True)
def _light_on_object(material_class, z, nx, ny, nz, row):
    """Diffuse light that is fixed to the object: sun, sky, and a darker foot where it meets the ground."""
    facing = max(nx * row[SUN_X] + ny * row[SUN_Y] + nz * row[SUN_Z], 0.0)
    foot = 0.72 + 0.28 * clamp(z / 0.8, 0.0, 1.0)
    return (AMBIENT + 0.10 * nz + SUN * facing) * foot


@njit(cache=True, nogil=True, inline="always")
def shade_point(px, py, pz, triangle, normals, tri_object, tri_material, materials, objects, ground, pose, width):
    """Return the lit colour of a point (ego frame) on a triangle, averaged over `width` metres.

    Args:
        px: Point in the ego frame (also py, pz).
        triangle: Index of the triangle that the point lies on.
        normals: (T, 3) unit normals in the ego frame.
        tri_object: (T,) row in `objects`.
        tri_material: (T,) row in `materials`.
        materials: The material table.
        objects: The object table.
        ground: The ground of the scene.
        pose: x, y, cos and sin of the heading of the ego in the scene's local frame.
        width: Footprint, in metres.
    """
    material = materials[tri_material[triangle]]
    if int(material[0]) == KIND_GROUND:
        x = pose[0] + pose[2] * px - pose[3] * py
        y = pose[1] + pose[3] * px + pose[2] * py
        light = AMBIENT + 0.08 + SUN * 0.8 * sunlight(ground, x, y)
        colour = ground_colour(ground, x, y, width)
        return (colour[0] * light, colour[1] * light, colour[2] * light)
    row = objects[tri_object[triangle]]
    dx, dy = px - row[OBJECT_X], py - row[OBJECT_Y]
    x = row[OBJECT_COS] * dx + row[OBJECT_SIN] * dy
    y = -row[OBJECT_SIN] * dx + row[OBJECT_COS] * dy
    ex, ey, nz = normals[triangle, 0], normals[triangle, 1], normals[triangle, 2]
    nx = row[OBJECT_COS] * ex + row[OBJECT_SIN] * ey
    ny = -row[OBJECT_SIN] * ex + row[OBJECT_COS] * ey
    colour = surface_colour(material, x, y, pz, nx, ny, nz, width)
    light = _light_on_object(material[1], pz, nx, ny, nz, row)
    return (colour[0] * light, colour[1] * light, colour[2] * light)


@njit(cache=True, nogil=True)
def _samples(normal, rotation, a, b):
    """Return how many samples a pixel inside a surface needs: four where its footprint is long and thin."""
    dot, length = 0.0, 1.0 + a * a + b * b
    for axis in range(3):
        dot += normal[axis] * (rotation[axis, 0] * a + rotation[axis, 1] * b + rotation[axis, 2])
    return 1 if dot * dot > 0.25 * length else 4


@njit(cache=True, nogil=True)
def shade_image(
    image, depth, triangle, edge_row, edge_depth, edge_triangle, origin, rotation, lens, corners, normals,
    tri_object, tri_material, materials, objects, ground, pose,
):  # fmt: skip
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
        corners: (T, 3) one corner of every triangle, ego frame.
        normals: (T, 3), tri_object, tri_material, materials, objects, ground, pose: see `shade_point`.
    """
    height, width = depth.shape
    for v in range(height):
        for u in range(width):
            row = edge_row[v, u]
            samples = 4
            if row < 0:
                hit = triangle[v, u]
                samples = 1
                if hit >= 0:
                    samples = _samples(
                        normals[hit], rotation, (u + 0.5 - lens[2]) / lens[0], (v + 0.5 - lens[3]) / lens[1]
                    )
            red, green, blue = 0.0, 0.0, 0.0
            for k in range(samples):
                du, dv = (0.25 + 0.5 * (k % 2), 0.25 + 0.5 * (k // 2)) if samples == 4 else (0.5, 0.5)
                a, b = (u + du - lens[2]) / lens[0], (v + dv - lens[3]) / lens[1]
                dx = rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2]
                dy = rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2]
                dz = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2]
                hit, far = triangle[v, u], depth[v, u]
                if row >= 0:
                    hit, far = edge_triangle[row, k], edge_depth[row, k]
                if hit < 0:
                    colour = sky_colour(pose[2] * dx - pose[3] * dy, pose[3] * dx + pose[2] * dy, dz, ground.seed)
                else:
                    slope = normals[hit, 0] * dx + normals[hit, 1] * dy + normals[hit, 2] * dz
                    if samples == 4 and row < 0:
                        gap = 0.0
                        for axis in range(3):
                            gap += normals[hit, axis] * (corners[hit, axis] - origin[axis])
                        far = clamp(gap / slope if abs(slope) > 1e-9 else far, 0.5 * far, 2.0 * far)
                    facing = abs(slope) / math.sqrt(dx * dx + dy * dy + dz * dz)
                    patch = far / lens[0] / math.sqrt(max(facing, 0.04)) * (0.6 if samples == 4 else 1.1)
                    colour = shade_point(
                        origin[0] + far * dx, origin[1] + far * dy, origin[2] + far * dz, hit, normals, tri_object,
                        tri_material, materials, objects, ground, pose, patch,
                    )  # fmt: skip
                red, green, blue = red + colour[0], green + colour[1], blue + colour[2]
            scale = 255.0 / samples
            image[v, u, 0] = np.uint8(clamp(red * scale + 0.5, 0.0, 255.0))
            image[v, u, 1] = np.uint8(clamp(green * scale + 0.5, 0.0, 255.0))
            image[v, u, 2] = np.uint8(clamp(blue * scale + 0.5, 0.0, 255.0))


@njit(cache=True, nogil=True)
def classify_hits(labels, points, triangle, tri_material, materials, ground, pose, miss):
    """Write the Occ3D class of every hit.

    Args:
        labels: (N,) uint8, written to.
        points: (N, 3) hit points in the ego frame.
        triangle: (N,) triangle hit, -1 for none.
        tri_material: (T,) row in `materials`.
        materials: The material table.
        ground: The ground of the scene.
        pose: x, y, cos and sin of the heading of the ego in the scene's local frame.
        miss: Label of a ray that hits nothing.
    """
    for i in range(labels.shape[0]):
        if triangle[i] < 0:
            labels[i] = miss
            continue
        material = materials[tri_material[triangle[i]]]
        labels[i] = int(material[1])
        if int(material[0]) == KIND_GROUND:
            x = pose[0] + pose[2] * points[i, 0] - pose[3] * points[i, 1]
            y = pose[1] + pose[3] * points[i, 0] + pose[2] * points[i, 1]
            labels[i] = ground_class(ground, x, y)
