"""The vehicle in a camera's images: what stays in place while the world goes by."""

import cv2
import numpy as np
import pytest

from gsocc.datasets.derived.static_pixels import StaticRule, find_static_region, overlap, rays_below_horizon

SIZE = (60, 96)
LOOKS_DOWN = np.arange(SIZE[0])[:, None] >= np.full(SIZE[1], 24)  # the horizon lies on row 24


def texture(rng: np.random.Generator, low: int, high: int, count: int = 1) -> np.ndarray:
    """Return smooth random images with details of a few pixels, each of its own."""
    coarse = rng.uniform(low, high, (count, SIZE[0] // 4, SIZE[1] // 4, 3)).astype(np.float32)
    return np.stack([cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_LINEAR) for image in coarse])


def bonnet() -> np.ndarray:
    """Return a wedge that rises from the lower edge to a third of the image."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return rows > 40 + 0.4 * np.abs(columns - 40)


def drive(own: np.ndarray, seed: int = 0, paint: tuple[int, int] = (20, 120)) -> np.ndarray:
    """Return 24 images of a world that is another one each time, a steady sky, and a painted vehicle."""
    rng = np.random.default_rng(seed)
    images = texture(rng, 0, 255, 24)
    images[:, :12] = (200, 220, 250)
    images[:, own] = texture(rng, *paint)[0][own]
    return images


def as_bytes(images: np.ndarray) -> np.ndarray:
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def test_the_vehicle_is_what_stays_in_place() -> None:
    """A bonnet with a pattern of its own; the sky is as steady, but above the horizon and bright."""
    found = find_static_region(as_bytes(drive(bonnet())), LOOKS_DOWN, StaticRule())
    assert overlap(found.own, bonnet()) > 0.97
    assert not found.own[:24].any()
    assert found.spread[:12].max() == 0


def test_dark_parts_above_the_horizon_are_vehicle() -> None:
    """A rack that hangs into a corner of the image, against the sky."""
    rack = np.add.outer(np.arange(SIZE[0]), np.arange(SIZE[1])) < 10
    images = drive(bonnet())
    images[:, rack] = 15
    found = find_static_region(as_bytes(images), LOOKS_DOWN, StaticRule())
    assert overlap(found.own, bonnet() | rack) > 0.95


def test_a_camera_that_sees_no_vehicle_has_an_empty_mask() -> None:
    """Nothing on the ground stays in place; dirt that does lies inside the image, where no vehicle begins."""
    images = drive(np.zeros(SIZE, dtype=bool))
    images[:, 40:46, 50:56] = 30
    assert not find_static_region(as_bytes(images), LOOKS_DOWN, StaticRule()).own.any()


@pytest.mark.parametrize("disturbance", ["noise", "gain", "mirror", "glint", "panel"])
def test_what_cameras_and_paint_do_is_borne(disturbance: str) -> None:
    """Noise of 5 grey levels; exposure that changes by a tenth; paint that mirrors 5 % of the world; a bright glint.

    And a panel below a steady rim that mirrors half of the sky.
    """
    rng, own, images = np.random.default_rng(1), bonnet(), drive(bonnet())
    if disturbance == "noise":
        images = images + rng.normal(0, 5, images.shape)
    elif disturbance == "gain":
        images = images * rng.uniform(0.9, 1.1, (len(images), 1, 1, 1))
    elif disturbance == "mirror":
        images[:, own] = 0.95 * images[:, own] + 0.05 * images[:, ::-1][:, own]
    elif disturbance == "panel":
        images[:, 52:, 30:50] = 0.5 * images[:, 52:, 30:50] + 0.5 * images[:, 8:0:-1, 30:50]
    else:
        images[::2, 50:54, 38:43] = 255
    found = find_static_region(as_bytes(images), LOOKS_DOWN, StaticRule())
    assert overlap(found.own, own) > 0.95


def test_a_standing_vehicle_tells_nothing() -> None:
    """Where nothing moves there is no world to tell the vehicle from, and no threshold: nothing is hidden."""
    still = np.repeat(as_bytes(drive(bonnet())[:1]), 9, axis=0)
    assert not find_static_region(still, LOOKS_DOWN, StaticRule()).own.any()


def test_rays_point_below_the_horizon_under_the_principal_point() -> None:
    """Of a level camera; pitched down by 45 degrees with a field of view of 90, none of its rays points up."""
    level = np.eye(4)
    level[:3, :3] = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # right, down, forward
    k = np.array([[30.0, 0.0, 48.0], [0.0, 30.0, 20.0], [0.0, 0.0, 1.0]])
    below = rays_below_horizon(k, level, SIZE)
    assert below[20:].all() and not below[:20].any()
    s = np.sqrt(0.5)
    pitched = np.eye(4)
    pitched[:3, :3] = np.array([[0.0, -s, s], [-1.0, 0.0, 0.0], [0.0, -s, -s]])
    k = np.array([[48.0, 0.0, 48.0], [0.0, 30.0, 30.0], [0.0, 0.0, 1.0]])
    assert rays_below_horizon(k, pitched, SIZE).all()


def test_overlap_of_nothing_with_nothing_is_whole() -> None:
    empty, half = np.zeros((2, 2), dtype=bool), np.array([[True, True], [False, False]])
    assert overlap(empty, empty) == 1.0 and overlap(half, empty) == 0.0
    assert overlap(half, np.ones((2, 2), dtype=bool)) == 0.5
