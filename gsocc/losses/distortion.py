"""The distortion loss of mip-NeRF 360: a ray's weight should sit in one place."""

from jaxtyping import Float
from torch import Tensor


def distortion_loss(
    weights: Float[Tensor, "*R S"], depths_m: Float[Tensor, "*R S"], lengths_m: Float[Tensor, "*R S"]
) -> Float[Tensor, ""]:
    """Return ``sum_ij w_i w_j |z_i - z_j| + 1/3 sum_i w_i^2 l_i``, averaged over rays.

    Eq. 15 of mip-NeRF 360 (arXiv:2111.12077), in metres instead of normalised distances, as OccNeRF has it: weight far
    away costs more than near. Depths are sorted, so the double sum is
    ``2 sum_i w_i (z_i W_i - (wz)_i)`` with sums over the samples before i: linear in the number of samples (DVGO v2,
    arXiv:2206.05085).

    Args:
        weights: Of the samples of a ray, front to back.
        depths_m: Their depths, ascending.
        lengths_m: Length that each sample stands for; see `sample_lengths`.
    """
    weighted = weights * depths_m
    before = weights.cumsum(-1) - weights  # (*R, S)
    weighted_before = weighted.cumsum(-1) - weighted
    apart = 2.0 * (weights * (depths_m * before - weighted_before)).sum(-1)
    own = (weights.square() * lengths_m).sum(-1) / 3.0
    return (apart + own).mean()


def sample_lengths(
    depths_m: Float[Tensor, "*R S"], speed: Float[Tensor, "*R"], last_m: float = 1e4
) -> Float[Tensor, "*R S"]:
    """Return the way to the next sample in metres; OccNeRF gives the last sample 1e4 m.

    Args:
        depths_m: Depths of the samples along the optical axis.
        speed: Metres of way per metre of depth: the length of the ray's direction of unit depth.
        last_m: Of the last sample.
    """
    lengths = depths_m.new_full(depths_m.shape, last_m)
    lengths[..., :-1] = depths_m.diff(dim=-1) * speed[..., None]
    return lengths
