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


def rotation_from_axis_angle(axis_angle_rad: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3 3"]:
    """Return rotations by Rodrigues' formula; values and gradients are exact at and near zero."""
    # The root of a number that is never zero: the gradient of a length at zero is not defined.
    angle = (axis_angle_rad.square().sum(-1) + 1e-16).sqrt()[..., None, None]
    x, y, z = axis_angle_rad.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    first = torch.sinc(angle / torch.pi)  # sin(a) / a
    second = 0.5 * torch.sinc(angle / (2 * torch.pi)).square()  # (1 - cos a) / a^2
    return torch.eye(3, dtype=skew.dtype, device=skew.device) + first * skew + second * (skew @ skew)


def motion_matrix(
    axis_angle_rad: Float[Tensor, "*N 3"], translation_m: Float[Tensor, "*N 3"]
) -> Float[Tensor, "*N 4 4"]:
    """Return the rigid motion that rotates first and then translates."""
    top = torch.cat([rotation_from_axis_angle(axis_angle_rad), translation_m[..., None]], -1)  # (*N, 3, 4)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)
