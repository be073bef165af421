"""Smoothness of disparity: edge-aware (monodepth2, arXiv:1806.01260), and behind a mask."""

from jaxtyping import Bool, Float
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


def disparity_bending(depth_m: Float[Tensor, "N H W"], where: Bool[Tensor, "N H W"]) -> Float[Tensor, ""]:
    """Penalise second differences of disparity around the pixels of a mask.

    The disparity of a plane is linear in the image: what is hidden goes on as the plane around it does, a road as a
    road. The disparity is divided by its mean over the image, so that the loss does not reward large depths.

    Args:
        depth_m: Depth along the optical axis.
        where: Pixels that have no depth of their own.

    Returns:
        Mean over the differences that touch such a pixel; 0 where there is none.
    """
    disparity = 1 / depth_m.clamp(min=1e-3)
    disparity = disparity / (disparity.mean((-1, -2), keepdim=True) + 1e-7)
    bend_x = (disparity[..., :, 2:] - 2 * disparity[..., :, 1:-1] + disparity[..., :, :-2]).abs()
    bend_y = (disparity[..., 2:, :] - 2 * disparity[..., 1:-1, :] + disparity[..., :-2, :]).abs()
    touch_x = where[..., :, 2:] | where[..., :, 1:-1] | where[..., :, :-2]
    touch_y = where[..., 2:, :] | where[..., 1:-1, :] | where[..., :-2, :]
    total = bend_x.masked_fill(~touch_x, 0.0).sum() + bend_y.masked_fill(~touch_y, 0.0).sum()
    return total / (touch_x.sum() + touch_y.sum()).clamp(min=1)
