"""Which parts of its neighbours' images each camera sees: the picture of whether a rig can give metric scale."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from gsocc.viewer.drawing import below, beside, caption, heading, legend_bar, resize

# Rows of the picture for the cameras of nuScenes; others are shown three to a row, in their own order.
_ROWS = (("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"), ("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"))
_PER_ROW = 3
# One colour per pair of cameras: Okabe and Ito's, told apart by the colour-blind too, then paler ones.
_COLORS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (150, 220, 120), (170, 130, 240), (250, 170, 150), (120, 220, 220), (190, 160, 110),
)  # fmt: skip
_TINT, _EDGE_TINT = 0.5, 0.22


def overlap_picture(
    camera_names: Sequence[str],
    images: UInt8[np.ndarray, "V H W 3"],
    masks: Bool[np.ndarray, "V V H W"],
    *,
    eroded: Bool[np.ndarray, "V V H W"] | None = None,
    valid: Bool[np.ndarray, "V H W"] | None = None,
    title: str = "",
    note: str = "",
    width: int = 1600,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the cameras with their shared parts tinted, one colour per pair of cameras, and a legend with shares.

    Args:
        camera_names: Names of the V cameras.
        images: RGB.
        masks: ``[i, j]`` marks pixels of camera i that camera j sees too.
        eroded: The same after erosion; what erosion takes away is tinted more faintly.
        valid: False on pixels that show the ego vehicle: they are drawn almost black.
        title: Line on top.
        note: Fainter line behind it.
        width: Of the whole picture in pixels.
    """
    pairs = list(overlapping_pairs(masks))
    colors = {pair: _COLORS[number % len(_COLORS)] for number, pair in enumerate(pairs)}
    rows = _layout(camera_names)
    cell_width = (width - 6 * (len(rows[0]) - 1)) // len(rows[0])
    cell = (round(cell_width * images.shape[1] / images.shape[2]), cell_width)
    drawn = []
    for row in rows:
        cells = [
            _camera(view, camera_names, images, masks, masks if eroded is None else eroded, valid, colors, cell)
            for view in row
        ]
        cells += [np.full((*cell, 3), 250, np.uint8)] * (len(rows[0]) - len(row))
        row_picture = beside(cells)
        # Integer division leaves a few pixels over on the right.
        drawn.append(np.pad(row_picture, ((0, 0), (0, width - row_picture.shape[1]), (0, 0)), constant_values=250))
    legend = [
        (
            f"{_short(camera_names[i])} {_percent(masks[i, j])} and {_short(camera_names[j])} {_percent(masks[j, i])}",
            color,
        )
        for (i, j), color in colors.items()
    ]
    parts = [heading(title, width, note=note)] if title else []
    return below([*parts, *drawn, legend_bar(legend or [("no overlap", (40, 42, 46))], width)])


def overlapping_pairs(masks: Bool[np.ndarray, "V V H W"]) -> Iterator[tuple[int, int]]:
    """Yield the pairs (i, j), i < j, of cameras that share pixels."""
    shared = masks.any((2, 3))
    yield from (tuple(pair) for pair in np.argwhere(np.triu(shared | shared.T, 1)).tolist())


def _camera(
    view: int,
    camera_names: Sequence[str],
    images: UInt8[np.ndarray, "V H W 3"],
    masks: Bool[np.ndarray, "V V H W"],
    eroded: Bool[np.ndarray, "V V H W"],
    valid: Bool[np.ndarray, "V H W"] | None,
    colors: dict[tuple[int, int], tuple[int, int, int]],
    cell: tuple[int, int],
) -> UInt8[np.ndarray, "h w 3"]:
    # Masks are enlarged pixel by pixel, so that the picture shows what the training sees at this size.
    picture = resize(images[view], cell).astype(np.float32)
    for pair, color in colors.items():
        if view not in pair:
            continue
        other = pair[0] + pair[1] - view
        for mask, share in ((masks[view, other] & ~eroded[view, other], _EDGE_TINT), (eroded[view, other], _TINT)):
            large = _enlarge(mask, cell)
            picture[large] = (1 - share) * picture[large] + share * np.array(color, np.float32)
    if valid is not None:
        picture[_enlarge(~valid[view], cell)] *= 0.15
    text = f"{_short(camera_names[view])}   {_percent(masks[view].any(0))} shared"
    return caption(picture.astype(np.uint8), text, max(cell[1] // 32, 10))


def _layout(camera_names: Sequence[str]) -> list[list[int]]:
    if set(camera_names) == {name for row in _ROWS for name in row}:
        return [[list(camera_names).index(name) for name in row] for row in _ROWS]
    views = list(range(len(camera_names)))
    return [views[start : start + _PER_ROW] for start in range(0, len(views), _PER_ROW)]


def _enlarge(mask: Bool[np.ndarray, "H W"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    large = cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return large.astype(bool)


def _percent(mask: Bool[np.ndarray, "H W"]) -> str:
    return f"{100 * float(mask.mean()):.0f} %"


def _short(name: str) -> str:
    return name.removeprefix("CAM_").replace("_", " ").lower()
