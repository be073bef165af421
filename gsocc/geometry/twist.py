"""Rigid motions as twists: the exponential map of SE(3) and its inverse.

A twist is (vx, vy, vz, wx, wy, wz): metres, then radians about the axes of the frame that it acts in.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL = 1e-4  # below this angle in radians series replace quotients; their error is of the fourth order


def cross_matrix(v: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3 3"]:
    """Return the matrix that takes the cross product with v from the left."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def twist_to_motion(twist: Float[Tensor, "*N 6"]) -> Float[Tensor, "*N 4 4"]:
    """Return exp(twist): the motion of a body that keeps this velocity for one unit of time.

    With ``t = |w|``: ``R = 1 + sin(t)/t W + (1 - cos(t))/t^2 W^2`` (Rodrigues), translation ``V v`` with
    ``V = 1 + (1 - cos(t))/t^2 W + (t - sin(t))/t^3 W^2``. Differentiable everywhere.
    """
    first, second, third = _coefficients(twist[..., 3:].square().sum(-1))
    w = cross_matrix(twist[..., 3:])
    eye = torch.eye(3, dtype=twist.dtype, device=twist.device)
    square = w @ w
    rotation = eye + first * w + second * square
    left = eye + second * w + third * square
    top = torch.cat([rotation, left @ twist[..., :3, None]], -1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)


def axis_angle_to_motion(values: Float[Tensor, "*N 6"]) -> Float[Tensor, "*N 4 4"]:
    """Return the motion ``x -> R(w) x + t`` of (tx, ty, tz, wx, wy, wz), as monodepth2's lineage writes its poses.

    Unlike a twist's, the translation is not bent by the rotation; the two agree to first order.
    """
    turned = twist_to_motion(values)
    top = torch.cat([turned[..., :3, :3], values[..., :3, None]], -1)
    return torch.cat([top, turned[..., 3:, :]], -2)


def motion_to_twist(motion: Float[Tensor, "*N 4 4"]) -> Float[Tensor, "*N 6"]:
    """Return log(motion), for rotations by less than pi."""
    rotation = motion[..., :3, :3]
    axis = torch.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        -1,
    )  # (*N, 3), 2 sin(t) times the unit axis
    angle = rotation_angle(motion)
    small = angle < _SMALL
    safe = torch.where(small, torch.ones_like(angle), angle)
    half = torch.where(small, 0.5 + angle.square() / 12, safe / (2 * torch.sin(safe)))
    w = axis * half[..., None]
    _, second, third = _coefficients(w.square().sum(-1))
    cross = cross_matrix(w)
    left = torch.eye(3, dtype=motion.dtype, device=motion.device) + second * cross + third * (cross @ cross)
    return torch.cat([torch.linalg.solve(left, motion[..., :3, 3]), w], -1)


def rotation_angle(motion: Float[Tensor, "*N a b"]) -> Float[Tensor, "*N"]:
    """Return the angle in radians by which a rotation, or the rotation of a rigid transform, turns; in [0, pi].

    From the arc tangent of sine and cosine: the arc cosine alone loses half of the digits at small angles.
    """
    r = motion[..., :3, :3]
    cosine = (r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    sine = torch.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1)
    return torch.atan2(sine.norm(dim=-1) / 2, cosine)


def _coefficients(
    square: Float[Tensor, "*N"],
) -> tuple[Float[Tensor, "*N 1 1"], Float[Tensor, "*N 1 1"], Float[Tensor, "*N 1 1"]]:
    """Return sin(t)/t, (1 - cos(t))/t^2 and (t - sin(t))/t^3 of t^2."""
    small = square < _SMALL**2
    # The unused branch of where must be finite too, or its gradient is not a number.
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    first = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)
    # 1 - cos(t) = 2 sin(t/2)^2 keeps its digits where the angle is small.
    second = torch.where(small, 0.5 - square / 24, 2 * torch.sin(angle / 2).square() / safe)
    third = torch.where(small, 1 / 6 - square / 120, (angle - torch.sin(angle)) / (safe * angle))
    return first[..., None, None], second[..., None, None], third[..., None, None]
