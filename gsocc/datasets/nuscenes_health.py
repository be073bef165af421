"""Look at a nuScenes root and say what is there, what is missing, and what brings it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from gsocc.datasets.index import SurroundIndex, changed_tables, default_index_path, read_index, rebuild_command
from gsocc.datasets.listing import missing_files, some
from gsocc.datasets.nuscenes_index import CAMERAS, TABLES, map_files, table_versions
from gsocc.datasets.occ3d import occ3d_path
from gsocc.datasets.semantic_labels import semantic_path
from gsocc.errors import DataError


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        name: What was looked for.
        good: Whether all of it is there.
        detail: What was found.
        required: Whether training is impossible without it.
        fix: What to run or copy; empty where all is well.
    """

    name: str
    good: bool
    detail: str
    required: bool
    fix: str = ""


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


def inspect_index(root: Path, path: Path, fix: str) -> tuple[SurroundIndex | None, Finding]:
    """Open an index, where that is possible, and say what is wrong with it.

    Args:
        root: The data root, whose tables it has to fit.
        path: The index file.
        fix: The command that builds it.
    """
    if not path.is_file():
        return None, Finding("index", False, f"no {path.name}; files and labels are looked for with it", True, fix)
    try:
        index = read_index(path)
    except DataError as error:
        return None, Finding("index", False, str(error), True, fix)
    if changes := changed_tables(index.source, root):
        return index, Finding("index", False, f"out of date: {'; '.join(changes)}", True, fix)
    counts = {name: int(scenes[index.sample_scene].sum()) for name, scenes in index.splits.items()}
    detail = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    skipped = f"; built without {', '.join(index.source.skipped)}" if index.source.skipped else ""
    return index, Finding("index", True, f"key frames: {detail}{skipped}", True)


def _files(root: Path, index: SurroundIndex) -> list[Finding]:
    is_key = np.zeros(len(index.image_file), dtype=bool)
    is_key[index.key_image] = True
    kinds = {
        "key-frame images": (index.image_file[is_key], "copy the samples folder into the root"),
        "sweep images": (index.image_file[~is_key], "copy the sweeps folder, or index with --skip sweeps"),
        "LiDAR scans": (index.lidar_file[index.lidar_file != b""], "copy them, or index with --skip lidar"),
    }
    findings = []
    for name, (raw, fix) in kinds.items():
        files = [file.decode() for file in raw.tolist()]
        if files:
            findings.append(count_files(name, files, missing_files(root, files), True, fix))
    return findings


def _labels(root: Path, index: SurroundIndex) -> list[Finding]:
    images = [raw.decode() for raw in index.image_file[np.unique(index.key_image)].tolist()]
    keyed = [occ3d_path(Path("gts"), index.scene(row), index.token(row)) for row in range(len(index))]
    depth = (Path("depth") / PurePosixPath(name).with_suffix(".npy") for name in images)
    semantics = (semantic_path(Path("nuscenes_semantic"), name) for name in images)
    masks = (Path("self_masks") / f"{camera}_mask.png" for camera in CAMERAS)
    sources: list[tuple[str, Iterable[Path], str]] = [
        ("Occ3D labels", keyed, "download gts of Occ3D-nuScenes and unpack it as ROOT/gts (evaluation needs it)"),
        ("semantic labels", semantics, f"gsocc label semantics nuscenes {root} -c CONFIG (see docs/labels.md)"),
        (
            "depth files",
            depth,
            f"not needed (depth_from: lidar projects scans); gsocc label depth nuscenes {root}",
        ),
        ("self-occlusion masks", masks, f"gsocc label masks nuscenes {root} (part self_mask needs them)"),
    ]
    findings = []
    for name, paths, fix in sources:
        files = [path.as_posix() for path in paths]
        findings.append(count_files(name, files, missing_files(root, files), False, fix))
    return findings


def count_files(name: str, files: list[str], missing: list[str], required: bool, fix: str) -> Finding:
    """Say how many of `files` are missing."""
    if not missing:
        return Finding(name, True, f"all {len(files)}", required)
    if len(missing) == len(files):
        return Finding(name, False, f"none of {len(files)}", required, fix)
    return Finding(name, False, f"{len(missing)} of {len(files)} missing: {some(missing)}", required, fix)
