"""Lifting by interpolation: every voxel centre reads the feature maps of the cameras that see it."""

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


@dataclass(frozen=True)
class _LiftMatrix:
    """Rows of the sparse matrix that maps feature pixels to voxels, for `torch.nn.functional.embedding_bag`."""

    columns: Int[Tensor, " M"]  # flat feature pixel (view, v, u)
    weights: Float[Tensor, " M"]
    row_starts: Int[Tensor, " N"]

    @property
    def num_bytes(self) -> int:
        """Memory of the three."""
        return sum(part.nbytes for part in (self.columns, self.weights, self.row_starts))


class InterpolationLift(nn.Module):
    """Average bilinear samples over the cameras that see a voxel centre (SimpleOcc, OccNeRF, GaussianOcc).

    The operation is linear in the features with coefficients that depend on calibration alone, so it is one sparse
    matrix per rig, built once and applied with `embedding_bag`: nothing of size cameras x voxels x channels exists.
    A voxel that no camera sees is zero. Departs from the published code in that sampling agrees with the
    corner-origin pixel convention up to the image border (see docs/conventions.md).
    """

    def __init__(self, grid: VoxelGrid | ContractedGrid) -> None:
        super().__init__()
        self.grid = grid
        self._matrices = RigCache(lambda rig: build_lift_matrix(grid, rig))

    def forward(self, features: Float[Tensor, "B V C h w"], rig: CameraRig) -> Float[Tensor, "B C X Y Z"]:
        """Lift feature maps whose pixel grid covers the images of `rig`.

        Args:
            features: Maps at any fraction of the image size.
            rig: Cameras at their image size; intrinsics are scaled to the feature size here.
        """
        height, width = features.shape[-2:]
        rig = rig.resized((height, width))
        lifted = []
        for b, maps in enumerate(features):
            matrix = self._matrices(rig.item(b))
            table = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])  # (V h w, C)
            rows = F.embedding_bag(
                matrix.columns,
                table,
                matrix.row_starts,
                mode="sum",
                per_sample_weights=matrix.weights.to(table.dtype),
            )  # (N, C)
            lifted.append(rows.t().unflatten(-1, self.grid.shape))
        return torch.stack(lifted)


@torch.no_grad()
def build_lift_matrix(grid: VoxelGrid | ContractedGrid, rig: CameraRig) -> _LiftMatrix:
    """Build the sparse matrix of a rig (batch of one) whose image size is the feature size."""
    height, width = rig.image_size
    centers = grid.centers_m(rig.intrinsics.device).reshape(1, -1, 3)  # (1, N, 3)
    voxels, columns, weights = [], [], []
    for view in range(rig.num_views):
        points = transform_points(invert_rigid(rig.cam_to_ego[0, view])[None], centers)
        pixels, z_m = project(points, rig.intrinsics[0, view][None])
        u, v, z_m = pixels[0, :, 0], pixels[0, :, 1], z_m[0]
        seen = (z_m > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        voxel = seen.nonzero()[:, 0]
        # Corners of the cell between pixel centres, clamped: the outer half pixel repeats the border.
        x, y = u[voxel] - 0.5, v[voxel] - 0.5
        x0, y0 = x.floor(), y.floor()
        fx, fy = x - x0, y - y0
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            column_u = (x0 + dx).clamp(0, width - 1).long()
            column_v = (y0 + dy).clamp(0, height - 1).long()
            voxels.append(voxel)
            columns.append((view * height + column_v) * width + column_u)
            weights.append((fx if dx else 1 - fx) * (fy if dy else 1 - fy))
    voxel, column, weight = torch.cat(voxels), torch.cat(columns), torch.cat(weights)
    entries = torch.bincount(voxel, minlength=centers.shape[1])  # four per camera that sees the voxel
    order = torch.argsort(voxel, stable=True)
    weight = weight / (entries[voxel] / 4)
    row_starts = entries.cumsum(0) - entries
    return _LiftMatrix(column[order], weight[order], row_starts)
