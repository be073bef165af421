"""What the sensors see of a snapshot: images with exact depth and classes, LiDAR scans, Occ3D labels."""

from dataclasses import dataclass

import numpy as np

from gsocc.datasets.world.raycast import Hits
from gsocc.datasets.world.scene import Snapshot
from gsocc.datasets.world.sensors import LIDAR_RANGE_M, Camera, lidar_rays, lidar_to_ego
from gsocc.kernels.world_shade import shade_image
from gsocc.kernels.world_voxels import add_ground_area, add_triangle_area, label_voxels, mark_seen
from gsocc.labels import FREE, GROUND_CLASSES

GRID_MIN_M = np.array([-40.0, -40.0, -1.0])
GRID_SHAPE = (200, 200, 16)
VOXEL_M = 0.4
GROUND_LAYER = 2  # z in [-0.2, 0.2]
SURFACE_SPACING_M = 0.06
LEAST_SURFACE_M2 = 0.02  # an eighth of a voxel's face
Rays = tuple[np.ndarray, np.ndarray]  # origin (3,) and directions (N, 3)
MASK_RAYS = (180, 320)  # rows and columns of the camera mask's rays: a voxel at 40 m is two rays wide


@dataclass(frozen=True)
class View:
    """One camera's view.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32 along the optical axis through pixel centres; 0 for sky.
        labels: (H, W) uint8 Occ3D classes through pixel centres; 17 for sky.
        owners: (H, W) int32 object through pixel centres; -1 for ground and sky.
    """

    image: np.ndarray
    depth_m: np.ndarray
    labels: np.ndarray
    owners: np.ndarray


@dataclass(frozen=True)
class Scan:
    """One turn of the LiDAR.

    Attributes:
        points_lidar: (N, 3) float32.
        intensity: (N,) float32 in 0..255.
        ring: (N,) float32.
        labels: (N,) uint8 Occ3D classes.
        owners: (N,) int32 object, -1 for the ground.
    """

    points_lidar: np.ndarray
    intensity: np.ndarray
    ring: np.ndarray
    labels: np.ndarray
    owners: np.ndarray


@dataclass(frozen=True)
class Echoes:
    """What the pulses of a LiDAR bring back.

    Attributes:
        ray: (N,) which of the pulses each echo belongs to.
        distance_m: (N,) float64.
        brightness: (N,) in 0..1.
        labels: (N,) uint8 Occ3D classes.
        owners: (N,) int32 object, -1 for the ground.
    """

    ray: np.ndarray
    distance_m: np.ndarray
    brightness: np.ndarray
    labels: np.ndarray
    owners: np.ndarray


def render_view(snapshot: Snapshot, camera: Camera) -> View:
    """Render one image with four samples per pixel; rays are cast four times only where something changes."""
    height, width = camera.image_size
    origin = camera.cam_to_ego[:3, 3]
    directions = camera.centre_rays()
    hits = snapshot.caster.cast(origin, directions)
    depth, triangle = hits.distance.reshape(height, width), hits.triangle.reshape(height, width)
    owners = np.where(triangle >= 0, snapshot.owners[triangle], -2)
    rows, columns = np.nonzero(_edges(triangle, owners, depth, snapshot.normals))
    offset = np.array([0.25, 0.75])
    u = (columns[:, None, None] + offset[None, None, :]).repeat(2, 1)  # (E, 2, 2)
    v = (rows[:, None, None] + offset[None, :, None]).repeat(2, 2)
    fine = snapshot.caster.cast(origin, camera.rays(u.ravel(), v.ravel()))
    edge_row = np.full((height, width), -1, np.int32)
    edge_row[rows, columns] = np.arange(len(rows))
    image = np.empty((height, width, 3), np.uint8)
    shade_image(
        image, depth, triangle, edge_row, fine.distance.reshape(-1, 4), fine.triangle.reshape(-1, 4), origin,
        np.ascontiguousarray(camera.cam_to_ego[:3, :3]), camera.lens, snapshot.surfaces,
    )  # fmt: skip
    seen = np.isfinite(hits.distance)
    points = origin + np.where(seen, hits.distance, 0.0)[:, None] * directions
    return View(
        image,
        np.where(np.isfinite(depth), depth, 0.0).astype(np.float32),
        snapshot.classes_of(points, hits).reshape(height, width),
        np.maximum(owners, -1).astype(np.int32),
    )


def scan_lidar(snapshot: Snapshot, noise_m: float = 0.0, rng: np.random.Generator | None = None) -> Scan:
    """Fire every beam once around; `noise_m` is the standard deviation of the range error."""
    mount = lidar_to_ego()
    rays, ring = lidar_rays()
    echoes = echoes_of(snapshot, mount[:3, 3], rays @ mount[:3, :3].T, LIDAR_RANGE_M, noise_m, rng)
    return Scan(
        (echoes.distance_m[:, None] * rays[echoes.ray]).astype(np.float32),
        np.round(100.0 * echoes.brightness).astype(np.float32),
        ring[echoes.ray].astype(np.float32),
        echoes.labels,
        echoes.owners,
    )


