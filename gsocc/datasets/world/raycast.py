"""Exact ray casting against triangles with Embree, through Open3D: the one place that imports open3d here."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from gsocc.errors import MissingExtraError


@dataclass(frozen=True)
class Hits:
    """What rays meet first.

    Attributes:
        distance: (...,) in units of the ray's direction vector; infinite where nothing is met. For directions whose
            component along the optical axis is one, this is the depth.
        triangle: (...,) int32 row of the triangle, -1 for none.
    """

    distance: np.ndarray
    triangle: np.ndarray


class RayCaster:
    """Triangles that rays can be cast at."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """Build the acceleration structure.

        Args:
            vertices: (V, 3) in metres; stored in single precision, so keep them near the origin.
            triangles: (T, 3) rows of `vertices`.
        """
        self._o3d = _open3d()
        # One thread each: worlds are made by processes side by side.
        self._scene = self._o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            self._o3d.core.Tensor(np.ascontiguousarray(vertices, np.float32)),
            self._o3d.core.Tensor(np.ascontiguousarray(triangles, np.uint32)),
        )

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> Hits:
        """Cast rays from one origin (3,) or one each (N, 3) along (N, 3) directions, which need not be unit."""
        rays = np.empty((len(directions), 6), np.float32)
        rays[:, :3], rays[:, 3:] = origin, directions
        answer = self._scene.cast_rays(self._o3d.core.Tensor(rays), nthreads=1)
        triangle = answer["primitive_ids"].numpy().astype(np.int64)
        distance = answer["t_hit"].numpy().astype(np.float64)
        return Hits(distance, np.where(np.isfinite(distance), triangle, -1).astype(np.int32))


def _open3d() -> ModuleType:
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            "the synthetic world casts rays with open3d, which could not be loaded "
            f"({error}); pip install -c constraints.txt -e .[world], and on Debian or Ubuntu "
            "apt-get install -y libusb-1.0-0 libegl1 libgl1"
        ) from error
    return open3d
