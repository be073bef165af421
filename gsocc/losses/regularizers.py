"""Regularisers of voxel volumes."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def total_variation(volume: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, ""]:
    """Return the mean absolute difference of neighbouring voxels, averaged over the three axes."""
    dx = (volume[:, :, 1:] - volume[:, :, :-1]).abs().mean()
    dy = (volume[:, :, :, 1:] - volume[:, :, :, :-1]).abs().mean()
    dz = (volume[..., 1:] - volume[..., :-1]).abs().mean()
    return (dx + dy + dz) / 3


def binary_entropy(probability: Float[Tensor, "*N"]) -> Float[Tensor, ""]:
    """Return the mean of ``-p ln p - (1 - p) ln(1 - p)``: 0 for certain, ln 2 for undecided."""
    p = probability.clamp(1e-6, 1 - 1e-6)  # float32 keeps 1 - 1e-6 apart from 1
    return -(p * p.log() + (1 - p) * torch.log1p(-p)).mean()


def half_entropy(probability: Float[Tensor, "*N"]) -> Float[Tensor, ""]:
    """Return the mean of ``-p ln(p + 1e-8)``, the first summand of a binary entropy (GaussianOcc).

    Largest at p = 1 / e and nothing at both ends, it prefers empty to full: below 1 / e it pulls down, above it pushes
    up.
    """
    return -(probability * (probability + 1e-8).log()).mean()


def emptiness(free_logits: Float[Tensor, "*N"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of free-space logits against free: ``-ln sigmoid(free_logits)``."""
    return F.softplus(-free_logits).mean()
