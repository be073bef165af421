"""DDAD as surround samples. Its index is like nuScenes', so all but labels and masks are read as those of nuScenes."""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from torch import Tensor

from gsocc.datasets.ddad_index import CAMERAS, VERSION, build_index
from gsocc.datasets.index import default_index_path
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.errors import DataError

__all__ = ["CAMERAS", "DdadDataset", "build_index", "depth_path", "mask_path", "semantic_path"]


class DdadDataset(NuScenesDataset):
    """Samples of DDAD with their neighbours in time, a tenth of a second away.

    Takes what `NuScenesDataset` takes, but for `version`; tokens are `<scene>_<name of CAMERA_01's image>`. Both kinds
    of `neighbours` are the same here. Files that are not DDAD's own lie where the published loaders looked for them:
    `<root>/mask` and `<root>/ddad_semantic`.

    Args:
        root: The folder that holds `ddad.json` and the scenes.
        index: The index file; by default the one in `root`.
        gts_root: Occ3D labels, which DDAD has not: by default `<root>/truth/gts`, where a synthetic world has its exact
            occupancy.
        semantics_root: Semantic label files; see `semantic_path`.
        self_mask_root: Masks of the vehicle in the images; see `mask_path`.
        **options: See `NuScenesDataset`.

    Raises:
        DataError: Where the index is missing or stale, or the split or a token is not in it.
        ValueError: Where an option is unknown or does not fit the others.
    """

    def __init__(
        self,
        *,
        root: Path,
        index: Path | None = None,
        gts_root: Path | None = None,
        semantics_root: Path | None = None,
        self_mask_root: Path | None = None,
        **options: Any,
    ) -> None:
        root = Path(root)
        index = index or default_index_path(root, VERSION)
        if not index.is_file():
            raise DataError(f"{index}: there is no index; build it: gsocc index ddad {root} --out {index}")
        super().__init__(
            root=root,
            index=index,
            gts_root=gts_root or root / "truth" / "gts",
            semantics_root=semantics_root or root / "ddad_semantic",
            self_mask_root=self_mask_root or root / "mask",
            **options,
        )
        self._scene_masks: dict[str, Bool[Tensor, "V H W"]] = {}

    def released_lidar_depth(self, number: int) -> Float32[np.ndarray, "V H W"]:
        """Return a key frame's LiDAR depth drawn as TRI's dgp does, by which the published depth files were made.

        A point goes to the pixel that u is in when cut off towards zero, which lets -1 < u < 0 in; the last of several
        points stays, and none is too near.
        """
        row = int(self.rows[number])
        return self._scan_depth(row, self.index.key_image[row].astype(np.int64), "truncate", "last", 0.0)

    def _semantic_files(self, row: int) -> list[Path]:
        images = [self._image_file(image) for image in self.index.key_image[row].tolist()]
        scene = self.index.scene(row)
        return [
            semantic_path(self.semantics_root, scene, camera, image)
            for camera, image in zip(self.camera_names, images, strict=True)
        ]

    def _depth_files(self, row: int) -> list[Path]:
        images = [self._image_file(image) for image in self.index.key_image[row].tolist()]
        scene = self.index.scene(row)
        return [
            depth_path(self.depth_root, scene, camera, image)
            for camera, image in zip(self.camera_names, images, strict=True)
        ]

    def _valid_mask(self, row: int) -> Bool[Tensor, "V H W"]:
        """Return the masks of a scene, read once."""
        scene = self.index.scene(row)
        if scene not in self._scene_masks:
            files = [mask_path(self.self_mask_root, camera, scene) for camera in self.camera_names]
            self._scene_masks[scene] = self._read_masks(files, row, zero_is_valid=True)
        return self._scene_masks[scene]


def mask_path(mask_root: Path, camera: str, scene: str) -> Path:
    """Return the self-occlusion mask of a camera in a scene: a PNG of the stored size, zero where it sees the world.

    That is the opposite of nuScenes' masks.
    """
    return mask_root / camera / scene / "mask.png"


def depth_path(depth_root: Path, scene: str, camera: str, image_file: str) -> Path:
    """Return the depth file of an image, where the published loaders look for it below `depth`.

    Its format is that of `read_depth_file`.
    """
    return depth_root / scene / "depth" / camera / f"{PurePosixPath(image_file).stem}.npy"


def semantic_path(semantics_root: Path, scene: str, camera: str, image_file: str) -> Path:
    """Return the label file of an image, which is named after it; its format is that of `read_semantic_labels`."""
    return semantics_root / scene / camera / f"{PurePosixPath(image_file).stem}_mask.bin"
