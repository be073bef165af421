"""Pictures of a scene without a display or a GPU: rays into the same triangles that the window shows.

One sun with shadows, a sky that lights from above, darkened corners, thin voxel edges, a base plate with range rings;
averaged over several rays per pixel. The same scene gives the same bytes on the same machine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from gsocc.errors import MissingExtraError
from gsocc.viewer.mesh import Mesh
from gsocc.viewer.scene import SceneGeometry

_SUN = np.array([-0.45, 0.35, 0.82])
_SUN_COLOR = np.array([1.0, 0.96, 0.88]) * 0.85
_SKY_COLOR = np.array([0.80, 0.88, 1.0]) * 0.52
_BOUNCE_COLOR = np.array([1.0, 0.95, 0.88]) * 0.20
_PAGE = np.array([250, 251, 252]) / 255.0  # what the picture fades into, sRGB
_PLATE = np.array([226, 229, 233]) / 255.0
_RINGS_M = (10.0, 20.0, 30.0, 40.0)
_CHUNK = 400_000  # rays at a time: about 100 MB of temporaries


@dataclass(frozen=True)
class View:
    """A pinhole camera of the viewer.

    Attributes:
        eye_m: Where it is, ego frame.
        target_m: What it looks at.
        fov_deg: Vertical opening angle.
    """

    eye_m: tuple[float, float, float]
    target_m: tuple[float, float, float]
    fov_deg: float = 38.0

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Return right, down and forward in the ego frame, as rows."""
        forward = _unit(np.array(self.target_m) - np.array(self.eye_m))
        # Straight down, "up" in the picture is ahead of the car.
        up = np.array([1.0, 0.0, 0.0]) if abs(forward[2]) > 0.999 else np.array([0.0, 0.0, 1.0])
        right = _unit(np.cross(forward, up))
        return np.stack([right, np.cross(forward, right), forward])

    def ego_to_cam(self) -> Float[np.ndarray, "4 4"]:
        """Return the matrix that takes points of the ego frame to the viewer's camera (x right, y down, z forward)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes()
        matrix[:3, 3] = -self.axes() @ np.array(self.eye_m)
        return matrix


VIEWS: dict[str, View] = {
    "chase": View((-44.0, 0.0, 30.0), (3.0, 0.0, -2.0), 40.0),
    "corner": View((-46.0, 34.0, 42.0), (0.0, 0.0, -3.0), 40.0),
    "top": View((0.0, 0.0, 110.0), (0.0, 0.0, 0.0), 44.0),
}


def render(
    scene: SceneGeometry, view: View, image_size: tuple[int, int] = (900, 1600), samples: int = 2
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw a scene as an RGB picture.

    Args:
        scene: What is drawn.
        view: From where.
        image_size: (H, W).
        samples: Rays per pixel along each axis.

    Raises:
        MissingExtraError: Where Open3D is not installed or lacks a system library.
    """
    height, width = image_size
    tracer = _Tracer(scene)
    rays = _rays(view, (height * samples, width * samples))  # (h, w, 6)
    linear = np.empty((height * samples * width * samples, 3), np.float32)
    flat = rays.reshape(-1, 6)
    pixel_rad = 2 * np.tan(np.deg2rad(view.fov_deg) / 2) / (height * samples)
    for start in range(0, len(flat), _CHUNK):
        linear[start : start + _CHUNK] = tracer.shade(flat[start : start + _CHUNK], pixel_rad)
    blocks = linear.reshape(height, samples, width, samples, 3).mean((1, 3))
    return (_to_srgb(blocks) * 255 + 0.5).astype(np.uint8)


def _rays(view: View, image_size: tuple[int, int]) -> Float[np.ndarray, "h w 6"]:
    height, width = image_size
    right, down, forward = view.axes()
    focal = height / 2 / np.tan(np.deg2rad(view.fov_deg) / 2)
    u = (np.arange(width) + 0.5 - width / 2) / focal
    v = (np.arange(height) + 0.5 - height / 2) / focal
    directions = forward + u[None, :, None] * right + v[:, None, None] * down
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    eyes = np.broadcast_to(np.array(view.eye_m), directions.shape)
    return np.concatenate([eyes, directions], -1).astype(np.float32)


