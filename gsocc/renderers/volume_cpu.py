"""Volume rendering on the CPU: sampling, compositing and their gradients fused in numba."""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from gsocc.fields.base import Field
from gsocc.fields.ray_rules import Exponential, NeusLogistic, RayRule, SaturatingLogits, SaturatingSum, ShiftedSoftplus
from gsocc.kernels import ray_rules as codes
from gsocc.kernels.ray_gather import Sampling
from gsocc.kernels.ray_geometry import Grid
from gsocc.kernels.ray_march import march, march_backward
from gsocc.renderers.base import (
    RendererError,
    Scene,
    assemble,
    check_rig,
    full_precision,
    option_names,
    require_cpu,
    stack_items,
)
from gsocc.renderers.buffers import GradientBuffers, empty, pack_rows
from gsocc.renderers.constants import TRANSMITTANCE_MIN
from gsocc.renderers.pixel_order import pixel_order
from gsocc.renderers.ray_samples import contracted_table, uniform_table
from gsocc.renderers.volume_options import VolumeOptions, check_ray_values, require_field
from gsocc.structures import CameraRig, ContractedGrid, RenderOutput, VoxelGrid


class VolumeCpu:
    """Marches rays through a field whose `ray_rule` is one of `gsocc.fields.ray_rules`.

    Takes the options of `VolumeOptions`, importance resampling excepted. The march ends once a sample leaves at most
    1e-4 of the light, forward and backward alike.
    """

    scene_kinds: tuple[type, ...] = (Field,)

    def __init__(self, **options: Any) -> None:
        self.options = VolumeOptions(**options)
        if self.options.sampling == "importance":
            raise RendererError(
                'volume_cpu: sampling "importance" is not in its kernels, which have uniform, cells and contracted; '
                "renderer 'volume' has it"
            )

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return option_names(VolumeOptions)

    def render(self, scene: Scene, rig: CameraRig) -> RenderOutput:
        """Draw the field into every camera; see `Renderer.render`.

        Raises:
            ValueError: Also where the field has a weight rule of its own.
        """
        field = require_field(scene, "volume_cpu", self.options)
        values, features = field.ray_values().float(), field.features().float()
        require_cpu(values, "volume_cpu")
        check_rig(rig, values.shape[0], "volume_cpu")
        check_ray_values(values, field.ray_rule, "volume_cpu")
        with full_precision(values):
            inv_s = torch.as_tensor(getattr(field.ray_rule, "inv_s", 0.0), dtype=torch.float32)
            items = [
                _March.apply(
                    values[b].flatten(1), features[b].flatten(1), inv_s, _plan(field, rig.item(b), self.options)
                )
                for b in range(rig.batch_size)
            ]
        parts = (part.unflatten(-1, rig.image_size) for part in stack_items(items))
        return assemble(*parts)


@dataclass(frozen=True)
class _Plan:
    """What the kernels are told of one batch item beside its voxels."""

    order: NDArray[np.int32]
    cameras: NDArray[np.float64]
    image_size: tuple[int, int]
    grid: Grid
    rule: codes.Rule
    sampling: Sampling
    table: NDArray[np.float64]

    def inputs(self, values: Float[Tensor, "L N"], rows: Float[Tensor, "N P"]) -> tuple[Any, ...]:
        """Return the arguments that `march` and `march_backward` share."""
        places = (self.order, self.cameras, self.image_size[1], self.grid, self.rule, self.sampling, self.table)
        return (*places, values.numpy(), rows.numpy())


def _plan(field: Field, rig: CameraRig, options: VolumeOptions) -> _Plan:
    grid = field.grid
    table = contracted_table(grid, options) if options.sampling == "contracted" else uniform_table(options)
    inner, ends = (grid.inner, grid.lattice == "ends") if isinstance(grid, ContractedGrid) else (0.0, False)
    return _Plan(
        pixel_order(rig.image_size),
        _cameras(grid, rig),
        rig.image_size,
        Grid(*grid.shape, inner, options.interpolation == "trilinear", field.ray_rule.padding == "border", ends),
        _kernel_rule(field.ray_rule, options.alpha_min),
        Sampling(options.sampling == "cells", options.near_m, options.far_m, options.min_move_voxels),
        torch.stack(table).numpy(),
    )


