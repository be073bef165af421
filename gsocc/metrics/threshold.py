"""Choosing the occupancy threshold, on training scenes only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.kernels.scan_trace import PASSED, RETURNED
from gsocc.labels import FREE, NUM_OCC3D_LABELS
from gsocc.metrics.label_free import SCAN, scan_states
from gsocc.metrics.names import MaskName, metric_name, voxel_mask
from gsocc.metrics.occupancy import geometry_iou, mean_iou
from gsocc.structures import OCC3D_GRID, OccupancyLabels, VoxelGrid
from gsocc.structures.key_frame import KeyFrame

Criterion = Literal["iou", "miou"]
"""Of `ThresholdSweep`; `ScanThresholdSweep` reads no labels."""
DEFAULT_THRESHOLDS: tuple[float, ...] = (*(round(0.05 * i, 2) for i in range(1, 20)), 0.97, 0.98, 0.99)


@dataclass(frozen=True)
class ThresholdChoice:
    """The threshold that scores best, and the whole curve it was chosen from.

    Attributes:
        threshold: A voxel is occupied where its probability is at least this.
        criterion: Full name of the score that was maximised.
        score: Its value at `threshold`, on the frames that the sweep saw.
        curve: (threshold, score) in rising order of the threshold.
    """

    threshold: float
    criterion: str
    score: float
    curve: tuple[tuple[float, float], ...]


class ThresholdSweep(Metric):
    """Score every threshold in one pass, without keeping volumes.

    The state is a histogram over (number of thresholds passed, class if occupied, true label); the confusion
    matrix of any threshold is a sum over it. "iou" maximises geometry IoU, "miou" the mean IoU over the
    classes that the truth
    holds: that set is the same for every threshold, where a mean over "17" may gain by not predicting a class
    at all. Feed it training scenes: a threshold chosen on the frames that are scored is a result nobody can
    repeat.
    """

    counts: Tensor
    full_state_update = False

    def __init__(
        self,
        thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
        criterion: Criterion = "iou",
        mask: MaskName = "camera",
    ) -> None:
        super().__init__()
        if len(thresholds) == 0 or sorted(set(thresholds)) != list(thresholds):
            raise ValueError(f"ThresholdSweep: thresholds must rise strictly, got {list(thresholds)}")
        self.thresholds = tuple(float(t) for t in thresholds)
        self.criterion: Criterion = criterion
        self.mask: MaskName = mask
        shape = (len(self.thresholds) + 1, FREE, NUM_OCC3D_LABELS)
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        occupancy: Float[Tensor, "B X Y Z"],
        classes: UInt8[Tensor, "B X Y Z"],
        labels: OccupancyLabels,
    ) -> None:
        """Count one batch.

        Args:
            occupancy: Probability in [0, 1] that a voxel is solid; must be finite.
            classes: The class 0..16 that a voxel takes if it is occupied.
            labels: Truth of the same frames.

        Raises:
            ValueError: Where a class is not one of 0..16.
        """
        counted = voxel_mask(labels, self.mask) & (labels.semantics <= FREE)
        chosen = classes[counted].long()
        if chosen.numel() and int(chosen.max()) >= FREE:
            raise ValueError(f"ThresholdSweep: classes must be 0..{FREE - 1}, got {int(chosen.max())}")
        edges = torch.tensor(self.thresholds, device=occupancy.device)
        passed = torch.bucketize(occupancy[counted].float(), edges, right=True)  # how many are <= p
        flat = (passed * FREE + chosen) * NUM_OCC3D_LABELS + labels.semantics[counted].long()
        self.counts += torch.bincount(flat, minlength=self.counts.numel()).reshape(self.counts.shape)

    def compute(self) -> list[tuple[float, float]]:
        """Return (threshold, score) in rising order of the threshold; NaN where no score exists."""
        return [(t, self._score(i)) for i, t in enumerate(self.thresholds)]

    def choose(self) -> ThresholdChoice:
        """Return the best threshold; of equals, the middle one.

        Raises:
            ValueError: Where no threshold hits a single occupied voxel, so that none is better than another.
        """
        protocol = f"occ3d/{self.mask}" + ("/present" if self.criterion == "miou" else "")
        return _best(self.compute(), metric_name(protocol, self.criterion))

    def confusion(self, index: int) -> Int[Tensor, "18 18"]:
        """Return the confusion matrix (truth, prediction) at threshold number `index`."""
        occupied = self.counts[index + 1 :].sum(0).T  # (18, 17)
        free = self.counts[: index + 1].sum((0, 1))  # (18,)
        return torch.cat([occupied, free[:, None]], 1)

    def _score(self, index: int) -> float:
        confusion = self.confusion(index)
        return mean_iou(confusion, "present") if self.criterion == "miou" else geometry_iou(confusion)


class ScanThresholdSweep(Metric):
    """Score every threshold by LiDAR alone, for data that have no 3-D labels.

    Voxels that a beam passed are empty, those with a return are matter; the state counts both by the number of
    thresholds that their probability passes. The score is `lidar/scan:hit_recall` less `lidar/scan:free_violation`
    (Youden's J): beams pass many more voxels than they end in, so that `lidar/scan:iou` would be best
    for a threshold that leaves next to nothing. Feed it training scenes.
    """

    counts: Tensor
    full_state_update = False

    def __init__(self, thresholds: Sequence[float] = DEFAULT_THRESHOLDS, grid: VoxelGrid = OCC3D_GRID) -> None:
        super().__init__()
        self.thresholds, self.grid = tuple(float(t) for t in thresholds), grid
        counts = torch.zeros(2, len(self.thresholds) + 1, dtype=torch.int64)  # passed, returned
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(self, occupancy: Float[Tensor, "B X Y Z"], key_frames: Sequence[KeyFrame]) -> None:
        """Count one batch of probabilities in [0, 1], each with its key frame's scan."""
        edges = torch.tensor(self.thresholds)
        for probabilities, frame in zip(occupancy.cpu().float(), key_frames, strict=True):
            state = torch.from_numpy(scan_states(frame, self.grid))
            for number, value in enumerate((PASSED, RETURNED)):
                passed = torch.bucketize(probabilities[state == value], edges, right=True)
                self.counts[number] += torch.bincount(passed, minlength=len(edges) + 1).to(self.counts.device)

    def compute(self) -> list[tuple[float, float]]:
        """Return (threshold, score) in rising order of the threshold; NaN where no score exists."""
        occupied = self.counts.flip(1).cumsum(1).flip(1)[:, 1:]  # (2, thresholds): at least that probable
        shares = occupied.double() / self.counts.sum(1, keepdim=True)  # of passed and of returned voxels; 0 / 0 is NaN
        return list(zip(self.thresholds, (shares[1] - shares[0]).tolist(), strict=True))

    def choose(self) -> ThresholdChoice:
        """Return the best threshold; of equals, the middle one.

        Raises:
            ValueError: Where no threshold tells voxels with a return from those that beams passed.
        """
        return _best(self.compute(), metric_name(SCAN, "hit_recall_less_free_violation"))


def _best(curve: list[tuple[float, float]], name: str) -> ThresholdChoice:
    best = max((score for _, score in curve if score > 0), default=0.0)
    if best == 0.0:
        raise ValueError(
            "ThresholdSweep: no threshold hits an occupied voxel among those that count; the frames hold none, or the "
            "prediction is empty"
        )
    ties = [t for t, score in curve if score == best]
    return ThresholdChoice(ties[len(ties) // 2], name, best, tuple(curve))
