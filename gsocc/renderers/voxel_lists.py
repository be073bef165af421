"""Per-pixel voxel lists of a fixed grid and rig, and the cache that holds them.

In voxel splatting only opacity and features change from step to step. Projection, kernel values and depth order of
every (pixel, voxel) pair depend on grid, scales, rig and image size alone: they are computed once and kept.
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gsocc.kernels.voxel_lists import count_entries, fill_entries
from gsocc.renderers.base import RendererError, SplatOptions
from gsocc.renderers.constants import ALPHA_MIN
from gsocc.renderers.projection import project_gaussians
from gsocc.structures import CameraRig, VoxelGrid

BAND_ROWS = 4
"""Image rows that one parallel task of the build owns."""

_TWO_SIGMA_MAX = 2.0 * math.log(1.0 / ALPHA_MIN)


@dataclass(frozen=True)
class VoxelLists:
    """Depth-sorted lists, one per pixel, of the voxels whose kernel is at least `ALPHA_MIN` there.

    Attributes:
        offsets: (V * H * W + 1,) int64, where the list of each pixel starts.
        voxel: (E,) int32, flat voxel index, x slowest.
        kernel: (E,) float32, exp(-sigma): alpha at opacity 1.
        depths_m: (V, N) float32, depth of every voxel centre in every view.
        image_size: (H, W).
    """

    offsets: NDArray[np.int64]
    voxel: NDArray[np.int32]
    kernel: NDArray[np.float32]
    depths_m: NDArray[np.float32]
    image_size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.offsets.nbytes + self.voxel.nbytes + self.kernel.nbytes + self.depths_m.nbytes


@dataclass(frozen=True)
class _SortedView:
    voxels: NDArray[np.int32]
    means2d: NDArray[np.float32]
    conics: NDArray[np.float32]
    radii_v: NDArray[np.float32]
    depths_m: NDArray[np.float32]  # of all voxels


def _sorted_view(
    grid: VoxelGrid, scales_m: tuple[float, float, float], rig: CameraRig, view: int, options: SplatOptions
) -> _SortedView:
    variances = torch.tensor(scales_m, dtype=torch.float32).square()
    projected = project_gaussians(
        grid.centers_m().reshape(-1, 3),
        torch.diag(variances)[None],
        rig.intrinsics[0, view],
        rig.cam_to_ego[0, view],
        rig.image_size,
        near_m=options.near_m,
        eps2d_px=options.eps2d_px,
    )
    voxels = projected.visible.nonzero()[:, 0]
    voxels = voxels[torch.argsort(projected.depths_m[voxels], stable=True)]  # ties in order of index, as in gsplat
    return _SortedView(
        voxels=voxels.to(torch.int32).numpy(),
        means2d=projected.means2d[voxels].numpy(),
        conics=projected.conics[voxels].numpy(),
        radii_v=projected.radii_px[voxels, 1].contiguous().numpy(),
        depths_m=projected.depths_m.numpy(),
    )


@torch.no_grad()
def build_voxel_lists(
    grid: VoxelGrid, scales_m: tuple[float, float, float], rig: CameraRig, options: SplatOptions
) -> VoxelLists:
    """Build the lists of one rig.

    Args:
        grid: The voxels.
        scales_m: Standard deviations along x, y, z.
        rig: One batch item, float32 on the CPU.
        options: near_m, eps2d_px and the limit cache_max_gb.

    Raises:
        ValueError: Where the lists would not fit into cache_max_gb.
    """
    height, width = rig.image_size
    views = [_sorted_view(grid, scales_m, rig, v, options) for v in range(rig.num_views)]
    counts = np.empty((len(views), height, width), np.int32)
    for view, count in zip(views, counts, strict=True):
        count_entries(view.means2d, view.conics, view.radii_v, _TWO_SIGMA_MAX, height, width, BAND_ROWS, count)
    offsets = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts.reshape(-1), out=offsets[1:])
    entries = int(offsets[-1])
    needed = entries * 8 + offsets.nbytes + sum(view.depths_m.nbytes for view in views)
    if needed > options.cache_max_gb * 1e9:
        x, y, z = grid.shape
        raise RendererError(
            f"splat_cpu: the voxel lists of one rig ({len(views)} views of {height}x{width} px, grid {z}x{y}x{x}) need "
            f"{needed / 1e9:.2f} GB, cache_max_gb is {options.cache_max_gb:g}; raise it, render smaller images, use a "
            f"smaller scale_fraction, or set cache=False"
        )
    voxel = np.empty(entries, np.int32)
    kernel = np.empty(entries, np.float32)
    for index, view in enumerate(views):
        first = index * height * width
        fill_entries(
            view.voxels, view.means2d, view.conics, view.radii_v, _TWO_SIGMA_MAX, height, width, BAND_ROWS,
            offsets[first : first + height * width + 1], voxel, kernel,
        )  # fmt: skip
    return VoxelLists(offsets, voxel, kernel, np.stack([view.depths_m for view in views]), rig.image_size)


class VoxelListCache:
    """Voxel lists by the values of rig, grid, scales, image size and options; the least recently used go first."""

    def __init__(self, options: SplatOptions) -> None:
        self._options = options
        self._held: OrderedDict[bytes, VoxelLists] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Memory held by all rigs."""
        return sum(lists.nbytes for lists in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def get(self, grid: VoxelGrid, scales_m: tuple[float, float, float], rig: CameraRig) -> VoxelLists:
        """Return the lists of a rig (one batch item), built where they are not held.

        Raises:
            ValueError: Where a single rig does not fit into cache_max_gb.
        """
        rig = CameraRig(rig.intrinsics.detach().float(), rig.cam_to_ego.detach().float(), rig.image_size)
        key = self._key(grid, scales_m, rig)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        lists = build_voxel_lists(grid, scales_m, rig, self._options)
        while self._held and self.nbytes + lists.nbytes > self._options.cache_max_gb * 1e9:
            self._held.popitem(last=False)
        self._held[key] = lists
        return lists

    @staticmethod
    def _key(grid: VoxelGrid, scales_m: tuple[float, float, float], rig: CameraRig) -> bytes:
        digest = hashlib.blake2b(repr((grid, scales_m, rig.image_size)).encode(), digest_size=16)
        digest.update(rig.intrinsics.contiguous().numpy().tobytes())
        digest.update(rig.cam_to_ego.contiguous().numpy().tobytes())
        return digest.digest()
