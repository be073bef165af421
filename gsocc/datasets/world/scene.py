"""A scene: the street, what stands and moves in it, and its state at one instant seen from the ego."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gsocc.datasets.world.blueprints import Blueprint
from gsocc.datasets.world.ground import with_shadows
from gsocc.datasets.world.raycast import Hits, RayCaster
from gsocc.datasets.world.roads import Course, Motion
from gsocc.kernels.world_ground import Ground
from gsocc.kernels.world_shade import OBJECT_COLUMNS, Surfaces, classify_hits
from gsocc.labels import FREE

REACH_M = 130.0  # what a snapshot holds, where nothing else is asked for
GROUND_REACH_M = 220.0


@dataclass(frozen=True)
class WorldObject:
    """Something placed in a scene.

    Attributes:
        blueprint: Its surface and category.
        pose: x, y and heading in the scene's local frame, or a motion along a course.
        attribute: nuScenes attribute, empty for static structures.
    """

    blueprint: Blueprint
    pose: tuple[float, float, float] | Motion
    attribute: str = ""

    @property
    def moves(self) -> bool:
        """Whether the pose depends on time."""
        return isinstance(self.pose, Motion)

    def pose_at(self, time_s: float) -> np.ndarray:
        """Return x, y and heading in the scene's local frame."""
        return self.pose.pose(time_s) if isinstance(self.pose, Motion) else np.asarray(self.pose, np.float64)


@dataclass(frozen=True)
class WorldScene:
    """A street and a drive through it.

    Attributes:
        ego: The ego's motion.
        objects: Everything but the ground.
        materials: The material table.
        main: The course of the main road.
        bare_ground: The ground plane z = 0, without shadows.
        sun: (3,) unit vector towards the sun in the scene's local frame.
    """

    ego: Motion
    objects: tuple[WorldObject, ...]
    materials: np.ndarray
    main: Course
    bare_ground: Ground
    sun: np.ndarray

    @cached_property
    def ground(self) -> Ground:
        """The ground with the shadows of everything that never moves."""
        return with_shadows(self.bare_ground, self.main, self._static.vertices, self._static.triangles, self.sun)

    @cached_property
    def _static(self) -> "_Static":
        return _Static.build([(k, o) for k, o in enumerate(self.objects) if not o.moves])

    def snapshot(self, time_s: float, reach_m: float = REACH_M, ground_reach_m: float = GROUND_REACH_M) -> "Snapshot":
        """Return the state at a time, in the ego frame of that time.

        Args:
            time_s: Since the beginning of the scene.
            reach_m: Objects farther from the ego than this are left out.
            ground_reach_m: Half the edge of the square of ground around the ego.
        """
        ego = self.ego.pose(time_s)
        poses = np.stack([o.pose_at(time_s) for o in self.objects])
        near = np.hypot(poses[:, 0] - ego[0], poses[:, 1] - ego[1]) < reach_m
        vertices, triangles, owners, materials = self._static.within(near)
        parts = [(vertices, triangles, owners, materials)]
        for k, item in enumerate(self.objects):
            if item.moves and near[k]:
                mesh = item.blueprint.mesh.moved(x=poses[k, 0], y=poses[k, 1], yaw_rad=poses[k, 2])
                parts.append((mesh.vertices, mesh.triangles, np.full(len(mesh.triangles), k), mesh.materials))
        offsets = np.cumsum([0] + [len(p[0]) for p in parts])
        c, s = np.cos(ego[2]), np.sin(ego[2])
        local = np.concatenate([p[0] for p in parts]) - [ego[0], ego[1], 0.0]
        local = local @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        r = ground_reach_m
        plane = np.array([[-r, -r, 0.0], [r, -r, 0.0], [r, r, 0.0], [-r, r, 0.0]])
        ground = np.array([[0, 1, 2], [0, 2, 3]]) + offsets[-1]
        return Snapshot(
            scene=self,
            pose=np.array([ego[0], ego[1], c, s]),
            vertices=np.concatenate([local, plane]),
            triangles=np.concatenate([*(p[1] + k for p, k in zip(parts, offsets[:-1], strict=True)), ground]),
            owners=np.concatenate([*(p[2] for p in parts), [-1, -1]]).astype(np.int32),
            materials=np.concatenate([*(p[3] for p in parts), [0, 0]]).astype(np.int32),
            table=self._object_table(poses, ego),
        )

    def _object_table(self, poses: np.ndarray, ego: np.ndarray) -> np.ndarray:
        """Return (N, OBJECT_COLUMNS): pose in the ego frame, and the sun in the object's own frame at time 0."""
        c, s = np.cos(ego[2]), np.sin(ego[2])
        dx, dy = poses[:, 0] - ego[0], poses[:, 1] - ego[1]
        heading = poses[:, 2] - ego[2]
        # The light on a mover stays with it: a surface keeps its colour while the object turns.
        initial = np.array([o.pose_at(0.0)[2] for o in self.objects])
        table = np.empty((len(poses), OBJECT_COLUMNS))
        table[:, 0], table[:, 1] = c * dx + s * dy, -s * dx + c * dy
        table[:, 2], table[:, 3] = np.cos(heading), np.sin(heading)
        table[:, 4] = np.cos(initial) * self.sun[0] + np.sin(initial) * self.sun[1]
        table[:, 5] = -np.sin(initial) * self.sun[0] + np.cos(initial) * self.sun[1]
        table[:, 6] = self.sun[2]
        return table


