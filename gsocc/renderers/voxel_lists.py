"""Voxel lists of a fixed grid and rig, and the cache that holds them.

In voxel splatting only opacity and features change from step to step. Projection, kernel values and depth order of
every (pixel, voxel) pair depend on grid, scales, rig and image size alone: they are computed once and kept.
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gsocc.kernels.voxel_lists import BLOCK, count_entries, fill_entries
from gsocc.renderers.base import RendererError, SplatOptions
from gsocc.renderers.constants import ALPHA_MIN
from gsocc.renderers.projection import project_gaussians, released_footprints
from gsocc.structures import CameraRig, VoxelGaussians

_TWO_SIGMA_MAX = 2.0 * math.log(1.0 / ALPHA_MIN)


@dataclass(frozen=True)
class VoxelLists:
    """For every block of `BLOCK` x `BLOCK` pixels, front to back, the voxels whose kernel is at least `ALPHA_MIN`.

    A pair is a voxel in a block; its entries are the pixels that it reaches there, the strongest first.

    Attributes:
        blocks: (3,) int64: views, rows and columns of blocks.
        block_pairs: (blocks + 1,) int64, where the pairs of each block start.
        block_entries: (blocks + 1,) int64, where the entries of each block start.
        pair_voxel: (pairs,) int32, flat voxel index, x slowest.
        pair_depth: (pairs,) float32, depth of the voxel's centre in metres.
        pair_peak: (pairs,) float32, the strongest kernel.
        pair_end: (pairs,) int32, entries of the block up to the end of the pair.
        entry_kernel: (E,) float32, exp(-sigma): alpha at opacity 1.
        entry_pixel: (E,) uint8, row * BLOCK + column of the pixel in its block.
        image_size: (H, W).
    """

    blocks: NDArray[np.int64]
    block_pairs: NDArray[np.int64]
    block_entries: NDArray[np.int64]
    pair_voxel: NDArray[np.int32]
    pair_depth: NDArray[np.float32]
    pair_peak: NDArray[np.float32]
    pair_end: NDArray[np.int32]
    entry_kernel: NDArray[np.float32]
    entry_pixel: NDArray[np.uint8]
    image_size: tuple[int, int]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Everything but the image size, as the blending kernels take it."""
        return tuple(getattr(self, field.name) for field in fields(self))[:-1]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(array.nbytes for array in self.arrays)


@dataclass(frozen=True)
class _SortedView:
    voxels: NDArray[np.int32]
    means2d: NDArray[np.float32]
    conics: NDArray[np.float32]
    depths_m: NDArray[np.float32]
    radii_v: NDArray[np.float32]


def _sorted_view(scene: VoxelGaussians, rig: CameraRig, view: int, options: SplatOptions) -> _SortedView:
    means = scene.grid.centers_m().reshape(-1, 3)
    covariances = torch.diag_embed(scene.scales_m().square())  # (N or 1, 3, 3)
    camera = rig.intrinsics[0, view], rig.cam_to_ego[0, view], rig.image_size
    if options.footprint == "released":
        covariances = released_footprints(means, covariances, *camera)
    projected = project_gaussians(means, covariances, *camera, near_m=options.near_m, eps2d_px=options.eps2d_px)
    voxels = projected.visible.nonzero()[:, 0]
    voxels = voxels[torch.argsort(projected.depths_m[voxels], stable=True)]  # ties in order of index, as in gsplat
    return _SortedView(
        voxels=voxels.to(torch.int32).numpy(),
        means2d=projected.means2d[voxels].numpy(),
        conics=projected.conics[voxels].numpy(),
        depths_m=projected.depths_m[voxels].numpy(),
        radii_v=projected.radii_px[voxels, 1].contiguous().numpy(),
    )


