"""Volume rendering on the CPU: sampling, compositing and their gradients fused in numba."""

from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsocc.fields.base import Field
from gsocc.fields.ray_rules import Exponential
from gsocc.kernels.ray_march import march_cells, march_cells_backward, march_uniform, march_uniform_backward
from gsocc.renderers.base import RendererError, Scene, assemble, check_rig, full_precision, option_names, require_cpu
from gsocc.renderers.buffers import GradientBuffers, pack_rows
from gsocc.renderers.constants import TRANSMITTANCE_MIN
from gsocc.renderers.pixel_order import pixel_order
from gsocc.renderers.volume_options import VolumeOptions, check_ray_values, require_field
from gsocc.structures import CameraRig, RenderOutput, VoxelGrid


class VolumeCpu:
    """Marches rays through a field whose `ray_rule` is `Exponential`: alpha = 1 - exp(-sigma delta).

    Takes the options of `VolumeOptions`. The march ends once a sample leaves at most 1e-4 of the light, forward and
    backward alike.
    """

    scene_kinds: tuple[type, ...] = (Field,)

    def __init__(self, **options: Any) -> None:
        self.options = VolumeOptions(**options)

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(VolumeOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the field into every camera; see `Renderer.render`.

        Raises:
            ValueError: Also where the field turns values into alpha by another rule.
        """
        field = require_field(scene, "volume_cpu", self.options)
        if not isinstance(field.ray_rule, Exponential):
            raise RendererError(
                f"volume_cpu: {type(field).__name__} has ray_rule {field.ray_rule}, the kernels know Exponential(); "
                f"renderer 'volume' draws any rule"
            )
        density, features = field.ray_values()[:, 0].float(), field.features().float()
        if not isinstance(field.grid, VoxelGrid) or self.options.sampling not in ("uniform", "cells"):
            raise RendererError(
                "volume_cpu: draws a VoxelGrid by uniform or cells sampling; renderer 'volume' draws all"
            )
        require_cpu(density, "volume_cpu")
        check_rig(rig, density.shape[0], "volume_cpu")
        check_ray_values(field.ray_values(), field.ray_rule, "volume_cpu")
        with full_precision(density):
            items = [
                march(density[b], features[b], field.grid, rig.item(b), self.options) for b in range(rig.batch_size)
            ]
        colours, depth, opacity = (torch.stack(parts) for parts in zip(*items, strict=True))
        return assemble(colours, depth, opacity)


def march(
    density: Float[Tensor, "X Y Z"],
    features: Float[Tensor, "C X Y Z"],
    grid: VoxelGrid,
    rig: CameraRig,
    options: VolumeOptions,
) -> tuple[Float[Tensor, "V C H W"], Float[Tensor, "V H W"], Float[Tensor, "V H W"]]:
    """Render one batch item, differentiably in density and features.

    Args:
        density: In 1/m, float32 on the CPU.
        features: Float32 on the CPU.
        grid: Where the voxels are.
        rig: Cameras of one batch item.
        options: How to sample.

    Returns:
        features: sum(w f) per pixel.
        depth_sum_m: sum(w z) in metres.
        opacity: sum(w).
    """
    # One voxel of zeros around everything: trilinear corners then need no bounds check.
    padded_density = F.pad(density, (1,) * 6)
    padded_features = F.pad(features, (1,) * 6)
    shape = np.array(padded_density.shape, np.int64)
    flat, depth, opacity = _March.apply(
        padded_density.flatten(), padded_features.flatten(1), shape, _cameras(grid, rig), rig.image_size, options
    )
    return (
        flat.unflatten(-1, rig.image_size),
        depth.unflatten(-1, rig.image_size),
        opacity.unflatten(-1, rig.image_size),
    )


def _cameras(grid: VoxelGrid, rig: CameraRig) -> np.ndarray:
    """Pack (V, 3, 5) float64: R K^-1, the origin in padded voxel units, and the voxel edges."""
    pose, intrinsics = rig.cam_to_ego[0].detach().double(), rig.intrinsics[0].detach().double()
    directions = pose[:, :3, :3] @ torch.linalg.inv(intrinsics)  # (V, 3, 3)
    edges = pose.new_tensor(grid.voxel_m)
    origins = (pose[:, :3, 3] - pose.new_tensor(grid.min_m)) / edges + 1.0  # (V, 3)
    packed = torch.cat([directions, origins[..., None], edges.expand_as(origins)[..., None]], -1)
    return packed.contiguous().numpy()


class _March(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        density: Tensor,
        features: Tensor,
        shape: np.ndarray,
        cameras: np.ndarray,
        image_size: tuple[int, int],
        options: VolumeOptions,
    ) -> tuple[Tensor, Tensor, Tensor]:
        height, width = image_size
        views, pixels, channels = len(cameras), height * width, features.shape[0]
        rows, order = pack_rows(features), pixel_order(image_size)
        density = density.contiguous()
        out_features = torch.empty(views, channels, pixels)
        out_depth, out_opacity = torch.empty(views, pixels), torch.empty(views, pixels)
        count = torch.empty(views, pixels, dtype=torch.int32)
        out: tuple[Any, ...] = (out_features.numpy(), out_depth.numpy(), out_opacity.numpy(), count.numpy())
        volume: tuple[Any, ...] = (
            order,
            cameras,
            width,
            shape,
            density.numpy(),
            rows.numpy(),
            options.near_m,
            options.far_m,
        )
        limits: tuple[Any, ...] = (
            np.float32(options.alpha_min),
            np.float32(TRANSMITTANCE_MIN),
            numba.get_num_threads(),
        )
        if options.sampling == "cells":
            march_cells(*volume, *limits, *out)
        else:
            uniform = (options.step_m, options.interpolation == "trilinear")
            march_uniform(*(*volume, *uniform, *limits, *out))
        ctx.geometry, ctx.channels = (order, cameras, width, shape, options), channels
        ctx.save_for_backward(density, rows, count)
        return out_features, out_depth, out_opacity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        density, rows, count = ctx.saved_tensors
        order, cameras, width, shape, options = ctx.geometry
        buffers = GradientBuffers.zeros(*rows.shape)
        grad: tuple[Any, ...] = tuple(g.float().contiguous().numpy() for g in grads)
        into: tuple[Any, ...] = (buffers.rows, buffers.scalars, buffers.touched)
        volume: tuple[Any, ...] = (
            order,
            cameras,
            width,
            shape,
            density.numpy(),
            rows.numpy(),
            options.near_m,
            options.far_m,
        )
        limits: tuple[Any, ...] = (np.float32(options.alpha_min), count.numpy())
        if options.sampling == "cells":
            march_cells_backward(*volume, *limits, *grad, *into)
        else:
            uniform = (options.step_m, options.interpolation == "trilinear")
            march_uniform_backward(*(*volume, *uniform, *limits, *grad, *into))
        grad_features, grad_density = buffers.total(ctx.channels)
        return grad_density, grad_features, None, None, None, None
