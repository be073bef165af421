"""Pictures of self-occlusion masks, to accept or edit: one sheet per camera, one tile per scene."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from gsocc.datasets.derived.layout import layout_of
from gsocc.datasets.derived.masks import read_mask
from gsocc.datasets.images import read_image, resize
from gsocc.datasets.index import SurroundIndex
from gsocc.files import atomic_write_bytes
from gsocc.progress import track

_TINT = np.array([255.0, 40.0, 40.0])
_MOST_COLUMNS = 8
_TILE_PX = 320


def write_mask_pictures(
    index: SurroundIndex, root: Path, masks: Path, scenes: Sequence[str], folder: Path
) -> list[Path]:
    """Write a sheet per camera: an image from the middle of each scene, what the mask hides tinted red and outlined.

    Args:
        index: The index of the data set.
        root: The folder that its images lie below.
        masks: Folder of the masks.
        scenes: Which scenes are shown.
        folder: Where the sheets go.

    Raises:
        DataError: Where an image or a mask is missing.
        OutputError: Where a file cannot be written.
    """
    sheets = []
    for view, camera in enumerate(track(index.cameras, label="drawing pictures", unit="cameras")):
        tiles = [_tile(index, root, masks, scene, view) for scene in scenes]
        path = folder / f"{camera}.png"
        sheet = cv2.cvtColor(_tiled(tiles), cv2.COLOR_RGB2BGR)
        atomic_write_bytes(path, cv2.imencode(".png", sheet)[1].tobytes())
        sheets.append(path)
    return sheets


def _tile(index: SurroundIndex, root: Path, masks: Path, scene: str, view: int) -> UInt8[np.ndarray, "H W 3"]:
    rows = np.flatnonzero(index.scene_names[index.sample_scene] == scene.encode())
    image = int(index.key_image[rows[len(rows) // 2], view])
    height, width = index.image_size[image].tolist()
    size = (max(round(height * _TILE_PX / width), 1), _TILE_PX)
    picture = read_image(root / index.image_file[image].decode(), (height, width), size)
    layout = layout_of(index.source.dataset)
    own = read_mask(layout.mask(masks, index.cameras[view], scene), layout)
    small = resize(own.astype(np.float32), size) >= 0.5
    return _captioned(_painted(picture, small), f"{scene}  {100 * own.mean():.1f} %")


def _painted(picture: UInt8[np.ndarray, "H W 3"], own: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    painted = picture.astype(np.float64)
    painted[own] = 0.6 * painted[own] + 0.4 * _TINT
    outline = own & (cv2.erode(own.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    painted[outline] = _TINT
    return painted.astype(np.uint8)


def _captioned(picture: UInt8[np.ndarray, "H W 3"], text: str) -> UInt8[np.ndarray, "_ W 3"]:
    strip = np.zeros((16, picture.shape[1], 3), dtype=np.uint8)
    cv2.putText(strip, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture])


def _tiled(tiles: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "H W 3"]:
    columns = min(len(tiles), max(round(len(tiles) ** 0.5), 1), _MOST_COLUMNS)
    height = max(tile.shape[0] for tile in tiles)
    padded = [np.pad(tile, ((0, height - tile.shape[0]), (0, 0), (0, 0))) for tile in tiles]
    padded += [np.zeros_like(padded[0])] * (-len(padded) % columns)
    rows = [np.concatenate(padded[i : i + columns], axis=1) for i in range(0, len(padded), columns)]
    return np.concatenate(rows)
