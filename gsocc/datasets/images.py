"""Read camera images: decode, crop, resize, and refuse what a viewer would silently patch up."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from gsocc.errors import DataError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
_REDUCED_FLAGS = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


class BadImageError(DataError):
    """An image file that cannot be decoded whole: missing bytes, or not an image at all."""


Crop = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the stored image, cut out before the resize."""


def scale_intrinsics(
    intrinsics: Float[np.ndarray, "*N 3 3"],
    image_size: tuple[int, int],
    target_size: tuple[int, int],
    crop: Crop | None = None,
) -> Float[np.ndarray, "*N 3 3"]:
    """Return K of the images that `read_image` gives, in float64.

    The image plane spans [0, W] x [0, H], so a crop subtracts its corner and a resize multiplies rows; there is
    no half-pixel term.

    Args:
        intrinsics: K in pixels of the stored image.
        image_size: (H, W) of the stored image.
        target_size: (H, W) after the resize.
        crop: What is cut out before the resize; None keeps the whole image.
    """
    top, left, height, width = crop or (0, 0, *image_size)
    shift = np.eye(3)
    shift[:2, 2] = -left, -top
    scale = np.diag([target_size[1] / width, target_size[0] / height, 1.0])
    return scale @ shift @ np.asarray(intrinsics, dtype=np.float64)


def read_image(
    path: Path, image_size: tuple[int, int], target_size: tuple[int, int], crop: Crop | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Read an RGB image, cropped and then resized.

    Shrinks by area and enlarges bilinearly. A JPEG whose target is at most half (a quarter, an eighth) of its size
    is decoded at that size, which costs less than half; on real frames this moves the picture by less than 0.001 px
    against decoding it whole. EXIF orientation is ignored: calibration belongs to the stored pixels.

    Args:
        path: A JPEG or PNG file.
        image_size: (H, W) that the file must have.
        target_size: (H, W) of the result.
        crop: What is cut out of the stored image before the resize.

    Raises:
        BadImageError: Where the file is empty, cut short or no image.
        DataError: Where it is missing or its size is not `image_size`.
    """
    data = _read_bytes(path)
    area = crop or (0, 0, *image_size)
    # Only the codec of JPEG can decode smaller; OpenCV would shrink others by interpolation, which aliases.
    factor = _decode_factor(image_size, target_size, area) if data.startswith(_JPEG_START) else 1
    flag = _REDUCED_FLAGS.get(factor, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag)
    except cv2.error as error:
        raise BadImageError(f"{path}: cannot be decoded ({error.err}); copy the file again") from error
    if image is None:
        raise BadImageError(f"{path}: is not a JPEG or PNG image; copy the file again")
    found = image.shape[:2] if factor == 1 else _jpeg_size(data)
    if found != tuple(image_size):
        raise DataError(
            f"{path}: expected an image of {image_size[0]}x{image_size[1]} (HxW) as the tables say, "
            f"got {found[0]}x{found[1]}; images and tables must come from the same data set"
        )
    top, left, height, width = (n // factor for n in area)
    image = resize(image[top : top + height, left : left + width], target_size)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def to_unit_planes(image: UInt8[np.ndarray, "H W 3"], planes: Float32[np.ndarray, "3 H W"]) -> None:
    """Write the channels of an image into planes of numbers in [0, 1]."""
    for channel, plane in zip(cv2.split(image), planes, strict=True):
        np.divide(channel, np.float32(255), out=plane)


def resize(image: np.ndarray, target_size: tuple[int, int]) -> np.ndarray:
    """Resize to (H, W) by area when it shrinks, bilinearly when it grows; image edges stay on image edges."""
    height, width = target_size
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_nearest(labels: np.ndarray, target_size: tuple[int, int], at: float = 0.5) -> np.ndarray:
    """Resize the first two axes to (H, W), taking for each pixel one source pixel.

    Args:
        labels: What is resized.
        target_size: (H, W).
        at: Which of the source pixels: 0.5 for the one under the centre, 0 for the one under the top left corner, as
            torch's and OpenCV's nearest neighbour have it.
    """
    if labels.shape[:2] == tuple(target_size):
        return labels
    rows, columns = (
        np.floor((np.arange(new) + at) * (old / new)).astype(np.int64)
        for new, old in zip(target_size, labels.shape[:2], strict=True)
    )
    return labels[rows[:, None], columns]


def check_crop(crop: Crop | None, image_size: tuple[int, int]) -> None:
    """Check that a crop lies inside the image.

    Raises:
        ValueError: Where it does not.
    """
    if crop is None:
        return
    top, left, height, width = crop
    fits = min(top, left) >= 0 and min(height, width) > 0
    if not fits or top + height > image_size[0] or left + width > image_size[1]:
        raise ValueError(
            f"crop (top, left, height, width) must lie inside the {image_size[0]}x{image_size[1]} (HxW) image, "
            f"got {crop}"
        )


def _decode_factor(image_size: tuple[int, int], target_size: tuple[int, int], area: Crop) -> int:
    """Return the largest reduction that neither passes the target nor cuts a pixel at the edge of image or crop."""
    for factor in sorted(_REDUCED_FLAGS, reverse=True):
        whole = all(n % factor == 0 for n in (*image_size, *area))
        if whole and area[2] >= factor * target_size[0] and area[3] >= factor * target_size[1]:
            return factor
    return 1


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (H, W) of a JPEG that could be decoded, from its frame header: a reduced picture is rounded up."""
    at = 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(height, "big"), int.from_bytes(width, "big")
        at += 1 if marker == 0xFF else 2 + length  # 0xFF may be repeated before a marker


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: the image is missing; copy it and build the index again") from error
    except OSError as error:
        raise BadImageError(f"{path}: cannot be read ({error.strerror}); copy the file again") from error
    if not data:
        raise BadImageError(f"{path}: the image file is empty (0 bytes); copy the file again")
    # OpenCV fills what is missing of a truncated file with grey and says nothing. In the data of a JPEG scan 0xFF is
    # always followed by 0x00, so a marker found is a marker; the last one of a whole file ends the image.
    cut_jpeg = data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < max(data.rfind(_JPEG_SCAN), 1)
    cut_png = data.startswith(_PNG_START) and _PNG_END not in data[-64:]
    if cut_jpeg or cut_png:
        raise BadImageError(f"{path}: the image is cut short ({len(data)} bytes, no end marker); copy the file again")
    return data
