"""Look at a rig's folder and say what is there, what is missing or stale, and what brings it."""

from collections.abc import Iterable
from pathlib import Path

from gsocc.datasets.ddad import mask_path, semantic_path
from gsocc.datasets.health import Finding, inspect_derived, inspect_index, inspect_listed
from gsocc.datasets.index import SurroundIndex, default_index_path, rebuild_command
from gsocc.datasets.rig import SEMANTICS
from gsocc.datasets.rig_file import RIG_FILE, read_rig
from gsocc.datasets.rig_index import VERSION
from gsocc.errors import UserError


def inspect_rig(root: Path, index: Path | None = None) -> tuple[list[Finding], Path | None]:
    """Look at rig file, index, images, scans and derived files of a root.

    Args:
        root: The folder that holds `rig.yaml`.
        index: Index file; by default the one in the root.

    Returns:
        findings: What was found.
        index: The index, where it and all of its images are there, so that calibration can be checked.
    """
    try:
        rig = read_rig(root)
    except UserError as error:
        return [Finding("rig file", False, str(error), True, "see configs/rigs/example.yaml and docs/rigs.md")], None
    found = f"{len(rig.cameras)} cameras, {len(rig.scenes)} scenes"
    findings = [Finding("rig file", True, f"{RIG_FILE}: {found}", True)]
    path = index or default_index_path(root, VERSION)
    opened, finding = inspect_index(root, path, rebuild_command(root, VERSION, path, dataset="rig"))
    findings.append(finding)
    if opened is None or not finding.good:
        return findings, None
    files = _files(root, opened)
    findings += files
    return findings + _derived(root, opened), path if all(f.good for f in files) else None


def _files(root: Path, index: SurroundIndex) -> list[Finding]:
    kinds = {
        "images": (index.image_file, f"copy them again, or build the index again: gsocc index rig {root}"),
        "LiDAR scans": (index.lidar_file[index.lidar_file != b""], "copy them again, or leave lidar out of rig.yaml"),
    }
    return inspect_listed(root, kinds)


def _derived(root: Path, index: SurroundIndex) -> list[Finding]:
    scenes = [name.decode() for name in index.scene_names.tolist()]
    masks = [mask_path(Path("mask"), camera, scene) for scene in scenes for camera in index.cameras]
    labels = [
        semantic_path(Path(SEMANTICS), index.scene(row), camera, index.image_file[image].decode())
        for row in range(len(index))
        for camera, image in zip(index.cameras, index.key_image[row].tolist(), strict=True)
    ]
    kinds: dict[str, tuple[Iterable[Path], str]] = {
        "self-occlusion masks": (masks, f"where cameras see the vehicle itself: gsocc label masks rig {root}"),
        "semantic labels": (labels, f"for training with classes: gsocc label semantics rig {root}"),
    }
    return inspect_derived(root, kinds)
