"""Text, legends and colour maps: RGB arrays in, RGB arrays out."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from gsocc.files import atomic_write_bytes
from gsocc.labels import PALETTE

PAGE = (250, 251, 252)
INK = (38, 44, 54)
FAINT = (110, 118, 130)
GAP_PX = 6

Legend = Sequence[tuple[str, tuple[int, int, int]]]


@lru_cache(maxsize=32)
def _font(size_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which matplotlib brings along: the machine's own fonts differ from place to place."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size_px)


def text_width(text: str, size_px: int, bold: bool = False) -> int:
    """Return how wide a line of text will be, in pixels."""
    return int(np.ceil(_font(size_px, bold).getlength(text)))


def caption(
    image: UInt8[np.ndarray, "H W 3"],
    text: str,
    size_px: int = 15,
    at: tuple[int, int] = (8, 8),
    color: tuple[int, int, int] = (255, 255, 255),
) -> UInt8[np.ndarray, "H W 3"]:
    """Return the picture with a line of text on a dark chip; `at` is (x, y) of the chip's corner."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture, "RGBA")
    pad = max(size_px // 3, 3)
    x, y = at
    right, bottom = x + text_width(text, size_px) + 2 * pad, y + size_px + 2 * pad
    draw.rounded_rectangle((x, y, right, bottom), radius=pad, fill=(24, 28, 36, 170))
    draw.text((x + pad, y + pad + size_px // 2), text, fill=color, font=_font(size_px, False), anchor="lm")
    return np.asarray(picture)


def heading(text: str, width: int, size_px: int = 22, note: str = "") -> UInt8[np.ndarray, "h W 3"]:
    """Return a bar with a bold line of text and a fainter note behind it."""
    picture = Image.new("RGB", (width, size_px * 2), PAGE)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP_PX * 2, size_px), text, fill=INK, font=_font(size_px, True), anchor="lm")
    x = GAP_PX * 2 + text_width(text + "  ", size_px, True)
    draw.text((x, size_px + 1), note, fill=FAINT, font=_font(round(size_px * 0.7), False), anchor="lm")
    return np.asarray(picture)


def legend_bar(entries: Legend, width: int, size_px: int = 15) -> UInt8[np.ndarray, "h W 3"]:
    """Return swatches with names, wrapped to the width and centred line by line."""
    lines: list[list[tuple[str, tuple[int, int, int], int]]] = [[]]
    used = 0
    for name, color in entries:
        need = text_width(name, size_px) + 3 * size_px
        if used + need > width - 2 * GAP_PX and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append((name, color, need))
        used += need
    line_px = round(size_px * 1.9)
    picture = Image.new("RGB", (width, line_px * len(lines) + size_px // 2), PAGE)
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        x = (width - sum(need for *_, need in line)) // 2 + size_px // 2
        y = row * line_px + line_px // 2 + size_px // 4
        for name, color, need in line:
            draw.rounded_rectangle(
                (x, y - size_px // 2, x + size_px, y + size_px // 2), radius=3, fill=color, outline=FAINT
            )
            draw.text((x + round(1.4 * size_px), y), name, fill=INK, font=_font(size_px, False), anchor="lm")
            x += need
    return np.asarray(picture)


def depth_colors(
    depth_m: Float[np.ndarray, "H W"], near_m: float = 2.0, far_m: float = 60.0
) -> UInt8[np.ndarray, "H W 3"]:
    """Return a picture of a depth map, near is bright; the same colours for the same metres in every picture.

    The scale is logarithmic, so that near and far structure both show. Where depth is 0 or not finite there is none:
    dark grey.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0)
    share = np.log(np.clip(np.where(valid, depth_m, far_m), near_m, far_m) / near_m) / np.log(far_m / near_m)
    levels = np.rint((1 - share) * 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)
    colors[~valid] = (40, 42, 46)
    return colors.astype(np.uint8)


def depth_dots(
    depth_m: Float[np.ndarray, "H W"], image: UInt8[np.ndarray, "H W 3"], radius_px: int = 1
) -> UInt8[np.ndarray, "H W 3"]:
    """Return sparse depth as dots over a darkened picture, the nearer of two dots in front."""
    size = 2 * radius_px + 1
    # The nearest of a neighbourhood: dilate the inverse.
    inverse = np.where(depth_m > 0, 1 / np.maximum(depth_m, 1e-3), 0).astype(np.float32)
    grown = cv2.dilate(inverse, np.ones((size, size), np.uint8))
    depth = np.where(grown > 0, 1 / np.maximum(grown, 1e-6), 0)
    colors = depth_colors(depth.astype(np.float32))
    return np.where((depth > 0)[..., None], colors, image // 3).astype(np.uint8)


def label_colors(labels: Integer[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Return a picture of labels in Occ3D's colours: 17 is sky, what has no label (outside 0..17) is dark grey."""
    known: Bool[np.ndarray, "H W"] = (labels >= 0) & (labels < len(PALETTE))
    colors = PALETTE[np.where(known, labels, 0)]
    colors[~known] = (40, 42, 46)
    return colors


def resize(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int], smooth: bool = True) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture at another (H, W); labels want `smooth=False`."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0]
    how = (cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR) if smooth else cv2.INTER_NEAREST
    return cv2.resize(image, (size[1], size[0]), interpolation=how).astype(np.uint8)


def beside(images: Sequence[UInt8[np.ndarray, "H _ 3"]], gap_px: int = GAP_PX) -> UInt8[np.ndarray, "H W 3"]:
    """Return pictures of equal height from left to right."""
    return _join(images, 1, gap_px)


def below(images: Sequence[UInt8[np.ndarray, "_ W 3"]], gap_px: int = GAP_PX) -> UInt8[np.ndarray, "H W 3"]:
    """Return pictures of equal width from top to bottom."""
    return _join(images, 0, gap_px)


def _join(images: Sequence[np.ndarray], axis: int, gap_px: int) -> np.ndarray:
    shape = list(images[0].shape)
    shape[axis] = gap_px
    gap = np.broadcast_to(np.array(PAGE, np.uint8), shape)
    parts = [part for image in images for part in (gap, image)][1:]
    return np.ascontiguousarray(np.concatenate(parts, axis))


def save_png(path: Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a PNG, whole or not at all.

    Raises:
        OutputError: Where the file cannot be written.
    """
    atomic_write_bytes(path, png_bytes(image))


def png_bytes(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Return the picture as a PNG file."""
    encoded, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert encoded
    return data.tobytes()