@dataclass(frozen=True)
class Snapshot:
    """A scene at one instant in the ego frame.

    Attributes:
        scene: The scene.
        pose: (4,) x, y, cos and sin of the heading of the ego in the scene's local frame.
        vertices: (V, 3) corners, the last four being those of the ground plane.
        triangles: (T, 3) rows of `vertices`; the last two are the ground.
        owners: (T,) int32 row in `scene.objects`; -1 for the ground.
        materials: (T,) int32 rows of the material table.
        table: (N, OBJECT_COLUMNS) object table for the shading kernels.
    """

    scene: WorldScene
    pose: np.ndarray
    vertices: np.ndarray
    triangles: np.ndarray
    owners: np.ndarray
    materials: np.ndarray
    table: np.ndarray

    def without(self, row: int) -> "Snapshot":
        """Return the same instant without one object."""
        keep = self.owners != row
        return replace(self, triangles=self.triangles[keep], owners=self.owners[keep], materials=self.materials[keep])

    @cached_property
    def caster(self) -> RayCaster:
        """The ray caster over everything, ground included."""
        return RayCaster(self.vertices, self.triangles)

    @cached_property
    def corners(self) -> np.ndarray:
        """(T, 3, 3) corners of the triangles."""
        return self.vertices[self.triangles]

    @cached_property
    def normals(self) -> np.ndarray:
        """(T, 3) unit normals, outwards."""
        corners = self.corners
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return cross / np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-12)

    @cached_property
    def surfaces(self) -> Surfaces:
        """Everything that decides the colours, as the shading kernels take it."""
        return Surfaces(
            np.ascontiguousarray(self.corners[:, 0]), self.normals, self.owners, self.materials,
            self.scene.materials, self.table, self.pose, self.scene.ground,
        )  # fmt: skip

    def classes_of(self, points_ego: np.ndarray, hits: Hits) -> np.ndarray:
        """Return the Occ3D class of hits, (N,) uint8; sky is 17."""
        labels = np.empty(len(hits.triangle), np.uint8)
        classify_hits(labels, points_ego, hits.triangle, self.surfaces, FREE)
        return labels


@dataclass(frozen=True)
class _Static:
    """All static objects as one mesh in the scene's local frame."""

    vertices: np.ndarray
    triangles: np.ndarray
    owners: np.ndarray
    materials: np.ndarray

    @staticmethod
    def build(items: list[tuple[int, WorldObject]]) -> "_Static":
        meshes = []
        for _, item in items:
            x, y, yaw = item.pose_at(0.0)
            meshes.append(item.blueprint.mesh.moved(x=x, y=y, yaw_rad=yaw))
        offsets = np.cumsum([0] + [len(m.vertices) for m in meshes])
        return _Static(
            np.concatenate([m.vertices for m in meshes]),
            np.concatenate([m.triangles + k for m, k in zip(meshes, offsets[:-1], strict=True)]),
            np.concatenate([np.full(len(m.triangles), k) for (k, _), m in zip(items, meshes, strict=True)]),
            np.concatenate([m.materials for m in meshes]),
        )

    def within(self, near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        keep = near[self.owners]
        return self.vertices, self.triangles[keep], self.owners[keep], self.materials[keep]
