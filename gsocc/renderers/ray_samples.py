"""Where on its ray a sample lies, and how much of the ray it stands for: the samplers of the volume renderers.

Rays are ``origin + t direction`` with directions of unit depth, so that t is depth along the optical axis.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gsocc.renderers.base import RendererError
from gsocc.renderers.volume_options import VolumeOptions
from gsocc.structures import ContractedGrid, VoxelGrid
from gsocc.structures.contracted_grid import INNER, expand


def uniform_table(options: VolumeOptions) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
    """Return depths near_m + (k + 0.5) step_m up to far_m, and their lengths step_m; float64."""
    count = max(0, math.floor((options.far_m - options.near_m) / options.step_m - 0.5) + 1)
    depths = options.near_m + (torch.arange(count, dtype=torch.float64) + 0.5) * options.step_m
    return depths, torch.full_like(depths, options.step_m)


def contracted_table(
    grid: VoxelGrid | ContractedGrid, options: VolumeOptions
) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
    """Return OccNeRF's reorganised samples (arXiv:2312.09243), float64.

    ``Z_k = near_m + D g(c_k)`` with D the diagonal of the grid's box, g the inverse contraction (`expand`) and c_k
    equally spaced in [0, 1 - 0.5 / n], n the longest axis of the grid: ``D / (step_m inner)`` samples, step_m apart up
    to D. A sample stands for the way to the next one, the last for as much as the one before it (the published code
    gives it 1e4 m). Of a `VoxelGrid` the contraction is the published one.

    Raises:
        ValueError: Where step_m leaves fewer than two samples.
    """
    inner = grid.inner if isinstance(grid, ContractedGrid) else INNER
    count = int(grid.diagonal_m / (options.step_m * inner))
    if count < 2:
        raise RendererError(
            f"renderer.step_m must be at most half of the grid's diagonal of {grid.diagonal_m:g} m for contracted "
            f"sampling, got {options.step_m:g}"
        )
    contracted = torch.linspace(0.0, 1.0 - 0.5 / max(grid.shape), count, dtype=torch.float64)
    depths = options.near_m + grid.diagonal_m * expand(contracted, inner)
    lengths = depths.diff()
    return depths, torch.cat([lengths, lengths[-1:]])


def group_sums(values: Float[Tensor, "R S *rest"], count: int) -> Float[Tensor, "R G *rest"]:
    """Sum over groups of `count` consecutive samples; the last group has what is left."""
    if count == 1:
        return values
    groups = -(-values.shape[1] // count)
    padding = values.new_zeros(len(values), groups * count - values.shape[1], *values.shape[2:])
    return torch.cat([values, padding], 1).unflatten(1, (groups, count)).sum(2)


def group_means(values: Float[Tensor, "R S *rest"], count: int) -> Float[Tensor, "R G *rest"]:
    """Average over groups of `count` consecutive samples; the last group has what is left."""
    sizes = group_sums(torch.ones_like(values), count)
    return group_sums(values, count) / sizes


def cell_samples(
    grid: VoxelGrid, origins: Float[Tensor, "R 3"], rays: Float[Tensor, "R 3"], options: VolumeOptions
) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S"]]:
    """Return the middle and the length, in depth, of every stretch between two voxel faces.

    Stretches that lie beyond near_m or far_m have no length, nor has a last one at far_m, which stands for all that is
    behind the grid.
    """
    crossings = []
    for axis in range(3):
        faces = torch.arange(grid.shape[axis] + 1, device=rays.device, dtype=rays.dtype)
        faces = grid.min_m[axis] + faces * grid.voxel_m[axis]
        depth = (faces - origins[:, axis, None]) / rays[:, axis, None]  # (R, faces)
        # A ray within a face of its own axis never crosses it: 0 / 0.
        crossings.append(depth.nan_to_num(nan=options.far_m))
    ordered = torch.cat(crossings, -1).clamp(options.near_m, options.far_m).sort(-1).values  # (R, S + 1)
    middles, lengths = 0.5 * (ordered[:, 1:] + ordered[:, :-1]), ordered.diff(dim=-1)
    return F.pad(middles, (0, 1), value=options.far_m), F.pad(lengths, (0, 1))


def resample(
    edges: Float[Tensor, "R E"], weights: Float[Tensor, "R S"], count: int
) -> tuple[Float[Tensor, "R N"], Float[Tensor, "R N"]]:
    """Cut rays into intervals of equal weight (LangOcc, after the importance sampling of nerfacc 0.5.3).

    The cumulated weight is taken to grow linearly within each coarse interval, and what the ray has left goes to the
    last of them, so that the new intervals cover all of the ray and the estimate stays unbiased. Nothing is random,
    and no gradient passes.

    Args:
        edges: Depths that bound the coarse intervals, ascending; E = S + 1.
        weights: Weight of each coarse interval, adding up to at most 1.
        count: Number of new intervals.

    Returns:
        depths: Middles of the new intervals.
        lengths: Their lengths.
    """
    edges, weights = edges.detach(), weights.detach()
    filled = weights.cumsum(-1).clamp(max=1.0)  # (R, S)
    cdf = torch.cat([torch.zeros_like(filled[:, :1]), filled[:, :-1], torch.ones_like(filled[:, :1])], -1)  # (R, E)
    levels = torch.linspace(0.0, 1.0, count + 1, device=edges.device, dtype=edges.dtype).expand(len(edges), -1)
    upper = torch.searchsorted(cdf, levels.contiguous()).clamp(1, cdf.shape[-1] - 1)  # (R, N + 1)
    low, high = cdf.gather(-1, upper - 1), cdf.gather(-1, upper)
    share = ((levels - low) / (high - low).clamp(min=torch.finfo(cdf.dtype).tiny)).clamp(0.0, 1.0)
    start, end = edges.gather(-1, upper - 1), edges.gather(-1, upper)
    fine = start + share * (end - start)
    # Empty stretches at the ends belong to the ray too: none of it may be left out.
    fine = torch.cat([edges[:, :1], fine[:, 1:-1], edges[:, -1:]], -1)
    return 0.5 * (fine[:, 1:] + fine[:, :-1]), fine.diff(dim=-1)
