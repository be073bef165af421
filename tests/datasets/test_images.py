"""Decoding, cropping and resizing of images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from gsocc.datasets.images import BadImageError, read_image, resize_nearest, scale_intrinsics
from gsocc.errors import DataError


def spot(path: Path, center: tuple[float, float], size: tuple[int, int] = (96, 160)) -> Path:
    """Write an image with a soft bright spot whose centre of mass is `center` (u, v), pixel centres at halves."""
    v, u = np.mgrid[: size[0], : size[1]] + 0.5
    value = 255 * np.exp(-((u - center[0]) ** 2 + (v - center[1]) ** 2) / (2 * 6.0**2))
    cv2.imwrite(str(path), np.repeat(value.astype(np.uint8)[..., None], 3, axis=-1), [cv2.IMWRITE_JPEG_QUALITY, 98])
    return path


def center_of_mass(image: np.ndarray) -> tuple[float, float]:
    # A floor under the spot, because JPEG's ringing far from it would pull on the mean.
    weight = np.clip(image[..., 0].astype(np.float64) - 25.0, 0.0, None)
    v, u = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return float((weight * u).sum() / weight.sum()), float((weight * v).sum() / weight.sum())


@pytest.mark.parametrize("target", [(96, 160), (48, 80), (24, 40), (12, 20), (36, 60), (30, 50), (144, 240)])
@pytest.mark.parametrize("crop", [None, (16, 40, 64, 104), (15, 39, 65, 105)])
def test_intrinsics_follow_the_picture_through_decoding_crop_and_resize(
    tmp_path: Path, target: tuple[int, int], crop: tuple[int, int, int, int] | None
) -> None:
    """A camera whose principal point is the spot still has it there, whichever way the file was decoded.

    A mistake of half a pixel would show as 0.06 px at the least (the smallest target) and as 0.5 px of the target if
    made there; the coarse sampling of the spot itself moves its centre of mass by less than 0.04 px.
    """
    center = (91.3, 51.7)
    path = spot(tmp_path / "spot.jpg", center)
    image = read_image(path, (96, 160), target, crop)
    assert image.shape == (*target, 3)
    k = scale_intrinsics(
        np.array([[100.0, 0.0, center[0]], [0.0, 100.0, center[1]], [0.0, 0.0, 1.0]]), (96, 160), target, crop
    )
    np.testing.assert_allclose(center_of_mass(image), k[:2, 2], atol=0.04)


def test_reduced_decoding_agrees_with_decoding_whole(tmp_path: Path) -> None:
    """The codec's own shrinking and shrinking by area differ by rounding only: under 1 grey value on average."""
    path = spot(tmp_path / "spot.jpg", (80.0, 48.0))
    whole = cv2.resize(cv2.imread(str(path)), (40, 24), interpolation=cv2.INTER_AREA).astype(int)
    reduced = read_image(path, (96, 160), (24, 40)).astype(int)
    assert np.abs(reduced - whole).mean() < 1.0


@pytest.mark.parametrize("size", [(95, 160), (96, 159), (96, 168)])
def test_a_size_off_by_a_pixel_is_found_though_reduced_decoding_rounds_up(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = spot(tmp_path / "spot.jpg", (80.0, 48.0), size)
    with pytest.raises(DataError, match=rf"expected an image of 96x160 .*, got {size[0]}x{size[1]}"):
        read_image(path, (96, 160), (24, 40))


def test_a_png_is_shrunk_by_area_too(tmp_path: Path) -> None:
    """Lines one pixel wide become flat grey; interpolating between two of eight pixels would keep some."""
    path = tmp_path / "lines.png"
    cv2.imwrite(str(path), np.tile(np.array([0, 0, 0, 255], dtype=np.uint8)[None, :, None], (32, 8, 3)))
    assert np.unique(read_image(path, (32, 32), (8, 8))).tolist() == [64]


def test_images_are_rgb(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), (0, 0, 255), dtype=np.uint8))
    assert read_image(path, (8, 8), (4, 4))[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    """Orientation 6 asks a viewer to turn the picture; the calibration is of the stored pixels."""
    path = spot(tmp_path / "spot.jpg", (20.0, 10.0))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert cv2.imread(str(path)).shape == (160, 96, 3)
    assert read_image(path, (96, 160), (96, 160)).shape == (96, 160, 3)


def test_a_cut_file_with_a_whole_preview_inside_is_found(tmp_path: Path) -> None:
    """The end marker of an embedded preview must not pass for that of the picture."""
    path = spot(tmp_path / "spot.jpg", (80.0, 48.0))
    data = path.read_bytes()
    preview = b"JFXX\0\x10" + data
    whole = data[:2] + b"\xff\xe0" + (len(preview) + 2).to_bytes(2, "big") + preview + data[2:]
    path.write_bytes(whole)
    assert read_image(path, (96, 160), (96, 160)).shape == (96, 160, 3)
    path.write_bytes(whole[:-50])
    with pytest.raises(BadImageError, match="is cut short"):
        read_image(path, (96, 160), (96, 160))


def test_a_file_whose_tail_is_zeros_is_found(tmp_path: Path) -> None:
    """What an interrupted copy into reserved space leaves."""
    path = spot(tmp_path / "spot.jpg", (80.0, 48.0))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    with pytest.raises(BadImageError, match="is cut short"):
        read_image(path, (96, 160), (96, 160))
    path.write_bytes(data + bytes(512))  # padding behind a whole picture harms nothing
    assert read_image(path, (96, 160), (96, 160)).shape == (96, 160, 3)


def test_a_cut_png_is_found(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadImageError, match="is cut short"):
        read_image(path, (32, 32), (32, 32))


def test_a_folder_in_place_of_an_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="cannot be read"):
        read_image(tmp_path, (8, 8), (8, 8))


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    """Centres of 2 pixels over 6 lie at 1.5 and 4.5: pixels 1 and 4. Enlarging repeats."""
    line = np.arange(6)[None].repeat(2, 0)
    assert resize_nearest(line, (2, 2))[0].tolist() == [1, 4]
    assert resize_nearest(line, (2, 12))[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
