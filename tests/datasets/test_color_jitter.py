"""Colour jitter."""

import colorsys

import pytest
import torch

from gsocc.datasets.transforms import ColorJitter


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


def test_the_neutral_jitter_changes_nothing(images: torch.Tensor) -> None:
    torch.testing.assert_close(ColorJitter()(images), images)


def test_brightness_scales_and_clips(images: torch.Tensor) -> None:
    torch.testing.assert_close(ColorJitter(brightness=1.2)(images), (1.2 * images).clamp(max=1.0))


def test_no_saturation_leaves_rec601_grey(images: torch.Tensor) -> None:
    grey = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    torch.testing.assert_close(ColorJitter(saturation=0.0)(images), grey[:, None].expand_as(images))


def test_no_contrast_leaves_one_grey_for_all_cameras(images: torch.Tensor) -> None:
    """Overlapping cameras see one surface in one colour: the mean that contrast turns around is common to all."""
    flat = ColorJitter(contrast=0.0)(images)
    torch.testing.assert_close(flat, flat[0, 0, 0, 0].expand_as(flat))


@pytest.mark.parametrize("turns", [0.1, -0.1, 1 / 3])
def test_hue_turns_the_colour_circle_as_the_standard_library_does(images: torch.Tensor, turns: float) -> None:
    """Agreement with `colorsys`; OpenCV's conversion is good to about 1e-4 in float32."""
    shifted = ColorJitter(hue=turns)(images)
    for view in range(2):
        pixel = images[view, :, 1, 2].tolist()
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        expected = colorsys.hsv_to_rgb((h + turns) % 1.0, s, v)
        torch.testing.assert_close(shifted[view, :, 1, 2], torch.tensor(expected), atol=2e-4, rtol=0)


def test_draws_lie_in_their_ranges_and_inputs_are_not_written_to(images: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    before = images.clone()
    for _ in range(50):
        jitter = ColorJitter.draw(generator)
        assert all(0.8 <= f <= 1.2 for f in (jitter.brightness, jitter.contrast, jitter.saturation))
        assert -0.1 <= jitter.hue <= 0.1
        changed = jitter(images)
        assert changed.min() >= 0.0 and changed.max() <= 1.0
    assert torch.equal(images, before)
