"""A small scene: a road, a wall, one car, two cameras."""

import numpy as np
import torch

from gsocc.labels import FREE, OCC3D_ID
from gsocc.structures import OccupancyLabels, VoxelGrid
from gsocc.structures.prediction import OccupancyPrediction

GRID = VoxelGrid((-4.0, -3.2, -1.0), (20, 16, 8), (0.4, 0.4, 0.4))
ROAD, CAR, WALL = (OCC3D_ID[name] for name in ("driveable_surface", "car", "manmade"))


def street() -> np.ndarray:
    """Return the true labels."""
    semantics = np.full(GRID.shape, FREE, np.uint8)
    semantics[:, :, 2] = ROAD
    semantics[:, 0, 3:7] = WALL
    semantics[14:18, 9:12, 3:6] = CAR
    return semantics


def truth(seen: np.ndarray | None = None) -> OccupancyLabels:
    """Return the labels, of which cameras saw everything unless told otherwise."""
    mask = torch.ones(GRID.shape, dtype=torch.bool) if seen is None else torch.from_numpy(seen)
    return OccupancyLabels(torch.from_numpy(street()), mask, mask)


def predicted(semantics: np.ndarray | None = None, **changes: object) -> OccupancyPrediction:
    """Return a prediction, the truth unless told otherwise, with depth and semantics in two cameras."""
    intrinsics = np.tile(np.array([[8.0, 0, 8], [0, 8, 4.5], [0, 0, 1]], np.float32), (2, 1, 1))
    ahead = np.eye(4, dtype=np.float32)
    ahead[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    ahead[:3, 3] = (1.7, 0.0, 1.5)
    behind = ahead.copy()
    behind[:2, :3] *= -1
    values: dict[str, object] = {
        "token": "0123456789abcdef",
        "scene": "scene-0001",
        "timestamp_s": 1.0,
        "grid": GRID,
        "semantics": street() if semantics is None else semantics,
        "camera_names": ("CAM_BACK", "CAM_FRONT"),
        "intrinsics": intrinsics,
        "cam_to_ego": np.stack([behind, ahead]),
        "image_size": (9, 16),
        "depth_m": np.linspace(1, 50, 2 * 9 * 16, dtype=np.float32).reshape(2, 9, 16),
        "semantic_images": np.full((2, 9, 16), ROAD, np.uint8),
    }
    return OccupancyPrediction(**(values | changes))  # type: ignore[arg-type]
