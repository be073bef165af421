"""What is written once for a nuScenes root: the tables and the maps."""

import json
from pathlib import Path

import cv2
import numpy as np

from gsocc.datasets.world.frames import build_scene
from gsocc.datasets.world.spec import WorldSpec
from gsocc.datasets.world.tables import Counts, Tables
from gsocc.errors import DataError
from gsocc.kernels.world_ground import map_mask

MAP_CELL_M = 0.1  # what the devkit expects
MAP_COARSENESS = 5  # pixels of the map per sample of the ground


def write_tables(spec: WorldSpec, out: Path, counts: Counts) -> None:
    """Write the maps and the tables of a nuScenes root; its recordings are there already."""
    tables = Tables(spec)
    tables.add_fixed()
    for scene in range(spec.scenes):
        world = build_scene(spec, scene)
        map_file = f"maps/{spec.scene_name(scene)}.png"
        _write_map(out / map_file, map_mask(world.bare_ground, MAP_CELL_M * MAP_COARSENESS))
        tables.add_scene(scene, world, counts, map_file)
    folder = out / spec.version
    folder.mkdir(exist_ok=True)
    for name, rows in tables.rows.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0, allow_nan=False) + "\n")


def _write_map(path: Path, mask: np.ndarray) -> None:
    """Write a mask whose first axis is x and second y as a PNG with y upwards."""
    path.parent.mkdir(exist_ok=True)
    image = np.ascontiguousarray(mask.T[::-1]).repeat(MAP_COARSENESS, 0).repeat(MAP_COARSENESS, 1)
    done, data = cv2.imencode(".png", image)
    if not done:
        raise DataError(f"{path}: could not encode the map")
    path.write_bytes(data.tobytes())
