"""Small random volumes, and plain numpy second opinions to hold the metrics against."""

import numpy as np
import torch
from torch import Tensor

from gsocc.labels import FREE
from gsocc.structures import OccupancyLabels, VoxelGrid

TINY_GRID = VoxelGrid(min_m=(-2.0, -1.6, -1.0), shape=(10, 8, 6), voxel_m=(0.4, 0.4, 0.4))


def random_labels(batch: int, seed: int, grid: VoxelGrid = TINY_GRID) -> OccupancyLabels:
    """Return random truth, about half of it free, about two thirds of it seen."""
    rng = torch.Generator().manual_seed(seed)
    shape = (batch, *grid.shape)
    semantics = torch.randint(0, 18, shape, generator=rng, dtype=torch.uint8)
    semantics[torch.rand(shape, generator=rng) < 0.5] = FREE
    seen = torch.rand(2, *shape, generator=rng) < 0.66
    return OccupancyLabels(semantics, seen[0], seen[1])


def random_prediction(labels: OccupancyLabels, seed: int) -> Tensor:
    """Return labels that agree with the truth on about half of the voxels."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 18, labels.semantics.shape, generator=rng, dtype=torch.uint8)
    keep = torch.rand(labels.semantics.shape, generator=rng) < 0.5
    return torch.where(keep, labels.semantics, noise)


def take(labels: OccupancyLabels, index: slice) -> OccupancyLabels:
    """Return some batch items."""
    return OccupancyLabels(labels.semantics[index], labels.mask_camera[index], labels.mask_lidar[index])


def brute_force_class_ious(predicted: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the IoU of the 17 classes from sets of voxels, without a confusion matrix."""
    ious = []
    for class_id in range(17):
        p, t = predicted == class_id, truth == class_id
        union = int((p | t).sum())
        ious.append(float((p & t).sum()) / union if union else float("nan"))
    return ious
