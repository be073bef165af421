"""Quaternions as (w, x, y, z)."""

import torch
from jaxtyping import Float
from torch import Tensor


def quat_to_matrix(quats: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 3 3"]:
    """Return rotation matrices; quaternions are normalised first and must not be zero."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
