"""What the flat ground hides: scores of what stands on it, and where in height a prediction puts the ground.

About 60 % of the visible occupied voxels of a street are its surface, so a flat plane scores well in plain
IoU. These two metrics are blind to that surface, or look at nothing else.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.kernels.neighbors import count_matches
from gsocc.labels import FREE, GROUND_CLASSES
from gsocc.metrics.names import MaskName, metric_name, voxel_mask
from gsocc.metrics.occupancy import check_layout
from gsocc.structures import OCC3D_GRID, OccupancyLabels, VoxelGrid


def ground_layer(grid: VoxelGrid, ground_z_m: float = 0.0) -> int:
    """Return the index of the height layer that holds the ground under the vehicle.

    Raises:
        ValueError: Where the grid does not reach that height.
    """
    index = math.floor((ground_z_m - grid.min_m[2]) / grid.voxel_m[2] + 1e-6)
    if not 0 <= index < grid.shape[2]:
        raise ValueError(
            f"ground_layer: the grid spans z {grid.min_m[2]:g}..{grid.max_m[2]:g} m and misses {ground_z_m:g} m"
        )
    return index


def _above_protocol(mask: MaskName, ground_z_m: float, *parts: str) -> str:
    """Return the protocol of a score that depends on where the ground is; a ground at z = 0 goes without saying."""
    ground = (f"z{ground_z_m:+g}m",) if ground_z_m else ()
    return "/".join((f"occ3d/{mask}", *parts, *ground))


def dilate(
    occupied: Bool[Tensor, "B X Y Z"], radius_m: float, voxel_m: tuple[float, float, float]
) -> Bool[Tensor, "B X Y Z"]:
    """Mark every voxel whose centre lies within `radius_m` of the centre of a marked one, border included."""
    grown = occupied.clone()
    shape = occupied.shape[1:]
    for offset in ball_offsets(radius_m, voxel_m).tolist():
        to, source = zip(*(_shifted(d, n) for d, n in zip(offset, shape, strict=True)), strict=True)
        grown[(slice(None), *to)] |= occupied[(slice(None), *source)]
    return grown


def ball_offsets(radius_m: float, voxel_m: tuple[float, float, float]) -> Int[Tensor, "M 3"]:
    """Return the offsets in voxels that are no longer than a radius, shortest first."""
    axes = [torch.arange(-int(radius_m / size + 1e-6), int(radius_m / size + 1e-6) + 1) for size in voxel_m]
    offsets = torch.cartesian_prod(*axes)  # (all, 3)
    squared = (offsets * torch.tensor(voxel_m, dtype=torch.float64)).square().sum(-1)
    order = squared.argsort(stable=True)
    return offsets[order][squared[order] <= radius_m**2 + 1e-6]


def _shifted(offset: int, size: int) -> tuple[slice, slice]:
    """Return where a shift by `offset` writes to and reads from along an axis."""
    kept = max(size - abs(offset), 0)
    return slice(max(offset, 0), max(offset, 0) + kept), slice(max(-offset, 0), max(-offset, 0) + kept)


class AboveGroundMetric(Metric):
    """F1, precision and recall of occupied voxels above the ground, whatever their class.

    Counted are voxels under the mask, above the layer that holds `ground_z_m` (for 0 on the Occ3D lattice: centres
    from 0.4 m up) and no further than `range_m` from the ego origin, measured horizontally. A predicted voxel is
    right where a true one lies within `tolerance_m`, a true one is found where a predicted one does; both only ever
    match voxels above the ground and under the mask, those just outside the range included, so that the range cuts no
    pair apart. Counts are summed over frames and ranks before the ratio is taken.

    Names: `occ3d/camera/16m:above_ground_f1`, with a tolerance `occ3d/camera/16m/0.8m:above_ground_f1`, without a
    range `occ3d/camera:above_ground_f1`; likewise `above_ground_precision` and `above_ground_recall`. F1 is 0 where
    nothing is predicted and something is there, NaN where neither is. A ground elsewhere than at z = 0 shows in the
    name: `occ3d/camera/16m/z-0.8m:above_ground_f1`.
    """

    predicted: Tensor
    predicted_right: Tensor
    true: Tensor
    true_found: Tensor
    full_state_update = False
    higher_is_better = True

    def __init__(
        self,
        range_m: float | None = 16.0,
        tolerance_m: float = 0.0,
        grid: VoxelGrid = OCC3D_GRID,
        mask: MaskName = "camera",
        ground_z_m: float = 0.0,
    ) -> None:
        super().__init__()
        if range_m is not None and range_m <= 0:
            raise ValueError(f"AboveGroundMetric: range_m must be positive or None, got {range_m}")
        if tolerance_m < 0:
            raise ValueError(f"AboveGroundMetric: tolerance_m must not be negative, got {tolerance_m}")
        self.range_m = range_m
        self.tolerance_m = tolerance_m
        self.ground_z_m = ground_z_m
        self.grid = grid
        self.mask: MaskName = mask
        for name in ("predicted", "predicted_right", "true", "true_found"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def protocol(self) -> str:
        """Name of the protocol: mask, range and tolerance."""
        parts = [] if self.range_m is None and not self.tolerance_m else ["all"]
        if self.range_m is not None:
            parts = [f"{self.range_m:g}m"]
        if self.tolerance_m:
            parts.append(f"{self.tolerance_m:g}m")
        return _above_protocol(self.mask, self.ground_z_m, *parts)

    def update(self, semantics: UInt8[Tensor, "B X Y Z"], labels: OccupancyLabels) -> None:
        """Count one batch; `semantics` are labels 0..17, of which everything but 17 (free) is occupied.

        Raises:
            ValueError: Where the prediction is not on the metric's grid, or the truth is of another shape.
        """
        if tuple(semantics.shape[1:]) != self.grid.shape:
            raise ValueError(
                f"AboveGroundMetric: expected volumes of shape {self.grid.shape}, got {tuple(semantics.shape[1:])}"
            )
        first = ground_layer(self.grid, self.ground_z_m) + 1
        counted = voxel_mask(labels, self.mask)
        check_layout(semantics, labels.semantics, counted)
        on_cpu = semantics.device.type == "cpu"
        counts = (self._count if on_cpu else self._count_dilated)(semantics, labels.semantics, counted, first)
        self.predicted += counts[0]
        self.predicted_right += counts[1]
        self.true += counts[2]
        self.true_found += counts[3]

    def compute(self) -> dict[str, float]:
        """Return F1, precision and recall under their full names."""
        precision = float(self.predicted_right.double() / self.predicted)
        recall = float(self.true_found.double() / self.true)
        missed_everything = int(self.predicted_right) == 0 or int(self.true_found) == 0
        if int(self.predicted) + int(self.true) == 0:
            f1 = float("nan")
        else:
            f1 = 0.0 if missed_everything else 2 * precision * recall / (precision + recall)
        scores = {"f1": f1, "precision": precision, "recall": recall}
        return {metric_name(self.protocol, f"above_ground_{k}"): v for k, v in scores.items()}

    def _count(
        self,
        predicted: UInt8[Tensor, "B X Y Z"],
        truth: UInt8[Tensor, "B X Y Z"],
        counted: Bool[Tensor, "B X Y Z"],
        first: int,
    ) -> Int[Tensor, "4"]:
        """Return predicted voxels, those that are right, true voxels, those that are found; from layer `first` up."""
        counts = np.zeros(4, np.int64)
        near = self._in_range(predicted.device)[..., 0].numpy().view(np.uint8)
        offsets = ball_offsets(self.tolerance_m, self.grid.voxel_m).numpy()
        volumes = [v.contiguous().view(torch.uint8).numpy() for v in (predicted, truth, counted)]
        for said, true, mask in zip(*volumes, strict=True):
            count_matches(said, true, mask, near, FREE, first, offsets, counts)
        return torch.from_numpy(counts)

    def _count_dilated(
        self,
        predicted: UInt8[Tensor, "B X Y Z"],
        truth: UInt8[Tensor, "B X Y Z"],
        counted: Bool[Tensor, "B X Y Z"],
        first: int,
    ) -> Int[Tensor, "4"]:
        """Return what `_count` does, by operations that a GPU has."""
        near = self._in_range(predicted.device)
        said, true = ((v < FREE)[..., first:] & counted[..., first:] for v in (predicted, truth))
        counts = []
        for here, there in ((said, true), (true, said)):
            reached = dilate(there, self.tolerance_m, self.grid.voxel_m)
            counts += [(here & near).sum(), (here & near & reached).sum()]
        return torch.stack(counts)

    def _in_range(self, device: torch.device) -> Bool[Tensor, "X Y 1"]:
        layer = VoxelGrid(self.grid.min_m, (*self.grid.shape[:2], 1), self.grid.voxel_m)
        centers = layer.centers_m(device)[..., :2]  # (X, Y, 1, 2)
        distance_m = centers.norm(dim=-1)
        return distance_m <= (float("inf") if self.range_m is None else self.range_m)


class GroundLayersMetric(Metric):
    """Mean predicted occupancy by height layer in columns of bare ground: where a prediction puts the ground.

    A column (x, y) counts where the layer that holds `ground_z_m` carries a ground class in the truth and is seen
    under the mask, and nothing in the truth is occupied above it. All layers of such a column are averaged,
    seen or not: what lies under the surface is never seen, and a ground that sits one layer too low shows
    exactly there.
    """

    occupancy_sum: Tensor
    occupied: Tensor
    columns: Tensor
    full_state_update = False

    def __init__(self, grid: VoxelGrid = OCC3D_GRID, mask: MaskName = "camera", ground_z_m: float = 0.0) -> None:
        super().__init__()
        self.grid = grid
        self.ground_z_m = ground_z_m
        self.mask: MaskName = mask
        layers = grid.shape[2]
        self.add_state("occupancy_sum", torch.zeros(layers, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("occupied", torch.zeros(layers, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("columns", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        occupancy: Float[Tensor, "B X Y Z"],
        semantics: UInt8[Tensor, "B X Y Z"],
        labels: OccupancyLabels,
    ) -> None:
        """Add one batch.

        Args:
            occupancy: Probability in [0, 1] that a voxel is solid.
            semantics: Predicted labels after the threshold; 17 is free.
            labels: Truth of the same frames.
        """
        columns = self._bare_ground(labels)
        self.occupancy_sum += occupancy[columns].double().sum(0)
        self.occupied += (semantics[columns] != FREE).sum(0)
        self.columns += columns.sum()

    def compute(self) -> list[dict[str, float]]:
        """Return a row per layer, lowest first: `z_m` of its centre, `occupancy`, `occupied_share`."""
        z_min, dz = self.grid.min_m[2], self.grid.voxel_m[2]
        occupancy = (self.occupancy_sum / self.columns).tolist()
        share = (self.occupied.double() / self.columns).tolist()
        return [
            {"z_m": round(z_min + (k + 0.5) * dz, 6), "occupancy": mean, "occupied_share": part}
            for k, (mean, part) in enumerate(zip(occupancy, share, strict=True))
        ]

    def _bare_ground(self, labels: OccupancyLabels) -> Bool[Tensor, "B X Y"]:
        k = ground_layer(self.grid, self.ground_z_m)
        surface = labels.semantics[..., k]
        is_ground = torch.zeros_like(surface, dtype=torch.bool)
        for class_id in GROUND_CLASSES:
            is_ground |= surface == class_id
        clear_above = (labels.semantics[..., k + 1 :] == FREE).all(-1)
        return is_ground & voxel_mask(labels, self.mask)[..., k] & clear_above


def ground_layer_scores(
    layers: list[dict[str, Any]], mask: MaskName = "camera", ground_z_m: float = 0.0
) -> dict[str, float]:
    """Return the two layers that matter as named numbers: the ground layer and the one above it.

    Raises:
        ValueError: Where no layer holds the ground.
    """
    spacing = layers[1]["z_m"] - layers[0]["z_m"] if len(layers) > 1 else float("inf")
    at = [i for i, row in enumerate(layers) if abs(row["z_m"] - ground_z_m) <= spacing / 2 + 1e-6]
    if not at:
        raise ValueError(
            f"ground_layer_scores: no layer holds z = {ground_z_m:g} m among {[row['z_m'] for row in layers]}"
        )
    protocol = _above_protocol(mask, ground_z_m)
    scores = {metric_name(protocol, "ground_layer_occupancy"): layers[at[-1]]["occupancy"]}
    if at[-1] + 1 < len(layers):
        above = layers[at[-1] + 1]["occupancy"]
        scores[metric_name(protocol, "ground_layer_above_occupancy")] = above
    return scores
