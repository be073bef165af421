"""Voxels for other programs: one npz per key frame with all that is needed to place and name them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8

from gsocc.files import write_npz
from gsocc.labels import FREE, OCC3D_CLASSES, PALETTE
from gsocc.structures import ContractedGrid, VoxelGrid
from gsocc.structures.contracted_grid import expand

FORMAT = "gsocc-voxels/1"
NAMES = (*OCC3D_CLASSES, "free")

Axes = tuple[Float64[np.ndarray, " X1"], Float64[np.ndarray, " Y1"], Float64[np.ndarray, " Z1"]]


@dataclass(frozen=True)
class VoxelFrame:
    """Voxels of one key frame, on whichever grid.

    Attributes:
        token: The data set's id of the key frame.
        scene: Name of its scene.
        timestamp_s: Its time in seconds.
        grid: Where the voxels are, ego frame.
        semantics: Occ3D labels, 0..16 for the classes and 17 for free.
        occupancy: Probability that a voxel is solid.
        meta: What else JSON can hold of them.
    """

    token: str
    scene: str
    timestamp_s: float
    grid: VoxelGrid | ContractedGrid
    semantics: UInt8[np.ndarray, "X Y Z"]
    occupancy: Float[np.ndarray, "X Y Z"] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def edges_m(grid: VoxelGrid | ContractedGrid) -> Axes:
    """Return where voxels end along x, y and z, one number more than there are voxels, in metres.

    Voxel (i, j, k) spans [x_i, x_{i+1}], and so along y and z. The outermost voxels of a contracted grid have no end.
    """
    axes = []
    for axis, count in enumerate(grid.shape):
        low, high = grid.min_m[axis], grid.max_m[axis]
        at = np.arange(count + 1, dtype=np.float64)
        if isinstance(grid, VoxelGrid):
            axes.append(low + at * grid.voxel_m[axis])
            continue
        steps = grid.steps[axis]
        contracted = np.clip(2.0 * (at - 0.5 * (count - steps)) / steps - 1.0, -1.0, 1.0)
        ratio = expand(torch.from_numpy(contracted), grid.inner).numpy()
        axes.append(0.5 * (low + high) + 0.5 * (high - low) * ratio)
    x, y, z = axes
    return x, y, z


def centers_m(grid: VoxelGrid | ContractedGrid) -> Axes:
    """Return where voxels are centred along x, y and z, in metres."""
    points = grid.centers_m().double().numpy()
    return points[:, 0, 0, 0], points[0, :, 0, 1], points[0, 0, :, 2]


def write_voxels_npz(path: Path | str, frame: VoxelFrame) -> None:
    """Write voxels, whole or not at all.

    Arrays: `semantics` (X, Y, Z) uint8; `occupancy` (X, Y, Z) float32, where there are probabilities; `x_m`, `y_m`,
    `z_m`, the centres along each axis, and `x_edges_m` and so on, the faces between voxels, one more; `class_names` and
    `colors` (18, 3) uint8, by label; `meta`, a JSON string with format, token, scene, timestamp_s, frame and unit.

    Raises:
        ValueError: Where an array does not fit the grid.
        OutputError: Where the file cannot be written.
    """
    for name, array in (("semantics", frame.semantics), ("occupancy", frame.occupancy)):
        if array is not None and array.shape != tuple(frame.grid.shape):
            raise ValueError(f"{name} must have the shape of its grid, {frame.grid.shape}, got {array.shape}")
    header = {
        "format": FORMAT,
        "token": frame.token,
        "scene": frame.scene,
        "timestamp_s": frame.timestamp_s,
        "frame": "ego: x forward, y left, z up, metres",
        "free": FREE,
        "grid": "contracted" if isinstance(frame.grid, ContractedGrid) else "box",
        **frame.meta,
    }
    arrays = {
        "meta": np.array(json.dumps(header)),
        "semantics": frame.semantics,
        "class_names": np.array(NAMES),
        "colors": PALETTE,
    }
    for axis, centers, edges in zip("xyz", centers_m(frame.grid), edges_m(frame.grid), strict=True):
        arrays |= {f"{axis}_m": centers, f"{axis}_edges_m": edges}
    if frame.occupancy is not None:
        arrays["occupancy"] = frame.occupancy.astype(np.float32)
    write_npz(path, **arrays)
