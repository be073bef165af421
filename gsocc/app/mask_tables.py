"""How much masks agree with others, as a table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from gsocc.datasets.derived.layout import layout_of
from gsocc.datasets.derived.masks import read_mask
from gsocc.datasets.derived.static_pixels import overlap
from gsocc.datasets.index import SurroundIndex


def show_overlap(index: SurroundIndex, masks: Path, others: Path, scenes: Sequence[str]) -> None:
    """Print per camera the least and the mean intersection over union of two folders' masks.

    Raises:
        DataError: Where a mask is missing.
    """
    layout = layout_of(index.source.dataset)
    table = Table(title=f"masks against {others}")
    for heading in ("camera", "scenes", "hidden, ours", "hidden, theirs", "IoU, least", "IoU, mean"):
        table.add_column(heading, justify="right" if heading != "camera" else "left")
    every: list[float] = []
    for camera in index.cameras:
        pairs = [
            tuple(read_mask(layout.mask(folder, camera, scene), layout) for folder in (masks, others))
            for scene in (scenes if layout.mask_per_scene else scenes[:1])
        ]
        found = [overlap(ours, theirs) for ours, theirs in pairs]
        hidden = [100 * float(np.mean([pair[side].mean() for pair in pairs])) for side in (0, 1)]
        scores = (f"{min(found):.4f}", f"{np.mean(found):.4f}")
        table.add_row(camera, str(len(found)), *(f"{share:.2f} %" for share in hidden), *scores)
        every += found
    table.add_row("all", str(len(every)), "", "", f"{min(every):.4f}", f"{np.mean(every):.4f}")
    Console().print(table)
