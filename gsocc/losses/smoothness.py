"""Edge-aware smoothness of disparity (monodepth2, arXiv:1806.01260)."""

from jaxtyping import Float
from torch import Tensor


def disparity_smoothness(depth_m: Float[Tensor, "N H W"], image: Float[Tensor, "N 3 H W"]) -> Float[Tensor, ""]:
    """Penalise disparity gradients where the image has none.

    The disparity is divided by its mean over the image, so that the loss does not reward large depths.
    """
    disparity = 1 / depth_m.clamp(min=1e-3)
    disparity = disparity / (disparity.mean((-1, -2), keepdim=True) + 1e-7)
    step_x = (disparity[..., :, 1:] - disparity[..., :, :-1]).abs()
    step_y = (disparity[..., 1:, :] - disparity[..., :-1, :]).abs()
    edge_x = (image[..., :, 1:] - image[..., :, :-1]).abs().mean(1)
    edge_y = (image[..., 1:, :] - image[..., :-1, :]).abs().mean(1)
    return (step_x * (-edge_x).exp()).mean() + (step_y * (-edge_y).exp()).mean()
