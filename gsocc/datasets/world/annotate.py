"""Annotations: which objects get a box, how many LiDAR points hit them, how much of them the cameras see."""

import numpy as np

from gsocc.datasets.world.categories import GROUND_CATEGORY, LIDARSEG_INDEX
from gsocc.datasets.world.render import Scan
from gsocc.datasets.world.scene import Snapshot, WorldObject
from gsocc.datasets.world.sensors import Camera

ANNOTATION_RANGE_M = 60.0
PROBES = 48  # points of an object's surface that are looked for
THINGS = ("human.", "vehicle.", "movable_object.", "static_object.")


def annotated(item: WorldObject) -> bool:
    """Return whether an object gets boxes; houses and plants do not."""
    return item.blueprint.category.startswith(THINGS)


def annotation_counts(snapshot: Snapshot, scan: Scan, rig: tuple[Camera, ...]) -> dict[str, list[int]]:
    """Return [LiDAR points, visibility level 1..4] for every annotated object in range, by its row as a string.

    The level says how large a part of the object the six cameras see: below 40, 60, 80, or up to 100 percent.
    """
    near = np.hypot(snapshot.table[:, 0], snapshot.table[:, 1]) < ANNOTATION_RANGE_M
    rows = [k for k, item in enumerate(snapshot.scene.objects) if near[k] and annotated(item)]
    points = np.bincount(scan.owners[scan.owners >= 0], minlength=len(snapshot.scene.objects))
    seen = _visible_share(snapshot, rows, rig)
    levels = np.digitize(seen, [0.4, 0.6, 0.8]) + 1
    return {str(k): [int(points[k]), int(level)] for k, level in zip(rows, levels, strict=True)}


def _visible_share(snapshot: Snapshot, rows: list[int], rig: tuple[Camera, ...]) -> np.ndarray:
    """Return the share of each object's probes that some camera has in its image with nothing else before them."""
    if not rows:
        return np.zeros(0)
    probes = np.stack([_probes(snapshot, k) for k in rows])  # (R, P, 3)
    owners = np.repeat(rows, PROBES)
    flat = probes.reshape(-1, 3)
    visible = np.zeros(len(flat), bool)
    for camera in rig:
        centre = camera.cam_to_ego[:3, 3]
        local = (flat - centre) @ camera.cam_to_ego[:3, :3]
        depth = np.maximum(local[:, 2], 1e-6)
        fx, fy, cx, cy = camera.lens
        u, v = local[:, 0] / depth * fx + cx, local[:, 1] / depth * fy + cy
        height, width = camera.image_size
        inside = (local[:, 2] > 0.1) & (u > 0) & (u < width) & (v > 0) & (v < height)
        hits = snapshot.caster.cast(centre, flat[inside] - centre)
        visible[inside] |= snapshot.owners[hits.triangle] == owners[inside]
    return visible.reshape(len(rows), PROBES).mean(-1)


def _probes(snapshot: Snapshot, row: int) -> np.ndarray:
    """Return (PROBES, 3) points of an object's surface in the ego frame: triangle centres, evenly by area."""
    mesh = snapshot.scene.objects[row].blueprint.mesh
    corners = mesh.vertices[mesh.triangles]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    share = (np.arange(PROBES) + 0.5) / PROBES
    chosen = np.minimum(np.searchsorted(np.cumsum(area) / area.sum(), share), len(area) - 1)
    rng = np.random.default_rng(row)
    weights = rng.dirichlet((1.0, 1.0, 1.0), PROBES)
    local = (corners[chosen] * weights[..., None]).sum(1)
    x, y, c, s = snapshot.table[row, :4]
    return np.stack([x + c * local[:, 0] - s * local[:, 1], y + s * local[:, 0] + c * local[:, 1], local[:, 2]], -1)


def lidarseg_labels(scan: Scan, items: tuple[WorldObject, ...]) -> np.ndarray:
    """Return the nuScenes-lidarseg category index of every point, (N,) uint8."""
    of_object = np.array([LIDARSEG_INDEX[item.blueprint.category] for item in items] + [0], np.uint8)
    of_ground = np.zeros(256, np.uint8)
    for occ3d, category in GROUND_CATEGORY.items():
        of_ground[occ3d] = LIDARSEG_INDEX[category]
    return np.where(scan.owners >= 0, of_object[scan.owners], of_ground[scan.labels]).astype(np.uint8)
