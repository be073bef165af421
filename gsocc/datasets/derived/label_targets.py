"""Which images of a data set want 2-D labels, and where the readers look for the files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gsocc.datasets.derived.layout import layout_of
from gsocc.datasets.index import SurroundIndex, select_rows


@dataclass(frozen=True)
class LabelTarget:
    """An image and the label file that belongs to it.

    Attributes:
        image: The image.
        labels: The label file, there or not.
        size: (H, W) of the stored image, and so of its labels.
    """

    image: Path
    labels: Path
    size: tuple[int, int]

    @property
    def is_labelled(self) -> bool:
        """Whether the file is there and has one byte per pixel."""
        try:
            return self.labels.stat().st_size == self.size[0] * self.size[1]
        except FileNotFoundError:
            return False


def labels_folder(dataset: str, root: Path) -> Path:
    """Return where the reader of a data set looks for labels.

    Raises:
        DataError: Where there is no data set of that name.
    """
    return root / layout_of(dataset).semantics_folder


def label_targets(
    index: SurroundIndex,
    root: Path,
    split: str = "all",
    labels_root: Path | None = None,
    tokens: Sequence[str] | None = None,
) -> list[LabelTarget]:
    """Return the key-frame images of a split with their label files: camera by camera within each key frame.

    Args:
        index: The index of the data set.
        root: The folder that images lie below.
        split: Which key frames; "all" for every one.
        labels_root: Folder of the labels; by default where the reader looks for them.
        tokens: Restrict the split to these key frames.

    Raises:
        DataError: Where the split has no key frames, or a token is not among them.
    """
    layout = layout_of(index.source.dataset)
    labels_root = labels_root or labels_folder(index.source.dataset, root)
    targets = []
    for row in select_rows(index, split, tokens).tolist():
        scene = index.scene(row)
        for camera, image in zip(index.cameras, index.key_image[row].tolist(), strict=True):
            file = index.image_file[image].decode()
            height, width = index.image_size[image].tolist()
            labels = layout.semantics(labels_root, scene, camera, file)
            targets.append(LabelTarget(root / file, labels, (height, width)))
    return targets
