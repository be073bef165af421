"""Where the derived files of each data set lie: what the makers write is what the readers and the doctors look for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gsocc.datasets import ddad
from gsocc.datasets.index import SurroundIndex, default_index_path, find_index, open_index, rebuild_command
from gsocc.datasets.lidar import Collisions, Rounding, depth_path
from gsocc.datasets.nuscenes import mask_path
from gsocc.datasets.semantic_labels import semantic_path
from gsocc.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DerivedLayout:
    """Names and conventions of a data set's derived files.

    Attributes:
        mask_folder: Where masks lie below the root.
        mask: Path of a mask, from its folder, camera and scene.
        mask_per_scene: Whether scenes have masks of their own; otherwise one per camera is good for all.
        zero_is_valid: Whether zero in a mask says that the camera sees the world there; otherwise non-zero does.
        depth: Path of a depth image, from its folder, scene, camera and the path of the image below the root.
        semantics_folder: Where 2-D class labels lie below the root.
        semantics: Path of a label file, from its folder, scene, camera and the path of the image below the root.
        released_rounding: How the published depth files of this data set were drawn, see `lidar_depth`.
        released_collisions: The same.
    """

    mask_folder: str
    mask: Callable[[Path, str, str], Path]
    mask_per_scene: bool
    zero_is_valid: bool
    depth: Callable[[Path, str, str, str], Path]
    semantics_folder: str
    semantics: Callable[[Path, str, str, str], Path]
    released_rounding: Rounding
    released_collisions: Collisions = "last"


LAYOUTS: dict[str, DerivedLayout] = {
    "nuscenes": DerivedLayout(
        mask_folder="self_masks",
        mask=lambda folder, camera, _: mask_path(folder, camera),
        mask_per_scene=False,
        zero_is_valid=False,
        depth=lambda folder, scene, camera, image: depth_path(folder, image),
        semantics_folder="nuscenes_semantic",
        semantics=lambda folder, scene, camera, image: semantic_path(folder, image),
        released_rounding="round",
    ),
    "ddad": DerivedLayout(
        mask_folder="mask",
        mask=ddad.mask_path,
        mask_per_scene=True,
        zero_is_valid=True,
        depth=ddad.depth_path,
        semantics_folder="ddad_semantic",
        semantics=ddad.semantic_path,
        released_rounding="truncate",
    ),
    "rig": DerivedLayout(
        mask_folder="mask",
        mask=ddad.mask_path,
        mask_per_scene=True,
        zero_is_valid=True,
        depth=ddad.depth_path,
        semantics_folder="semantics",
        semantics=ddad.semantic_path,
        released_rounding="floor",
    ),
}
"""Layouts by the data set's name in its index."""


def layout_of(dataset: str) -> DerivedLayout:
    """Return the layout of a data set.

    Raises:
        DataError: Where there is no data set of that name.
    """
    if dataset not in LAYOUTS:
        raise DataError(f"data set: expected one of {', '.join(LAYOUTS)}, got {dataset!r}")
    return LAYOUTS[dataset]


def open_derived_index(
    dataset: str, root: Path, index: Path | None = None, version: str | None = None
) -> SurroundIndex:
    """Open the index of a data set by the name of the data set.

    Args:
        dataset: Of `LAYOUTS`.
        root: The data root.
        index: The index file; by default the one below the root.
        version: Which of several, of nuScenes.

    Raises:
        DataError: Where there is none, it is stale, or it is that of another data set.
    """
    layout_of(dataset)
    if not root.is_dir():
        raise DataError(f"{root}: the data root does not exist or is not a folder")
    path = index or (find_index(root, version) if dataset == "nuscenes" else default_index_path(root, dataset))
    if not path.is_file():
        build = rebuild_command(root, version or dataset, path, dataset)
        raise DataError(f"{path}: there is no index; build it: {build}")
    opened = open_index(path, root)
    if opened.source.dataset != dataset:
        raise DataError(
            f"{path}: expected an index of {dataset}, got one of {opened.source.dataset}; name that data set instead"
        )
    return opened
