"""What every renderer returns."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class RenderOutput:
    """Images of a scene, one per camera.

    Attributes:
        depth_m: Expected depth along the optical axis, sum(w z) / max(opacity, 1e-10); 0 where nothing is hit.
        depth_sum_m: sum(w z), not normalised.
        opacity: sum(w) in [0, 1].
        features: sum(w f), not normalised.
        weights: Per-sample weights (B, V, H, W, S) of a volume renderer that was asked for them.
        sample_depths_m: Their depths along the optical axis, without gradient.
    """

    depth_m: Float[Tensor, "B V H W"]
    depth_sum_m: Float[Tensor, "B V H W"]
    opacity: Float[Tensor, "B V H W"]
    features: Float[Tensor, "B V C H W"]
    weights: Float[Tensor, "B V H W S"] | None = None
    sample_depths_m: Float[Tensor, "B V H W S"] | None = None
