"""RayIoU: intersection over union of what LiDAR-like rays meet first, without any visibility mask.

Introduced by SparseOcc (arXiv:2312.17118) because mIoU under a mask rewards thick surfaces: a ray stops at the first
voxel, whatever is painted behind it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64, Int, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.geometry.lidar_rays import lidar_directions, lidar_origins
from gsocc.kernels.voxel_cast import cast_rays, count_rays
from gsocc.labels import FREE, OCC3D_15, OCC3D_17, OCC3D_CLASSES
from gsocc.metrics.names import metric_name
from gsocc.structures import OCC3D_GRID, OccupancyLabels, VoxelGrid

__all__ = ["RayIouMetric", "cast_labels", "lidar_directions", "lidar_origins"]

LIMITS_M: tuple[float, ...] = (1.0, 2.0, 4.0)
_CLASS_SETS: dict[str, tuple[int, ...]] = {"17": OCC3D_17, "15": OCC3D_15}
_TASKS = 32  # rays are dealt to threads in this many parts


def cast_labels(
    semantics: UInt8[Tensor, "X Y Z"],
    origins_m: Float64[Tensor, "K 3"],
    directions: Float64[Tensor, "R 3"],
    grid: VoxelGrid = OCC3D_GRID,
) -> tuple[UInt8[Tensor, "K R"], Float64[Tensor, "K R"]]:
    """Return what every ray meets first, and how far away.

    Args:
        semantics: Labels 0..17, 17 is free.
        origins_m: In the ego frame, in metres.
        directions: Unit vectors in the ego frame, cast from every origin.
        grid: Where the labels lie.

    Returns:
        labels: Label of the first voxel that is not free, 17 where there is none.
        distances_m: Where the ray leaves that voxel, or else the grid; -1 where it never enters the grid.
    """
    labels = np.empty((len(origins_m), len(directions)), np.uint8)
    distances = np.empty(labels.shape)
    origins, steps = _in_voxels(origins_m, directions, grid)
    cast_rays(_array(semantics), FREE, origins, steps, labels, distances)
    return torch.from_numpy(labels), torch.from_numpy(distances)


class RayIouMetric(Metric):
    """RayIoU at 1, 2 and 4 m over 17 and 15 classes, from counts summed over frames and ranks.

    Rays of `lidar_directions` start at the origins of a frame (`lidar_origins`) and are counted where the truth, seen
    or not, stops them. A ray is right for class c within d where truth and prediction both have label c and the
    distances to where it leaves the two voxels differ by less than d; IoU is right / (true + predicted - right), each
    counted over the whole data set. `compute` gives

    - `occ3d/ray/17:rayiou_1m` (2 m, 4 m): mean over the classes that counted rays meet in truth or prediction;
    - `occ3d/ray/17:rayiou`: mean over the table of limits and classes;
    - `occ3d/ray/17:rayiou_1m/<class>`: one per class, NaN where no counted ray meets it;
    - the same below `occ3d/ray/15`, without others and other_flat.

    One departure from the release: a ray that never enters the grid is not counted, where the release gives it the
    label of voxel (0, 0, 0). nuScenes' origins all lie inside, so published numbers do not depend on it.

    State lives on the metric's device, casting is done on the CPU.

    Args:
        grid: Lattice of predictions and truth.
        limits_m: Distances below which a ray is right.
        directions: Unit vectors in the ego frame; by default those of `lidar_directions`.
    """

    counts: Tensor
    full_state_update = False
    higher_is_better = True

    def __init__(
        self,
        grid: VoxelGrid = OCC3D_GRID,
        limits_m: Sequence[float] = LIMITS_M,
        directions: Float64[Tensor, "R 3"] | None = None,
    ) -> None:
        super().__init__()
        if not limits_m or min(limits_m) <= 0:
            raise ValueError(f"RayIouMetric: limits_m must be positive and at least one, got {tuple(limits_m)}")
        self.grid = grid
        self.limits_m = tuple(float(limit) for limit in limits_m)
        self.directions = lidar_directions() if directions is None else directions
        self.add_state(
            "counts", torch.zeros(2 + len(self.limits_m), FREE, dtype=torch.int64), dist_reduce_fx="sum"
        )  # rows: true, predicted, right within each limit

    def update(
        self,
        semantics: UInt8[Tensor, "B X Y Z"],
        labels: OccupancyLabels | UInt8[Tensor, "B X Y Z"],
        origins_m: Sequence[Float64[Tensor, "_ 3"]],
    ) -> None:
        """Count one batch.

        Args:
            semantics: Predicted labels, 0..16 for the classes and 17 for free.
            labels: Truth of the same frames; its masks are not used.
            origins_m: Origins of each frame in its ego frame, from `lidar_origins`.

        Raises:
            ValueError: Where shapes differ, a frame lacks origins, or a label is above 17.
        """
        truth = labels.semantics if isinstance(labels, OccupancyLabels) else labels
        self._check(semantics, truth, origins_m)
        limits = np.array(self.limits_m)
        counts = np.zeros((_TASKS, 2 + len(limits), FREE), np.int64)
        for one, true, places in zip(semantics, truth, origins_m, strict=True):
            origins, steps = _in_voxels(places, self.directions, self.grid)
            count_rays(_array(one), _array(true), FREE, origins, steps, limits, counts)
        self.counts += torch.from_numpy(counts.sum(0)).to(self.counts.device)

    def compute(self) -> dict[str, float]:
        """Return every score under its full name."""
        table = ray_iou_table(self.counts)  # (D, 17)
        scores: dict[str, float] = {}
        for name, classes in _CLASS_SETS.items():
            protocol, chosen = f"occ3d/ray/{name}", table[:, list(classes)]
            scores[metric_name(protocol, "rayiou")] = float(chosen.nanmean())
            for limit, row in zip(self.limits_m, chosen, strict=True):
                scores[metric_name(protocol, f"rayiou_{limit:g}m")] = float(row.nanmean())
            for limit, row in zip(self.limits_m, chosen, strict=True):
                for class_id, iou in zip(classes, row.tolist(), strict=True):
                    scores[metric_name(protocol, f"rayiou_{limit:g}m/{OCC3D_CLASSES[class_id]}")] = iou
        return scores

    def _check(self, semantics: Tensor, truth: Tensor, origins_m: Sequence[Tensor]) -> None:
        if semantics.shape != truth.shape or tuple(semantics.shape[1:]) != self.grid.shape:
            raise ValueError(
                f"RayIouMetric: expected volumes of shape {self.grid.shape}, got predictions "
                f"{tuple(semantics.shape)} and truth {tuple(truth.shape)}; resample predictions to the grid first"
            )
        if len(origins_m) != len(semantics):
            raise ValueError(f"RayIouMetric: expected origins of {len(semantics)} frames, got {len(origins_m)}")
        for name, volume in (("predicted", semantics), ("true", truth)):
            if volume.numel() and int(volume.max()) > FREE:
                raise ValueError(f"RayIouMetric: {name} labels must be 0..{FREE}, got {int(volume.max())}")


def ray_iou_table(counts: Int[Tensor, "rows K"]) -> Float64[Tensor, "limits K"]:
    """Return IoU by limit and class from rows of true, predicted and right rays; NaN for a class that none meets."""
    right = counts[2:]
    return right.double() / (counts[0] + counts[1] - right).double()


def _in_voxels(origins_m: Tensor, directions: Tensor, grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return origins in voxels, and voxels crossed along each axis per metre of ray."""
    low, size = np.array(grid.min_m), np.array(grid.voxel_m)
    origins = (origins_m.double().cpu().numpy() - low) / size
    return np.ascontiguousarray(origins), np.ascontiguousarray(directions.double().cpu().numpy() / size)


def _array(volume: Tensor) -> np.ndarray:
    return np.ascontiguousarray(volume.cpu().numpy())
