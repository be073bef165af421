"""From alpha per sample to weights along a ray."""

import torch
from jaxtyping import Float
from torch import Tensor


def ray_weights(
    alpha: Float[Tensor, "*R S"], t_min: float = 0.0, stop_before: bool = False
) -> tuple[Float[Tensor, "*R S"], Float[Tensor, "*R"]]:
    """Turn alphas, front to back, into compositing weights.

    Implements ``w_i = T_i alpha_i`` with ``T_i = prod_{j < i} (1 - alpha_j)``, Eq. 3 of NeRF (arXiv:2003.08934), with
    an early stop as the fused kernels have it. The stop itself carries no gradient.

    Args:
        alpha: Share of the arriving light that each sample stops, in [0, 1].
        t_min: Stop once this much light or less is left; 0 never stops.
        stop_before: Leave out the sample that would take the light to t_min (splats); else it is the last (rays).

    Returns:
        weights: Share of the ray that stops at each sample; sums to at most 1.
        transmittance: Share that is left after the last sample.
    """
    if alpha.shape[-1] == 0:
        return alpha, alpha.new_ones(alpha.shape[:-1])
    after = (1.0 - alpha).cumprod(-1)  # (*R, S)
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], -1)
    weights = alpha * before
    if t_min > 0.0:
        stopped = (after if stop_before else before) <= t_min
        weights = torch.where(stopped, 0.0, weights)
    return weights, 1.0 - weights.sum(-1)


def saturating_weights(share: Float[Tensor, "*R S"]) -> Float[Tensor, "*R S"]:
    """Turn shares of a ray, front to back, into weights that add up to at most 1.

    ``w_k = S_k - S_{k-1}`` with ``S_k = min(1, sum_{j<=k} p_j)`` (OccNeRF, arXiv:2312.09243). The sample at which the
    sum passes 1 gets what was left; samples from there on have no gradient of their own.
    """
    filled = share.cumsum(-1).clamp(max=1.0)  # (*R, S)
    return filled.diff(dim=-1, prepend=torch.zeros_like(filled[..., :1]))