class _Tracer:
    def __init__(self, scene: SceneGeometry) -> None:
        self.o3d = import_open3d("pictures of scenes")
        self.mesh = scene.mesh()
        self.grid = scene.grid
        vertices = self.mesh.vertices if len(self.mesh.vertices) else np.zeros((3, 3), np.float32)
        triangles = self.mesh.triangles if len(self.mesh.triangles) else np.array([[0, 1, 2]], np.int32)
        self.plate_z = float(vertices[:, 2].min()) - 0.02
        self.scene = self.o3d.t.geometry.RaycastingScene()
        self.scene.add_triangles(
            self.o3d.core.Tensor(np.ascontiguousarray(vertices)),
            self.o3d.core.Tensor(np.ascontiguousarray(triangles.astype(np.uint32))),
        )
        self.base = _albedo(self.mesh)

    def shade(self, rays: Float[np.ndarray, "N 6"], pixel_rad: float) -> Float[np.ndarray, "N 3"]:
        """Return the linear colour that every ray sees."""
        hits = {k: v.numpy() for k, v in self.scene.cast_rays(self.o3d.core.Tensor(rays)).items()}
        distance = hits["t_hit"]
        on_mesh = np.isfinite(distance)
        out = np.tile(_to_linear(_PAGE), (len(rays), 1)).astype(np.float32)
        on_plate, plate_distance = self._plate(rays, on_mesh)
        if on_plate.any():
            out[on_plate] = self._shade_plate(rays[on_plate], plate_distance[on_plate], pixel_rad)
        if on_mesh.any():
            hits = {k: v[on_mesh] for k, v in hits.items()}
            out[on_mesh] = self._shade_mesh(rays[on_mesh], hits, pixel_rad)
        return out

    def _shade_mesh(
        self, rays: Float[np.ndarray, "N 6"], hits: dict[str, Any], pixel_rad: float
    ) -> Float[np.ndarray, "N 3"]:
        corners = self.mesh.triangles[hits["primitive_ids"].astype(np.int64)]  # (N, 3)
        u, v = hits["primitive_uvs"].T
        weights = np.stack([1 - u - v, u, v], 1)  # (N, 3)
        base = self.base[corners[:, 0]]  # the corners of a quad share their colour
        light = (self.mesh.light[corners] * weights).sum(1)
        uv = (self.mesh.uv[corners] * weights[..., None]).sum(1)
        normals = _facing(hits["primitive_normals"], rays)
        points = rays[:, :3] + rays[:, 3:] * hits["t_hit"][:, None]
        sun = self._sun(points, normals)
        color = base * (light[:, None] * _ambient(normals) + sun[:, None] * _SUN_COLOR)
        footprint = pixel_rad * hits["t_hit"] / self.grid.voxel_m[0]
        return color * (1 - 0.45 * _edge(uv, footprint))[:, None]

    def _sun(self, points: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
        to_sun = _unit(_SUN)
        lambert = np.clip(normals @ to_sun, 0, None)
        # Start off the surface, so that a face does not shade itself.
        origins = points + normals * 0.01
        rays = np.concatenate([origins, np.broadcast_to(to_sun, origins.shape)], 1).astype(np.float32)
        shaded = self.scene.test_occlusions(self.o3d.core.Tensor(rays)).numpy()
        return np.where(shaded, 0.0, lambert)

    def _plate(
        self, rays: Float[np.ndarray, "N 6"], on_mesh: Bool[np.ndarray, " N"]
    ) -> tuple[Bool[np.ndarray, " N"], Float[np.ndarray, " N"]]:
        falling = rays[:, 5] < -1e-4
        distance = np.where(falling, (self.plate_z - rays[:, 2]) / np.where(falling, rays[:, 5], -1.0), np.inf)
        return falling & (distance > 0) & ~on_mesh, distance

    def _shade_plate(
        self, rays: Float[np.ndarray, "N 6"], distance: Float[np.ndarray, " N"], pixel_rad: float
    ) -> Float[np.ndarray, "N 3"]:
        points = rays[:, :3] + rays[:, 3:] * distance[:, None]
        normals = np.broadcast_to(np.array([0.0, 0.0, 1.0]), points.shape)
        sun = self._sun(points, normals)
        color = _to_linear(_PLATE) * (_SKY_COLOR + sun[:, None] * _SUN_COLOR)
        radius = np.linalg.norm(points[:, :2], axis=1)
        # Seen at a slant a line covers more of the plate: keep it about a pixel wide, but never under 4 cm.
        half_width = np.maximum(0.04, 1.2 * pixel_rad * distance / np.clip(-rays[:, 5], 0.15, None))
        nearest = np.min(np.abs(radius[:, None] - np.array(_RINGS_M)), axis=1)
        ring = np.clip(1.5 - nearest / half_width, 0, 1) * 0.35
        color = color * (1 - ring)[:, None]
        reach = max(abs(self.grid.min_m[0]), self.grid.max_m[0])
        fade = np.clip((radius - reach) / (0.9 * reach), 0, 1)[:, None]
        fade = fade * fade * (3 - 2 * fade)
        return color * (1 - fade) + _to_linear(_PAGE) * fade


def baked_colors(mesh: Mesh) -> Float[np.ndarray, "N 3"]:
    """Return the sRGB colour 0..1 of every vertex as the sun and the sky light it, shadows left out."""
    a, b, c = (mesh.vertices[mesh.triangles[:, i]].astype(np.float64) for i in range(3))
    across = np.cross(b - a, c - a)  # (M, 3)
    normals = np.zeros_like(mesh.vertices, dtype=np.float64)
    for i in range(3):
        np.add.at(normals, mesh.triangles[:, i], across)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    sun = np.clip(normals @ _unit(_SUN), 0, None)[:, None]
    return _to_srgb(_albedo(mesh) * (mesh.light[:, None] * _ambient(normals) + sun * _SUN_COLOR))


def _albedo(mesh: Mesh) -> Float[np.ndarray, "N 3"]:
    """Return linear colours with a little white in them: black and deep purple would hide the shading."""
    return 0.94 * _to_linear(mesh.colors / 255.0) + 0.06


def _ambient(normals: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    up = normals[:, 2:]
    return _SKY_COLOR * (0.5 + 0.5 * up) + _BOUNCE_COLOR * (0.5 - 0.5 * up)


def _edge(uv: Float[np.ndarray, "N 2"], footprint: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Return how much of a pixel the edge line of a quad covers; lines fade where voxels shrink to pixels."""
    to_edge = np.minimum(uv, 1 - uv).min(1)
    width = np.maximum(0.025, footprint)
    return np.clip(1.5 - to_edge / width, 0, 1) * np.clip(0.2 / np.maximum(footprint, 1e-6), 0, 1) ** 0.5


def _facing(normals: Float[np.ndarray, "N 3"], rays: Float[np.ndarray, "N 6"]) -> Float[np.ndarray, "N 3"]:
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    away = (unit * rays[:, 3:]).sum(1) > 0
    return np.where(away[:, None], -unit, unit)


def _unit(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    return vector / np.linalg.norm(vector)


def _to_linear(srgb: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _to_srgb(linear: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def import_open3d(user: str) -> Any:
    """Import Open3D when `user` (named in the error) needs it.

    Raises:
        MissingExtraError: Where it is not installed or lacks a system library.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            f"{user}: Open3D is missing ({error}): pip install -c constraints.txt -e .[viewer], and on Debian or "
            "Ubuntu apt-get install libusb-1.0-0 libegl1 libgl1"
        ) from error
    return open3d
