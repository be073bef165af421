"""Straightened copies of images of lenses with distortion, by OpenCV."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64

from gsocc.datasets.index import SurroundIndex
from gsocc.datasets.rig_file import CameraConfig, RigConfig
from gsocc.errors import DataError
from gsocc.files import atomic_write_bytes
from gsocc.progress import track

UNDISTORTED = "undistorted"
"""The folder of the copies below the root, each at the path of its original."""

_JPEG_QUALITY = 97
_Maps = tuple[np.ndarray, np.ndarray]


def straight_intrinsics(camera: CameraConfig) -> Float64[np.ndarray, "3 3"]:
    """Return K of the straightened images: those of the camera, but for a zoom that leaves no black border."""
    if camera.is_straight:
        return camera.matrix
    height, width = camera.image_size
    coefficients = np.array(camera.distortion, dtype=np.float64)
    if camera.lens == "opencv":
        return cv2.getOptimalNewCameraMatrix(camera.matrix, coefficients, (width, height), 0.0)[0].astype(np.float64)
    # balance 0 keeps the largest picture without a border; OpenCV's own estimate of it needs no image.
    return cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
        camera.matrix, coefficients, (width, height), np.eye(3), balance=0.0
    ).astype(np.float64)


def write_undistorted(root: Path, rig: RigConfig, index: SurroundIndex) -> int:
    """Write the copies that an index lists; those newer than their originals are kept.

    Returns:
        How many were written.

    Raises:
        DataError: Where an original cannot be decoded.
    """
    cameras = list(rig.cameras.values())
    maps = [None if camera.is_straight else _maps(camera) for camera in cameras]
    jobs = [
        (name.decode(), maps[camera])
        for name, camera in zip(index.image_file.tolist(), index.image_calibration.tolist(), strict=True)
        if maps[camera] is not None
    ]
    written = 0
    for name, lens in track(jobs, label="straightening images", unit="images"):
        copy, original = root / name, root / Path(name).relative_to(UNDISTORTED)
        if copy.is_file() and copy.stat().st_mtime_ns >= original.stat().st_mtime_ns:
            continue
        assert lens is not None
        _write_copy(original, copy, lens)
        written += 1
    return written


def _maps(camera: CameraConfig) -> _Maps:
    """Return where each pixel of the straightened image is found in the original."""
    height, width = camera.image_size
    coefficients = np.array(camera.distortion, dtype=np.float64)
    straight = straight_intrinsics(camera)
    build = cv2.initUndistortRectifyMap if camera.lens == "opencv" else cv2.fisheye.initUndistortRectifyMap
    first, second = build(camera.matrix, coefficients, np.eye(3), straight, (width, height), cv2.CV_32FC1)
    return np.asarray(first), np.asarray(second)


def _write_copy(original: Path, copy: Path, maps: _Maps) -> None:
    image = cv2.imread(str(original), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(f"{original}: is not a JPEG or PNG image; copy the file again")
    straight = cv2.remap(image, maps[0], maps[1], cv2.INTER_CUBIC)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if copy.suffix.lower() != ".png" else []
    _, data = cv2.imencode(copy.suffix.lower(), straight, quality)
    atomic_write_bytes(copy, data.tobytes())
