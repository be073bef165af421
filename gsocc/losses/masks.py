"""Masks of what may be compared."""

import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor


def keep_margin(valid_mask: Bool[Tensor, "B V H W"], margin_px: int) -> Bool[Tensor, "B V H W"]:
    """Return a mask of valid pixels without those that lie in a square of `margin_px` to each side of an invalid one.

    The border of the image keeps what it has: nothing is known to be invalid beyond.
    """
    if margin_px == 0:
        return valid_mask
    grown = F.max_pool2d((~valid_mask).float(), 2 * margin_px + 1, stride=1, padding=margin_px)
    return grown < 0.5
