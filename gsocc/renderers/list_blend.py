"""Autograd around the kernels that blend cached voxel lists."""

from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsocc.kernels.list_blend import blend_backward, blend_forward
from gsocc.renderers.buffers import GradientBuffers, empty, pack_rows
from gsocc.renderers.constants import ALPHA_MIN, TRANSMITTANCE_MIN
from gsocc.renderers.voxel_lists import VoxelLists


def blend_voxel_lists(
    lists: VoxelLists,
    opacities: Float[Tensor, " N"],
    features: Float[Tensor, "C N"],
    alpha_max: float,
) -> tuple[Float[Tensor, "V C H W"], Float[Tensor, "V H W"], Float[Tensor, "V H W"]]:
    """Composite one scene along cached lists, differentiably in opacities and features.

    Args:
        lists: Of the scene's grid and rig.
        opacities: Per voxel, in [0, 1], float32 on the CPU.
        features: Per voxel, float32 on the CPU.
        alpha_max: Upper bound of alpha; where it binds, the opacity gets no gradient.

    Returns:
        features: sum(w f) per pixel.
        depth_sum_m: sum(w z) in metres.
        opacity: sum(w).
    """
    features, depth, opacity = _BlendVoxelLists.apply(opacities, features, lists, alpha_max)
    return features, depth, opacity


class _BlendVoxelLists(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, opacities: Tensor, features: Tensor, lists: VoxelLists, alpha_max: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        views, size = int(lists.blocks[0]), lists.image_size
        rows = pack_rows(features, ~(opacities < ALPHA_MIN))  # NaN is drawn, to be seen
        opacities = opacities.contiguous()
        out_features = empty(views, features.shape[0], *size)
        out_depth, out_opacity, light = (empty(views, *size) for _ in range(3))
        last = empty(views, *size, dtype=np.int32)
        images = (out_features, out_depth, out_opacity, light, last)
        limits = (np.float32(alpha_max), np.float32(TRANSMITTANCE_MIN), numba.get_num_threads())
        scene: tuple[Any, ...] = (*lists.arrays, opacities.numpy(), rows.numpy(), np.float32(ALPHA_MIN))
        blend_forward(*(*scene, *limits, *(image.numpy() for image in images)))
        ctx.lists, ctx.alpha_max, ctx.channels = lists, alpha_max, features.shape[0]
        ctx.save_for_backward(opacities, rows, light, last)
        return out_features, out_depth, out_opacity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        opacities, rows, light, last = ctx.saved_tensors
        lists: VoxelLists = ctx.lists
        buffers = GradientBuffers.allocate(*rows.shape)
        grad_features, grad_depth, grad_opacity = (g.float().contiguous().numpy() for g in grads)
        scene: tuple[Any, ...] = (*lists.arrays, opacities.numpy(), rows.numpy(), np.float32(ALPHA_MIN))
        images = (light.numpy(), last.numpy(), grad_features, grad_depth, grad_opacity)
        blend_backward(*(*scene, np.float32(ctx.alpha_max), *images, buffers.rows, buffers.scalars, buffers.touched))
        out_features, out_opacities = buffers.total(ctx.channels)
        return out_opacities, out_features, None, None
