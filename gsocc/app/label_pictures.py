"""Pictures of images with their label files, to accept or to change a labeller by."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int64, UInt8

from gsocc.datasets.derived.label_targets import LabelTarget
from gsocc.datasets.images import read_image
from gsocc.datasets.semantic_labels import read_semantic_labels
from gsocc.labels import FREE, IGNORE, OCC3D_CLASSES, PALETTE
from gsocc.viewer.drawing import below, beside, caption, label_colors, legend_bar, resize, save_png

_WIDTH_PX = 640  # of each of the two halves
_TINT = 0.6  # share of the label's colour


def draw_labels(targets: Sequence[LabelTarget], folder: Path, count: int) -> list[Path]:
    """Draw some labelled images, evenly spread: the image, and the image under the colours of its labels.

    Args:
        targets: Images and their label files; those without are passed over.
        folder: Where the PNG files go.
        count: At most so many.

    Returns:
        The files, of which there are fewer where fewer images are labelled.

    Raises:
        DataError: Where an image or a label file is damaged.
        OutputError: Where a picture cannot be written.
    """
    labelled = [target for target in targets if target.is_labelled]
    numbers = np.unique(np.linspace(0, len(labelled) - 1, count).round().astype(int)) if labelled else []
    paths = []
    for number in numbers:
        target = labelled[number]
        image = read_image(target.image, target.size, target.size)
        path = folder / f"{target.image.parent.name}_{target.image.stem}.png"
        save_png(path, _panel(image, read_semantic_labels(target.labels, target.size), path.stem))
        paths.append(path)
    return paths


def _panel(
    image: UInt8[np.ndarray, "H W 3"], labels: Int64[np.ndarray, "H W"], name: str
) -> UInt8[np.ndarray, "h w 3"]:
    tinted = cv2.addWeighted(label_colors(labels), _TINT, image, 1 - _TINT, 0.0)
    size = (round(image.shape[0] * _WIDTH_PX / image.shape[1]), _WIDTH_PX)
    unlabelled = f"{100 * float((labels == IGNORE).mean()):.1f} % without a label"
    halves = [caption(resize(image, size), name), caption(resize(tinted.astype(np.uint8), size), unlabelled)]
    row = beside(halves)
    present = [int(i) for i in np.unique(labels) if i != IGNORE]
    names = {i: "sky" if i == FREE else OCC3D_CLASSES[i].replace("_", " ") for i in present}
    legend = [(names[i], (int(PALETTE[i][0]), int(PALETTE[i][1]), int(PALETTE[i][2]))) for i in present]
    return below([row, legend_bar(legend, row.shape[1])]) if legend else row
