"""Any other rig as surround samples: its index is like nuScenes', its derived files lie where those of DDAD do."""

from pathlib import Path
from typing import Any

import numpy as np

from gsocc.datasets.ddad import DdadDataset
from gsocc.datasets.index import default_index_path, rebuild_command
from gsocc.datasets.rig_index import VERSION, build_index
from gsocc.errors import DataError

__all__ = ["SEMANTICS", "RigDataset", "build_index"]

SEMANTICS = "semantics"
"""Folder of 2-D labels below the root."""


class RigDataset(DdadDataset):
    """Samples of a folder with a `rig.yaml`, its cameras in the order of that file.

    Takes what `DdadDataset` takes; where cameras differ in size, depth and labels without a size of their own come at
    that of the first camera's images. Tokens are `<scene>_<name of the first camera's image>`.

    Args:
        root: The folder that holds `rig.yaml`.
        index: The index file; by default the one in `root`.
        semantics_root: Semantic label files; `<root>/semantics` by default.
        **options: See `NuScenesDataset`.

    Raises:
        DataError: Where the index is missing or stale, or the split or a token is not in it.
        ValueError: Where an option is unknown or does not fit the others.
    """

    def __init__(
        self, *, root: Path, index: Path | None = None, semantics_root: Path | None = None, **options: Any
    ) -> None:
        root = Path(root)
        path = index or default_index_path(root, VERSION)
        if not path.is_file():
            raise DataError(
                f"{path}: there is no index; build it: {rebuild_command(root, VERSION, path, dataset='rig')}"
            )
        super().__init__(root=root, index=path, semantics_root=semantics_root or root / SEMANTICS, **options)

    def _check_index(self) -> None:
        sizes = self.index.image_size[self.index.key_image[self.rows]].reshape(-1, 2)
        if len(np.unique(sizes, axis=0)) > 1 and self.crop is None:
            first = self._size(int(self.index.key_image[0, 0]))
            self.depth_size, self.semantic_size = self.depth_size or first, self.semantic_size or first
        super()._check_index()
