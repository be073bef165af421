"""Look at a DDAD root and say what is there, what is missing, corrupt or stale, and what brings it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gsocc.datasets.ddad import DdadDataset, depth_path, mask_path, semantic_path
from gsocc.datasets.ddad_index import VERSION
from gsocc.datasets.dgp_format import open_scene_dataset, split_names
from gsocc.datasets.health import Finding, inspect_derived, inspect_index, inspect_listed
from gsocc.datasets.image_cache import stale_copies
from gsocc.datasets.index import ALL_SCENES, SurroundIndex, default_index_path, rebuild_command
from gsocc.datasets.listing import some
from gsocc.errors import DataError


def inspect_ddad(root: Path, index: Path | None = None, *, frames: int = 4) -> list[Finding]:
    """Look at scene files, index, images, scans and derived files of a root.

    Args:
        root: The folder that holds `ddad.json` and the scenes.
        index: Index file; by default the one below the root.
        frames: How many key frames are read whole, evenly spread: a listing cannot see a file that was cut short.

    Raises:
        DataError: Where the root is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: the data root does not exist or is not a folder")
    path = index or default_index_path(root, VERSION)
    opened, finding = inspect_index(root, path, rebuild_command(root, VERSION, path, "ddad"))
    findings = [_scenes(root), finding]
    if opened is None:
        return findings
    files = _files(root, opened)
    findings += files
    if finding.good and frames > 0 and all(f.good for f in files):
        findings.append(_contents(root, path, opened, frames))
    return findings + _derived(root, opened) + _copies(root, opened)


def _scenes(root: Path) -> Finding:
    name, fix = "scene files", "unpack ddad_train_val.tar here again, see github.com/TRI-ML/DDAD"
    try:
        splits = {split: open_scene_dataset(root, split).scenes for split in split_names(root)}
    except DataError as error:
        return Finding(name, False, str(error), True, fix)
    files = [scene.path for scenes in splits.values() for scene in scenes]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        detail = f"{len(missing)} of {len(files)} missing: {some([str(file) for file in missing])}"
        return Finding(name, False, detail, True, fix)
    return Finding(name, True, ", ".join(f"{split} {len(scenes)}" for split, scenes in splits.items()), True)


def _files(root: Path, index: SurroundIndex) -> list[Finding]:
    kinds = {
        "images": (index.image_file, "copy the scenes' rgb folders again"),
        "LiDAR scans": (index.lidar_file[index.lidar_file != b""], "copy them, or index with --skip lidar"),
    }
    return inspect_listed(root, kinds)


def _contents(root: Path, path: Path, index: SurroundIndex, frames: int) -> Finding:
    """Read some key frames whole: images, and scans where the index has them."""
    parts = () if "lidar" in index.source.skipped else ("lidar_depth",)
    data = DdadDataset(
        root=root,
        index=path,
        split=ALL_SCENES,
        image_size=(48, 80),
        depth_size=(48, 80),
        frame_ids=(0,),
        parts=parts,
    )
    numbers = np.unique(np.linspace(0, len(data) - 1, frames).round().astype(int)).tolist()
    problems = []
    for number in numbers:
        try:
            data[number]
        except DataError as error:
            problems.append(str(error))
    name = "contents"
    if problems:
        detail = f"{len(problems)} of {len(numbers)} key frames cannot be read: {problems[0]}"
        return Finding(name, False, detail, True, "copy the files that are named again")
    return Finding(name, True, f"{len(numbers)} of {len(data)} key frames read whole", True)


def _copies(root: Path, index: SurroundIndex) -> list[Finding]:
    """Look at resized copies of the images, of every size that there is; none is needed."""
    findings = []
    for (height, width), (absent, old) in stale_copies(index, root, root / "image_cache").items():
        count, fix = len(index.image_file), f"gsocc index ddad {root} --cache {height}x{width}"
        detail = f"{absent} of {count} missing, {old} older than their images" if absent or old else f"{count} files"
        findings.append(Finding(f"copies at {height}x{width}", not (absent or old), detail, False, fix))
    return findings


def _derived(root: Path, index: SurroundIndex) -> list[Finding]:
    scenes = [index.scene_names[number].decode() for number in np.unique(index.sample_scene).tolist()]
    masks = (mask_path(Path("mask"), camera, scene) for scene in scenes for camera in index.cameras)
    images = [
        (index.scene(row), camera, index.image_file[image].decode())
        for row in range(len(index))
        for camera, image in zip(index.cameras, index.key_image[row].tolist(), strict=True)
    ]
    labels = (semantic_path(Path("ddad_semantic"), *image) for image in images)
    depth = (depth_path(Path("depth"), *image) for image in images)
    kinds: dict[str, tuple[Iterable[Path], str]] = {
        "self-occlusion masks": (masks, f"gsocc label masks ddad {root}"),
        "semantic labels": (labels, f"gsocc label semantics ddad {root} -c CONFIG (see docs/labels.md)"),
        "depth files": (depth, f"not needed (depth_from: lidar projects scans); gsocc label depth ddad {root}"),
    }
    return inspect_derived(root, kinds)