@torch.no_grad()
def build_voxel_lists(scene: VoxelGaussians, rig: CameraRig, options: SplatOptions) -> VoxelLists:
    """Build the lists of one rig.

    Args:
        scene: Where the voxels are and how large their Gaussians; opacities and features play no part.
        rig: One batch item, float32 on the CPU.
        options: near_m, eps2d_px, footprint and the limit cache_max_gb.

    Raises:
        ValueError: Where the lists would not fit into cache_max_gb.
    """
    height, width = rig.image_size
    views = [_sorted_view(scene, rig, v, options) for v in range(rig.num_views)]
    blocks = np.array([len(views), -(-height // BLOCK), -(-width // BLOCK)], np.int64)
    pairs, entries = np.empty(blocks, np.int64), np.empty(blocks, np.int64)
    for index, view in enumerate(views):
        reach = (view.radii_v, _TWO_SIGMA_MAX, height, width)
        count_entries(view.means2d, view.conics, *reach, pairs[index], entries[index])
    block_pairs, block_entries = (np.concatenate([[0], counts.cumsum()]) for counts in (pairs, entries))
    needed = int(block_pairs[-1]) * 16 + int(block_entries[-1]) * 5 + 2 * block_pairs.nbytes
    if needed > options.cache_max_gb * 1e9:
        x, y, z = scene.grid.shape
        raise RendererError(
            f"splat_cpu: the voxel lists of one rig ({len(views)} views of {height}x{width} px, grid {z}x{y}x{x}) need "
            f"{needed / 1e9:.3g} GB, cache_max_gb is {options.cache_max_gb:g}; raise it, render smaller images, use a "
            f"smaller scale_fraction, or set cache=False"
        )
    count = int(block_pairs[-1])
    pair_lists: tuple[Any, ...] = tuple(
        np.empty(count, dtype) for dtype in (np.int32, np.float32, np.float32, np.int32)
    )
    entry_lists = np.empty(int(block_entries[-1]), np.float32), np.empty(int(block_entries[-1]), np.uint8)
    for index, view in enumerate(views):
        starts = (bounds[:-1].reshape(blocks)[index] for bounds in (block_pairs, block_entries))
        gaussians = (view.voxels, view.means2d, view.conics, view.depths_m, view.radii_v)
        arguments: tuple[Any, ...] = (*gaussians, _TWO_SIGMA_MAX, height, width, *starts, *pair_lists, *entry_lists)
        fill_entries(*arguments)
    lists: tuple[Any, ...] = (blocks, block_pairs, block_entries, *pair_lists, *entry_lists, rig.image_size)
    return VoxelLists(*lists)


class VoxelListCache:
    """Voxel lists by the values of rig, grid, scales and image size; the least recently used go first."""

    def __init__(self, options: SplatOptions) -> None:
        self._options = options
        self._held: OrderedDict[bytes, VoxelLists] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory held by all rigs."""
        return sum(lists.nbytes for lists in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def get(self, scene: VoxelGaussians, rig: CameraRig) -> VoxelLists:
        """Return the lists of a scene and a rig (one batch item), built where they are not held.

        Raises:
            ValueError: Where a single rig does not fit into cache_max_gb.
        """
        rig = CameraRig(rig.intrinsics.detach().float(), rig.cam_to_ego.detach().float(), rig.image_size)
        key = self._key(scene, rig)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        lists = build_voxel_lists(scene, rig, self._options)
        while self._held and self.nbytes + lists.nbytes > self._options.cache_max_gb * 1e9:
            self._held.popitem(last=False)
        self._held[key] = lists
        return lists

    @staticmethod
    def _key(scene: VoxelGaussians, rig: CameraRig) -> bytes:
        place = repr((scene.grid, scene.scale_fraction, scene.tiers, rig.image_size))
        digest = hashlib.blake2b(place.encode(), digest_size=16)
        digest.update(rig.intrinsics.contiguous().numpy().tobytes())
        digest.update(rig.cam_to_ego.contiguous().numpy().tobytes())
        return digest.digest()
