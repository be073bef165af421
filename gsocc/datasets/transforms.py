"""Colour jitter: one draw for a whole sample, so that cameras keep agreeing where they overlap."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_GRAY = (0.299, 0.587, 0.114)  # Rec. 601, the weights that JPEG uses


@dataclass(frozen=True)
class ColorJitter:
    """One fixed change of colours.

    Attributes:
        brightness: Factor on all values.
        contrast: Factor on the distance from the mean grey of all images.
        saturation: Factor on the distance from each pixel's own grey.
        hue: Shift around the colour circle, in turns.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    @staticmethod
    def draw(generator: torch.Generator, strength: float = 0.2, hue: float = 0.1) -> "ColorJitter":
        """Draw the three factors from [1 - strength, 1 + strength] and the hue shift from [-hue, hue]."""
        brightness, contrast, saturation, turns = (2.0 * torch.rand(4, generator=generator) - 1.0).tolist()
        return ColorJitter(
            brightness=1.0 + strength * brightness,
            contrast=1.0 + strength * contrast,
            saturation=1.0 + strength * saturation,
            hue=hue * turns,
        )

    def __call__(self, images: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V 3 H W"]:
        """Change the colours of all images alike: brightness, contrast, saturation, hue, clipped to [0, 1].

        The published loaders draw anew for every camera and every time step, which breaks the agreement between
        overlapping cameras; here one draw, and one mean grey, serve all.

        Args:
            images: RGB in [0, 1]; not written to.
        """
        weights = images.new_tensor(_GRAY)[:, None, None]
        images = (images * self.brightness).clamp(0.0, 1.0)
        mean = (images * weights).sum(1).mean()
        images = (mean + self.contrast * (images - mean)).clamp(0.0, 1.0)
        gray = (images * weights).sum(1, keepdim=True)  # (V, 1, H, W)
        images = (gray + self.saturation * (images - gray)).clamp(0.0, 1.0)
        return _shift_hue(images, self.hue) if self.hue else images


def jittered(
    images: Float[Tensor, "N 3 H W"],
    probability: float,
    per: Literal["sample", "image"],
    generator: torch.Generator,
) -> Float[Tensor, "N 3 H W"]:
    """Return the images of a sample with other colours, with this probability, or else a copy.

    Args:
        images: RGB in [0, 1]; not written to.
        probability: In [0, 1]; drawn once for all images.
        per: Draw the change once per "sample", or for every "image" (the published loaders).
        generator: What is drawn from.
    """
    if probability <= 0.0 or torch.rand((), generator=generator).item() >= probability:
        return images.clone()
    if per == "image":
        return torch.cat([ColorJitter.draw(generator)(image[None]) for image in images])
    return ColorJitter.draw(generator)(images)


def _shift_hue(images: Float[Tensor, "V 3 H W"], turns: float) -> Float[Tensor, "V 3 H W"]:
    views, _, height, width = images.shape
    tall = np.ascontiguousarray(images.permute(0, 2, 3, 1).reshape(views * height, width, 3).numpy())
    hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV)  # float32 hue in degrees
    hsv[..., 0] = (hsv[..., 0] + 360.0 * turns) % 360.0
    shifted = torch.from_numpy(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).clamp_(0.0, 1.0)
    return shifted.reshape(views, height, width, 3).permute(0, 3, 1, 2).contiguous()
