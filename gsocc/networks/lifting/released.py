"""Lifting exactly as the published checkpoints were trained with it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gsocc.geometry.projection import project
from gsocc.geometry.se3 import invert_rigid, transform_points
from gsocc.networks.lifting.rig_cache import RigCache
from gsocc.structures.camera_rig import CameraRig
from gsocc.structures.contracted_grid import ContractedGrid
from gsocc.structures.voxel_grid import VoxelGrid

_NO_CAMERA = 1e-6  # keeps the mean over no camera at zero; the released code adds it to every count
_MIN_Z_M = 1e-6


@dataclass(frozen=True)
class _ViewTaps:
    """The voxels that project into one view, and the four feature pixels that each reads."""

    voxels: Int[Tensor, " M"]
    pixels: Int[Tensor, "M 4"]  # flat (v, u)
    weights: Float[Tensor, "M 4"]  # 0 where the pixel lies outside the map


@dataclass(frozen=True)
class _RigTaps:
    views: tuple[_ViewTaps, ...]

    @property
    def num_bytes(self) -> int:
        """Memory of all views."""
        return sum(part.nbytes for view in self.views for part in (view.voxels, view.pixels, view.weights))


class ReleasedLift(nn.Module):
    """The lifting of OccNeRF and GaussianOcc, for their published weights.

    It departs from `InterpolationLift` in three ways that the weights have grown used to:

    - A pixel x in [-0.5, W - 0.5) of the feature map is read at index ``x W / (W - 1) - 0.5``: it is normalised as for
      ``align_corners=True`` and sampled as for ``False``. Right at the left edge, one feature pixel off at the right.
    - Beyond the outermost pixel centres the map fades to zero.
    - A camera counts in the mean of a channel where its value is not exactly zero, and the count is larger by 1e-6.
    """

    def __init__(self, grid: VoxelGrid | ContractedGrid) -> None:
        super().__init__()
        self.grid = grid
        self._taps = RigCache(lambda rig: _rig_taps(grid, rig))

    def forward(self, features: Float[Tensor, "B V C h w"], rig: CameraRig) -> Float[Tensor, "B C X Y Z"]:
        """Lift feature maps whose pixel grid covers the images of `rig`.

        Args:
            features: Maps at any fraction of the image size.
            rig: Cameras at their image size; intrinsics are scaled to the feature size here.
        """
        height, width = features.shape[-2:]
        rig = rig.resized((height, width))
        lifted = [self._lift(maps, self._taps(rig.item(b))) for b, maps in enumerate(features)]
        return torch.stack(lifted)

    def _lift(self, maps: Float[Tensor, "V C h w"], taps: _RigTaps) -> Float[Tensor, "C X Y Z"]:
        x, y, z = self.grid.shape
        total = maps.new_zeros(x * y * z, maps.shape[1])  # (N, C)
        count = torch.zeros_like(total, dtype=torch.uint8)
        for view, image in zip(taps.views, maps, strict=True):
            table = image.permute(1, 2, 0).flatten(0, 1)  # (h w, C)
            values = F.embedding_bag(
                view.pixels, table, mode="sum", per_sample_weights=view.weights.to(table.dtype)
            )  # (M, C)
            total.index_add_(0, view.voxels, values)
            count[view.voxels] += values != 0  # every voxel at most once per view
        return (total / (count + _NO_CAMERA)).t().unflatten(-1, self.grid.shape)


@torch.no_grad()
def _rig_taps(grid: VoxelGrid | ContractedGrid, rig: CameraRig) -> _RigTaps:
    """Find what each voxel reads, for a rig (batch of one) whose image size is the feature size."""
    height, width = rig.image_size
    centers = grid.centers_m(rig.intrinsics.device).reshape(1, -1, 3)  # (1, N, 3)
    views = []
    for view in range(rig.num_views):
        points = transform_points(invert_rigid(rig.cam_to_ego[0, view])[None], centers)
        pixels, z_m = project(points, rig.intrinsics[0, view][None], min_z_m=_MIN_Z_M)
        # Corner-origin pixels against bounds meant for centre-origin ones, as released.
        u, v = pixels[0].unbind(-1)
        seen = (z_m[0] > 0) & (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
        voxel = seen.nonzero()[:, 0]
        x = u[voxel] * (width / (width - 1)) - 0.5
        y = v[voxel] * (height / (height - 1)) - 0.5
        views.append(_ViewTaps(voxel, *_bilinear_taps(x, y, height, width)))
    return _RigTaps(tuple(views))


def _bilinear_taps(
    x: Float[Tensor, " M"], y: Float[Tensor, " M"], height: int, width: int
) -> tuple[Int[Tensor, "M 4"], Float[Tensor, "M 4"]]:
    """Return the four pixels around continuous indices (the centre of pixel i is i) and their weights."""
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    pixels, weights = [], []
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = x0 + dx, y0 + dy
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        pixels.append((row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long())
        weights.append((fx if dx else 1 - fx) * (fy if dy else 1 - fy) * inside)
    return torch.stack(pixels, -1), torch.stack(weights, -1)