def echoes_of(
    snapshot: Snapshot, origin: np.ndarray, directions: np.ndarray, range_m: tuple[float, float],
    noise_m: float = 0.0, rng: np.random.Generator | None = None,
) -> Echoes:  # fmt: skip
    """Return what pulses along (N, 3) unit directions in the ego frame bring back from within a range.

    `noise_m` is the standard deviation of the range error.
    """
    hits = snapshot.caster.cast(origin, directions)
    keep = (hits.distance > range_m[0]) & (hits.distance < range_m[1])
    distance, triangle = hits.distance[keep], hits.triangle[keep]
    labels = snapshot.classes_of(origin + distance[:, None] * directions[keep], Hits(distance, triangle))
    albedo = snapshot.scene.materials[snapshot.materials[triangle], 5:8].mean(-1)
    facing = np.abs((snapshot.normals[triangle] * directions[keep]).sum(-1))
    if noise_m > 0.0 and rng is not None:
        distance = distance + rng.normal(0.0, noise_m, len(distance))
    return Echoes(np.flatnonzero(keep), distance, albedo * (0.3 + 0.7 * facing), labels, snapshot.owners[triangle])


def sparse_depth(scan: Scan, camera: Camera) -> np.ndarray:
    """Return (H, W) float32 depth of the LiDAR points in the image: the nearest of a pixel's points, 0 without any."""
    lidar_to_cam = np.linalg.inv(camera.cam_to_ego) @ lidar_to_ego()
    points = scan.points_lidar @ lidar_to_cam[:3, :3].T + lidar_to_cam[:3, 3]
    points = points[points[:, 2] > 0.1]
    fx, fy, cx, cy = camera.lens
    u = np.floor(points[:, 0] / points[:, 2] * fx + cx).astype(np.int64)
    v = np.floor(points[:, 1] / points[:, 2] * fy + cy).astype(np.int64)
    height, width = camera.image_size
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    image = np.full((height, width), np.inf, np.float32)
    np.minimum.at(image, (v[inside], u[inside]), points[inside, 2].astype(np.float32))
    image[np.isinf(image)] = 0.0
    return image


def occupancy_labels(snapshot: Snapshot, rig: tuple[Camera, ...]) -> dict[str, np.ndarray]:
    """Return Occ3D's `semantics`, `mask_lidar` and `mask_camera`, each (200, 200, 16) uint8, of the nuScenes rig."""
    mount = lidar_to_ego()
    lidar = [(mount[:3, 3].copy(), lidar_rays()[0] @ mount[:3, :3].T)]
    return voxel_labels(snapshot, {"mask_lidar": lidar, "mask_camera": [mask_rays(camera) for camera in rig]})


def mask_rays(camera: Camera) -> Rays:
    """Return the rays of a camera that decide which voxels it sees."""
    return camera.cam_to_ego[:3, 3].copy(), np.ascontiguousarray(camera.grid_rays(*MASK_RAYS))


def voxel_labels(snapshot: Snapshot, masks: dict[str, list[Rays]]) -> dict[str, np.ndarray]:
    """Return `semantics` and masks on the grid of Occ3D, each (200, 200, 16) uint8.

    A voxel is occupied where it holds at least `LEAST_SURFACE_M2` of surface, by the class with the most of it;
    insides of objects are free, as they are where LiDAR points are aggregated. A voxel is seen where a ray
    reaches it before it has passed through an occupied one.

    Args:
        snapshot: What the world is like, in the ego frame.
        masks: Rays by the name of the mask that they make: an origin (3,) and (N, 3) directions each.
    """
    class_of = np.unique(np.concatenate([snapshot.scene.materials[:, 1].astype(np.int64), GROUND_CLASSES]))
    column_of = np.searchsorted(class_of, np.arange(FREE))
    area = np.zeros((*GRID_SHAPE, len(class_of)), np.float32)
    corners = snapshot.corners[:-2]
    high = GRID_MIN_M + np.array(GRID_SHAPE) * VOXEL_M
    near = ((corners.max(1) > GRID_MIN_M) & (corners.min(1) < high)).all(-1)
    near &= corners[:, :, 2].max(1) > 1e-6  # the undersides of what stands on the ground are the ground's
    columns = column_of[snapshot.scene.materials[snapshot.materials[:-2][near], 1].astype(np.int64)]
    add_triangle_area(area, np.ascontiguousarray(corners[near]), columns, GRID_MIN_M, VOXEL_M, SURFACE_SPACING_M)
    add_ground_area(area, snapshot.scene.ground, snapshot.pose, column_of, GRID_MIN_M, VOXEL_M, GROUND_LAYER, 4)
    semantics = np.empty(GRID_SHAPE, np.uint8)
    label_voxels(semantics, area, class_of, LEAST_SURFACE_M2, FREE)
    seen = {name: np.zeros(GRID_SHAPE, np.uint8) for name in masks}
    for name, rays in masks.items():
        for origin, directions in rays:
            mark_seen(seen[name], semantics, origin, directions, GRID_MIN_M, VOXEL_M, FREE)
    return {"semantics": semantics, **seen}


def _edges(triangle: np.ndarray, owners: np.ndarray, depth: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return the pixels whose neighbours lie on another object, another face or another depth."""
    edge = np.zeros(triangle.shape, bool)
    facing = normals[triangle]
    for axis in (0, 1):
        a = tuple(slice(None, -1) if k == axis else slice(None) for k in range(2))
        b = tuple(slice(1, None) if k == axis else slice(None) for k in range(2))
        differ = owners[a] != owners[b]
        bent = (triangle[a] != triangle[b]) & ((facing[a] * facing[b]).sum(-1) < 0.995)
        with np.errstate(invalid="ignore"):
            jump = np.abs(depth[a] - depth[b]) > 0.3 * np.minimum(depth[a], depth[b])
        jump &= triangle[a] != triangle[b]
        change = differ | bent | jump
        edge[a] |= change
        edge[b] |= change
    return edge
