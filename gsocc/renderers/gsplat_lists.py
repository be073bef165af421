"""Tile lists of a fixed grid and rig, kept on the GPU, and what opacities leave of them at each step.

In voxel splatting only opacity and features change from step to step. Projection, tiles and depth order depend on
grid, scales, rig and image size alone. They are computed once for opacity 1, which bounds every splat from outside; a
step then drops what is below `ALPHA_MIN`, which no pixel could show, and composites the rest.
"""

import weakref
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gsocc.renderers.base import RendererError, SplatOptions
from gsocc.renderers.constants import ALPHA_MIN
from gsocc.renderers.gsplat_api import GsplatApi
from gsocc.renderers.gsplat_splats import (
    Splats,
    TileLists,
    count_intersections,
    intersect,
    join,
    project,
    tile_counts,
)
from gsocc.structures import CameraRig, VoxelGaussians


@dataclass(frozen=True)
class RigLists:
    """Splats and lists of one rig, for opacity 1.

    Attributes:
        splats: Rows; their Gaussians are flat voxel indices, int32.
        lists: Rows per tile of every view.
    """

    splats: Splats
    lists: TileLists

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(tensor.nbytes for part in (self.splats, self.lists) for tensor in vars(part).values())


def live_lists(held: Sequence[RigLists], opacities: Float[Tensor, "B N"]) -> tuple[Splats, TileLists]:
    """Return what is left of each item's lists where opacities below `ALPHA_MIN` are dropped, as lists of the batch.

    The host waits once, for the sizes of what is left, whatever the number of items and views. Without that, every
    buffer would have to be as large as if all voxels were seen: on a trained street twenty times too large, and the
    rasteriser's gradient is filled and added up over all of it.

    Args:
        held: Lists of each batch item.
        opacities: Per voxel; NaN is kept, for it must show.
    """
    marks: list[tuple[Tensor, Tensor]] = []
    for rig, item in zip(held, ~(opacities.detach() < ALPHA_MIN), strict=True):
        seen = item.index_select(0, rig.splats.gaussians)  # (M,)
        marks.append((seen, seen.index_select(0, rig.lists.rows)))  # (E,)
    left = torch.stack([mark.sum() for pair in marks for mark in pair]).tolist()
    parts: list[tuple[Tensor, ...]] = []
    first_row, first_entry = 0, 0
    for index, (rig, (seen, listed)) in enumerate(zip(held, marks, strict=True)):
        rows, entries = left[2 * index : 2 * index + 2]
        splats, lists = _compact(rig, seen, rows, listed, entries)
        parts.append(
            (
                splats.gaussians + index * opacities.shape[1],
                splats.means2d,
                splats.conics,
                splats.depths_m,
                lists.offsets + first_entry,
                lists.rows + first_row,
            )
        )
        first_row, first_entry = first_row + rows, first_entry + entries
    gaussians, means2d, conics, depths, offsets, listed_rows = join(parts)
    return Splats(gaussians, means2d, conics, depths), TileLists(offsets, listed_rows)


def _compact(
    rig: RigLists, seen: Bool[Tensor, " M"], rows: int, listed: Bool[Tensor, " E"], entries: int
) -> tuple[Splats, TileLists]:
    if rows == len(seen):
        return rig.splats, rig.lists
    kept = _positions(seen, rows)  # (L,)
    splats = Splats(**{name: tensor.index_select(0, kept) for name, tensor in vars(rig.splats).items()})
    new_row = seen.cumsum(0, dtype=torch.int32) - 1  # (M,), where the row is kept
    before = F.pad(listed.cumsum(0, dtype=torch.int32), (1, 0))  # (E + 1,), kept entries ahead of each
    return splats, TileLists(
        offsets=before.index_select(0, rig.lists.offsets.flatten()).view_as(rig.lists.offsets),
        rows=new_row.index_select(0, rig.lists.rows.index_select(0, _positions(listed, entries))),
    )


def _positions(mask: Bool[Tensor, " N"], count: int) -> Int[Tensor, " L"]:
    """Return the indices of the `count` True elements: `nonzero` without asking the GPU how many there are."""
    return torch.repeat_interleave(mask.int(), output_size=count)


