"""Look at a nuScenes root and say what is there, what is missing, and what brings it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from gsocc.datasets.health import Finding, count_files, inspect_derived, inspect_index, inspect_listed
from gsocc.datasets.index import SurroundIndex, default_index_path, rebuild_command
from gsocc.datasets.listing import missing_files, some
from gsocc.datasets.nuscenes_index import CAMERAS, TABLES, map_files, table_versions
from gsocc.datasets.occ3d import occ3d_path
from gsocc.datasets.semantic_labels import semantic_path
from gsocc.errors import DataError


def inspect_nuscenes(root: Path, version: str | None = None, index: Path | None = None) -> list[Finding]:
    """Look at tables, index, files and labels of a root.

    Args:
        root: The data root.
        version: Folder of tables; by default the only one that is there.
        index: Index file; by default the one below the root.

    Raises:
        DataError: Where the root is no folder, or holds several versions and none is chosen.
    """
    if not root.is_dir():
        raise DataError(f"{root}: the data root does not exist or is not a folder")
    versions = table_versions(root)
    if version is None and len(versions) > 1:
        raise DataError(f"{root}: there are tables of {', '.join(versions)}; choose by --version")
    version = version or (versions[0] if versions else "v1.0-trainval")
    path = index or default_index_path(root, version)
    findings = [*_tables(root, version)]
    opened, finding = inspect_index(root, path, rebuild_command(root, version, path))
    findings.append(finding)
    if opened is None:
        return findings
    return findings + _files(root, opened) + _labels(root, opened)


def _tables(root: Path, version: str) -> list[Finding]:
    tables = root / version
    missing = missing_files(tables, (f"{name}.json" for name in TABLES))
    if missing:
        detail = f"{len(missing)} of {len(TABLES)} missing: {some(missing)}"
        return [Finding(f"tables {version}", False, detail, True, "copy the nuScenes metadata into the root")]
    found = Finding(f"tables {version}", True, f"{len(TABLES)} tables", True)
    try:
        maps = map_files(tables)
    except DataError as error:
        return [replace(found, good=False, detail=str(error), fix="copy the nuScenes metadata into the root")]
    return [found, count_files("maps", maps, missing_files(root, maps), True, "copy the maps folder into the root")]


def _files(root: Path, index: SurroundIndex) -> list[Finding]:
    is_key = np.zeros(len(index.image_file), dtype=bool)
    is_key[index.key_image] = True
    kinds = {
        "key-frame images": (index.image_file[is_key], "copy the samples folder into the root"),
        "sweep images": (index.image_file[~is_key], "copy the sweeps folder, or index with --skip sweeps"),
        "LiDAR scans": (index.lidar_file[index.lidar_file != b""], "copy them, or index with --skip lidar"),
    }
    return inspect_listed(root, kinds)


def _labels(root: Path, index: SurroundIndex) -> list[Finding]:
    images = [raw.decode() for raw in index.image_file[np.unique(index.key_image)].tolist()]
    keyed = [occ3d_path(Path("gts"), index.scene(row), index.token(row)) for row in range(len(index))]
    depth = (Path("depth") / PurePosixPath(name).with_suffix(".npy") for name in images)
    semantics = (semantic_path(Path("nuscenes_semantic"), name) for name in images)
    masks = (Path("self_masks") / f"{camera}_mask.png" for camera in CAMERAS)
    kinds: dict[str, tuple[Iterable[Path], str]] = {
        "Occ3D labels": (keyed, "download gts of Occ3D-nuScenes and unpack it as ROOT/gts (evaluation needs it)"),
        "semantic labels": (semantics, f"gsocc label semantics nuscenes {root} -c CONFIG (see docs/labels.md)"),
        "depth files": (depth, f"not needed (depth_from: lidar projects scans); gsocc label depth nuscenes {root}"),
        "self-occlusion masks": (masks, f"gsocc label masks nuscenes {root} (part self_mask needs them)"),
    }
    return inspect_derived(root, kinds)
