"""Flat pictures: what each camera saw, what the model says, what is true; and whole frames for reports."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Integer, UInt8

from gsocc.errors import DataError
from gsocc.structures import OccupancyLabels
from gsocc.structures.prediction import OccupancyPrediction
from gsocc.viewer.drawing import (
    below,
    beside,
    caption,
    depth_colors,
    depth_dots,
    heading,
    label_colors,
    legend_bar,
    resize,
)
from gsocc.viewer.picture import VIEWS, View, render
from gsocc.viewer.scene import Show, build_scene, class_legend

# Clockwise from the front left, so that neighbours in the picture are neighbours on the car: nuScenes, then DDAD.
DISPLAY_ORDER = (
    *("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT"),
    *("CAMERA_05", "CAMERA_01", "CAMERA_06", "CAMERA_08", "CAMERA_09", "CAMERA_07"),
)
_SPARSE_BELOW = 0.3  # truth that covers less of an image than this is drawn as dots


def surround_panel(
    camera_names: Sequence[str],
    images: UInt8[np.ndarray, "V H W 3"] | None = None,
    *,
    depth_m: Float[np.ndarray, "V h1 w1"] | None = None,
    true_depth_m: Float[np.ndarray, "V h2 w2"] | None = None,
    semantics: Integer[np.ndarray, "V h3 w3"] | None = None,
    true_semantics: Integer[np.ndarray, "V h4 w4"] | None = None,
    width: int = 1600,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return one row per kind of image and one column per camera, each prediction above its truth.

    Args:
        camera_names: Names of the V cameras; nuScenes' and DDAD's are shown in the order in which they see the world.
        images: RGB.
        depth_m: Predicted depth, 0 where there is none.
        true_depth_m: Exact or LiDAR depth; a sparse one is drawn as dots over the image.
        semantics: Predicted labels.
        true_semantics: True labels, -1 where there is none.
        width: Of the whole panel in pixels.

    Raises:
        ValueError: Where there is nothing to show.
    """
    columns = sorted(range(len(camera_names)), key=lambda v: _position(camera_names[v], v))
    given = [a for a in (images, depth_m, true_depth_m, semantics, true_semantics) if a is not None]
    if not given:
        raise ValueError("surround_panel: expected images, depth or semantics, got none of them")
    cell_width = (width - 6 * (len(columns) - 1)) // len(columns)
    cell = (round(cell_width * given[0].shape[1] / given[0].shape[2]), cell_width)

    rows: list[tuple[str, list[np.ndarray]]] = []
    if images is not None:
        rows.append(("", [resize(images[v], cell) for v in columns]))
    if depth_m is not None:
        rows.append(("depth", [resize(depth_colors(depth_m[v]), cell) for v in columns]))
    if true_depth_m is not None:
        rows.append(
            ("true depth", [_true_depth(true_depth_m[v], None if images is None else images[v], cell) for v in columns])
        )
    if semantics is not None:
        rows.append(("semantics", [resize(label_colors(semantics[v]), cell, smooth=False) for v in columns]))
    if true_semantics is not None:
        pictures = [resize(label_colors(true_semantics[v]), cell, smooth=False) for v in columns]
        rows.append(("true semantics", pictures))

    text_px = max(cell_width // 20, 10)
    drawn = []
    for number, (kind, pictures) in enumerate(rows):
        if number == 0:
            names = [camera_names[v].removeprefix("CAM_").replace("_", " ").lower() for v in columns]
            pictures = [
                caption(picture, f"{name}   {kind}".rstrip() if i == 0 else name, text_px)
                for i, (picture, name) in enumerate(zip(pictures, names, strict=True))
            ]
        else:
            pictures = [caption(pictures[0], kind, text_px), *pictures[1:]]
        drawn.append(beside(pictures))
    return below(drawn)


def frame_picture(
    prediction: OccupancyPrediction,
    truth: OccupancyLabels | None = None,
    *,
    images: UInt8[np.ndarray, "V H W 3"] | None = None,
    true_depth_m: Float[np.ndarray, "V h w"] | None = None,
    true_semantics: Integer[np.ndarray, "V h4 w4"] | None = None,
    shows: Sequence[Show] = ("prediction",),
    view: View = VIEWS["corner"],
    width: int = 1600,
    seen_only: bool = False,
    title: str = "",
    samples: int = 2,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the whole frame: cameras above, scenes in 3-D below, a legend of the classes that occur.

    Args:
        prediction: What was predicted.
        truth: Occ3D labels; needed to show "truth" or "error".
        images: Camera images; without them the rows start with the rendered depth, where there is one.
        true_depth_m: See `surround_panel`.
        true_semantics: See `surround_panel`.
        shows: Which scenes stand side by side.
        view: From where they are seen.
        width: Of the whole picture in pixels.
        seen_only: Leave out voxels that no camera saw.
        title: Line on top; none by default.
        samples: Rays per pixel along each axis.
    """
    # Tokens of nuScenes are long and say nothing; those of DDAD begin with the scene.
    named = prediction.token.startswith(prediction.scene)
    note = prediction.token if named else f"{prediction.scene}  {prediction.token[:8]}"
    parts = [heading(title, width, note=note)] if title else []
    flat = (images, prediction.depth_m, true_depth_m, prediction.semantic_images, true_semantics)
    if any(a is not None for a in flat):
        panel = surround_panel(
            prediction.camera_names,
            images,
            depth_m=prediction.depth_m,
            true_depth_m=true_depth_m,
            semantics=prediction.semantic_images,
            true_semantics=true_semantics,
            width=width,
        )
        parts.append(_to_width(panel, width))
    scene_width = (width - 6 * (len(shows) - 1)) // len(shows)
    size = (round(scene_width * (0.56 if len(shows) == 1 else 0.72)), scene_width)
    pictures: list[np.ndarray] = []
    legend: dict[str, tuple[int, int, int]] = {}
    for show in shows:
        scene = build_scene(prediction, truth, show, seen_only=seen_only)
        legend |= dict(scene.legend)
        picture = render(scene, view, size, samples)
        pictures.append(caption(picture, show, 18, (12, 12)) if len(shows) > 1 else picture)
    parts.append(_to_width(beside(pictures), width))
    parts.append(legend_bar(_in_label_order(legend), width))
    return below(parts)


def read_images(root: Path, prediction: OccupancyPrediction) -> UInt8[np.ndarray, "V H W 3"]:
    """Read the camera images that a prediction names; where a rig's differ in size, all at that of the first.

    Raises:
        DataError: Where the prediction names none, or one is missing or damaged.
    """
    if not prediction.image_files:
        raise DataError(f"the prediction of {prediction.token} names no image files; leave out --root")
    images = []
    for name in prediction.image_files:
        image = cv2.imread(str(root / name), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{root / name}: is missing or not a readable image; is --root the data set's folder?")
        images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    height, width = images[0].shape[:2]
    return np.stack([resize(image.astype(np.uint8), (height, width)) for image in images])


def _position(name: str, index: int) -> tuple[int, int]:
    return (DISPLAY_ORDER.index(name) if name in DISPLAY_ORDER else len(DISPLAY_ORDER), index)


def _true_depth(
    depth_m: Float[np.ndarray, "H W"], image: UInt8[np.ndarray, "h w 3"] | None, cell: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    if float((depth_m > 0).mean()) >= _SPARSE_BELOW:
        return resize(depth_colors(depth_m), cell)
    # Dots are drawn at the size they are shown at: shrinking a picture of single pixels would wash them out.
    small = np.zeros(cell, np.float32)
    rows, columns = np.nonzero(depth_m > 0)
    far_first = np.argsort(-depth_m[rows, columns])
    at = (rows * cell[0] // depth_m.shape[0])[far_first], (columns * cell[1] // depth_m.shape[1])[far_first]
    small[at] = depth_m[rows, columns][far_first]
    behind = np.full((*cell, 3), 90, np.uint8) if image is None else resize(image, cell)
    return depth_dots(small, behind)


def _to_width(picture: UInt8[np.ndarray, "h w 3"], width: int) -> UInt8[np.ndarray, "h w2 3"]:
    """Fill what integer division left over on the right."""
    missing = width - picture.shape[1]
    return np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=250) if missing > 0 else picture


def _in_label_order(legend: dict[str, tuple[int, int, int]]) -> list[tuple[str, tuple[int, int, int]]]:
    order = [name for name, _ in class_legend(range(17))]
    known = [(name, legend[name]) for name in order if name in legend]
    return known + [(name, color) for name, color in legend.items() if name not in order]