def _kernel_rule(rule: RayRule, alpha_min: float) -> codes.Rule:
    """Return a rule as the kernels read it.

    Raises:
        ValueError: Where they do not know it.
    """
    first, second = 0.0, 0.0
    if isinstance(rule, Exponential):
        code = codes.EXPONENTIAL
    elif isinstance(rule, SaturatingSum | SaturatingLogits):
        code, first = codes.SATURATING_SUM, float(rule.rest_at_last)
        second = float(isinstance(rule, SaturatingLogits))
    elif isinstance(rule, ShiftedSoftplus):
        code, first, second = codes.SHIFTED_SOFTPLUS, rule.shift, -1.0 if rule.interval is None else rule.interval
    elif isinstance(rule, NeusLogistic):
        code, first, second = codes.NEUS, float(torch.as_tensor(rule.inv_s).detach()), rule.anneal
    else:
        raise RendererError(
            f"volume_cpu: the field has ray_rule {rule!r}, the kernels know Exponential, SaturatingSum, "
            f"SaturatingLogits, ShiftedSoftplus and NeusLogistic; renderer 'volume' draws any rule"
        )
    limits = np.float32(alpha_min), np.float32(TRANSMITTANCE_MIN)
    return codes.Rule(code, np.float32(first), np.float32(second), *limits)


def _cameras(grid: VoxelGrid | ContractedGrid, rig: CameraRig) -> NDArray[np.float64]:
    """Pack (V, 3, 5) float64: R K^-1, the origin in units of position, and the metres per unit.

    The unit is a voxel, with the origin in the grid's lower corner; of a contracted grid half the extent of its box,
    with the origin in its middle.
    """
    pose, intrinsics = rig.cam_to_ego[0].detach().double(), rig.intrinsics[0].detach().double()
    directions = pose[:, :3, :3] @ torch.linalg.inv(intrinsics)  # (V, 3, 3)
    low = pose.new_tensor(grid.min_m)
    if isinstance(grid, ContractedGrid):
        unit = 0.5 * (pose.new_tensor(grid.max_m) - low)
        zero = low + unit
    else:
        unit, zero = pose.new_tensor(grid.voxel_m), low
    origins = (pose[:, :3, 3] - zero) / unit  # (V, 3)
    packed = torch.cat([directions, origins[..., None], unit.expand_as(origins)[..., None]], -1)
    return packed.contiguous().numpy()


class _March(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Float[Tensor, "L N"], features: Float[Tensor, "C N"], inv_s: Tensor, plan: _Plan
    ) -> tuple[Tensor, Tensor, Tensor]:
        views, channels = len(plan.cameras), features.shape[0]
        pixels = plan.image_size[0] * plan.image_size[1]
        rows, values = pack_rows(features), values.contiguous()  # (N, Cp), (L, N)
        out = (empty(views, channels, pixels), empty(views, pixels), empty(views, pixels))
        march(*(*plan.inputs(values, rows), numba.get_num_threads(), *(part.numpy() for part in out)))
        ctx.plan, ctx.channels = plan, channels
        ctx.save_for_backward(values, rows)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, rows = ctx.saved_tensors
        buffers = GradientBuffers.zeros(*rows.shape)
        tasks, slopes = len(buffers.rows), len(values) - 1
        by_slopes, by_inv_s = np.zeros((tasks, slopes, len(rows)), np.float32), np.zeros(tasks)
        into = (buffers.rows, buffers.scalars, by_slopes, by_inv_s, buffers.touched)
        grad = (part.float().contiguous().numpy() for part in grads)
        march_backward(*(*ctx.plan.inputs(values, rows), *grad, *into))
        by_features, by_first = buffers.total(ctx.channels)
        by_values = torch.cat([by_first[None], torch.from_numpy(by_slopes.sum(0))])  # (L, N)
        return by_values, by_features, torch.tensor(by_inv_s.sum(), dtype=torch.float32), None
