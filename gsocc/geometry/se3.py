"""Rigid transforms as 4x4 matrices named `a_to_b`."""

import torch
from jaxtyping import Float
from torch import Tensor


def invert_rigid(a_to_b: Float[Tensor, "*N 4 4"]) -> Float[Tensor, "*N 4 4"]:
    """Return `b_to_a`, by transposing the rotation instead of solving."""
    rotation = a_to_b[..., :3, :3].transpose(-1, -2)  # (*N, 3, 3)
    translation = -(rotation @ a_to_b[..., :3, 3:])  # (*N, 3, 1)
    top = torch.cat([rotation, translation], -1)  # (*N, 3, 4)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)


def transform_points(a_to_b: Float[Tensor, "*N 4 4"], points_a: Float[Tensor, "*N P 3"]) -> Float[Tensor, "*N P 3"]:
    """Move points from frame a to frame b; leading axes broadcast."""
    return points_a @ a_to_b[..., :3, :3].transpose(-1, -2) + a_to_b[..., None, :3, 3]
