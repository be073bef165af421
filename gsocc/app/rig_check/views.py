"""Images of a rig with their calibration, at a size that features are found at."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from gsocc.datasets.images import read_image, scale_intrinsics
from gsocc.datasets.index import SurroundIndex, pose_matrix

WIDEST_PX = 960


@dataclass(frozen=True)
class View:
    """A camera at one moment.

    Attributes:
        name: Of the camera.
        image: RGB.
        intrinsics: K in pixels of `image`.
        cam_to_ego: Its mounting.
        ego_to_global: Ego pose when the image was taken; the identity where poses are not known.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    intrinsics: Float64[np.ndarray, "3 3"]
    cam_to_ego: Float64[np.ndarray, "4 4"]
    ego_to_global: Float64[np.ndarray, "4 4"]

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def grey(self) -> UInt8[np.ndarray, "H W"]:
        """The image without colour."""
        return np.asarray(cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    def directions(self, pixels: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N 3"]:
        """Return rays of depth 1 through pixels, camera frame."""
        ones = np.ones((len(pixels), 1))
        return np.concatenate([pixels, ones], 1) @ np.linalg.inv(self.intrinsics).T


def read_views(root: Path, index: SurroundIndex, row: int) -> list[View]:
    """Read all cameras of a key frame, wide images shrunk.

    Raises:
        DataError: Where an image is missing or damaged.
    """
    return [read_view(root, index, image, camera) for camera, image in enumerate(index.key_image[row].tolist())]


def read_view(root: Path, index: SurroundIndex, image: int, camera: int) -> View:
    """Read one image of a camera."""
    height, width = index.image_size[image].tolist()
    shrunk = min(1.0, WIDEST_PX / width)
    size = (round(height * shrunk), round(width * shrunk))
    calibration = int(index.image_calibration[image])
    return View(
        name=index.cameras[camera],
        image=read_image(root / index.image_file[image].decode(), (height, width), size),
        intrinsics=scale_intrinsics(index.intrinsics[calibration], (height, width), size),
        cam_to_ego=pose_matrix(index.cam_to_ego[calibration]),
        ego_to_global=pose_matrix(index.image_ego_to_global[image]),
    )