class TileListCache:
    """Lists by the values of rig, grid, scales and image size; the least recently used go first."""

    def __init__(self, options: SplatOptions) -> None:
        self._options = options
        self._held: OrderedDict[str, RigLists] = OrderedDict()
        self._keys = _RigKeys()

    @property
    def nbytes(self) -> int:
        """Memory held by all rigs."""
        return sum(lists.nbytes for lists in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    @torch.no_grad()
    def get(self, gsplat: GsplatApi, scene: VoxelGaussians, rig: CameraRig) -> list[RigLists]:
        """Return the lists of every batch item, built where they are not held.

        Raises:
            ValueError: Where the rigs of this batch do not fit into cache_max_gb.
        """
        place = f"{scene.grid} {scene.scale_fraction} {scene.tiers} {rig.image_size} {scene.opacities.device}"
        keys = [f"{place} {key}" for key in self._keys.of(rig)]
        for index, key in enumerate(keys):
            if key not in self._held:
                self._held[key] = self._build(gsplat, scene, rig.item(index), keys)
            self._held.move_to_end(key)
        return [self._held[key] for key in keys]

    def _build(self, gsplat: GsplatApi, scene: VoxelGaussians, rig: CameraRig, wanted: Collection[str]) -> RigLists:
        geometry = scene.to_gaussians().item(0).map(Tensor.float)
        projected = project(gsplat, geometry, rig, self._options, opacities=None)
        entries = count_intersections(projected, rig.image_size)
        down, across = tile_counts(rig.image_size)
        # index, centre, conic and depth of each row; an entry of a list; where the list of a tile starts
        needed = len(projected.images) * (1 + 2 + 3 + 1) * 4 + entries * 4 + rig.num_views * down * across * 4
        self._make_room(needed, scene, rig, wanted)
        lists = intersect(gsplat, projected, rig.num_views, rig.image_size)
        splats = projected.splats
        return RigLists(Splats(splats.gaussians.int(), splats.means2d, splats.conics, splats.depths_m), lists)

    def _make_room(self, needed: int, scene: VoxelGaussians, rig: CameraRig, wanted: Collection[str]) -> None:
        limit = self._options.cache_max_gb * 1e9
        others = sum(lists.nbytes for key, lists in self._held.items() if key in wanted)
        if needed + others > limit:
            x, y, z = scene.grid.shape
            beside = f" beside {others / 1e9:.2f} GB of other rigs in the batch" if others else ""
            raise RendererError(
                f"splat_gsplat: the tile lists of one rig ({rig.num_views} views of {rig.image_size[0]}x"
                f"{rig.image_size[1]} px, grid {z}x{y}x{x}) need {needed / 1e9:.2f} GB{beside}, cache_max_gb is "
                f"{self._options.cache_max_gb:g}; raise it, render smaller images, use a smaller scale_fraction, or "
                f"set cache=False"
            )
        for key in [key for key in self._held if key not in wanted]:
            if self.nbytes + needed <= limit:
                return
            del self._held[key]


class _RigKeys:
    """Names the cameras of each batch item by their values, which are fetched once per change of the rig.

    While a loop passes the same tensors, unchanged, nothing is fetched and the host need not wait.
    """

    def __init__(self) -> None:
        self._seen: tuple[tuple[weakref.ref[Tensor], int], ...] = ()
        self._names: list[str] = []

    def of(self, rig: CameraRig) -> list[str]:
        """Return one name per batch item."""
        tensors = (rig.intrinsics, rig.cam_to_ego)
        versioned = not any(tensor.is_inference() for tensor in tensors)
        if (
            versioned
            and self._seen
            and all(
                ref() is tensor and version == tensor._version
                for (ref, version), tensor in zip(self._seen, tensors, strict=True)
            )
        ):
            return self._names
        values = torch.cat([tensor.detach().float().flatten(1) for tensor in tensors], -1).cpu()  # (B, V * 25)
        self._names = [item.numpy().tobytes().hex() for item in values]
        self._seen = tuple((weakref.ref(tensor), tensor._version) for tensor in tensors) if versioned else ()
        return self._names
