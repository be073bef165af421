"""mIoU as the OccNeRF and GaussianOcc releases average it: per GPU. Kept to reproduce their tables, not to be used."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float64, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.labels import NUM_OCC3D_LABELS, OCC3D_15, OCC3D_17, OCC3D_CLASSES
from gsocc.metrics.names import MaskName, metric_name
from gsocc.metrics.occupancy import class_iou, confusion_of
from gsocc.structures import OccupancyLabels

PUBLISHED_RANKS = 8


class PerRankOccupancyMetric(Metric):
    """mIoU that depends on the number of GPUs, because the releases average IoUs where counts must be added up.

    Every GPU computes the IoU of each class on its own share of the frames; the IoUs are averaged with the shares'
    numbers of frames as weights, and then over classes. A rare class thereby counts each GPU's few voxels alike, and
    one that a GPU sees neither in truth nor in predictions makes the score NaN. The numbers are not those of the pooled
    counts (`occ3d/camera_lidar/15:miou`).

    Here the GPUs are made up: frame n of the data set belongs to GPU n mod `ranks`, whatever the number of processes
    that really run, so the flawed number can be reproduced anywhere. Frames that the releases' sampler repeats to fill
    the last batch are not repeated.

    `compute` gives `occ3d/camera_lidar/15/per_rank:miou` and `:iou/<class>`; with other than 8 ranks
    `occ3d/camera_lidar/15/per_rank/4ranks:miou`.
    """

    confusion: Tensor
    frames: Tensor
    full_state_update = False
    higher_is_better = True

    def __init__(
        self, mask: MaskName = "camera_lidar", classes: Sequence[int] = OCC3D_15, ranks: int = PUBLISHED_RANKS
    ) -> None:
        super().__init__()
        if tuple(classes) not in (OCC3D_15, OCC3D_17):
            raise ValueError(f"PerRankOccupancyMetric: classes must be OCC3D_15 or OCC3D_17, got {tuple(classes)}")
        if ranks < 1:
            raise ValueError(f"PerRankOccupancyMetric: ranks must be at least 1, got {ranks}")
        self.mask: MaskName = mask
        self.classes, self.ranks = tuple(classes), ranks
        self._seen = 0  # frames that this process was fed without their places
        counts = torch.zeros(ranks, NUM_OCC3D_LABELS, NUM_OCC3D_LABELS, dtype=torch.int64)
        self.add_state("confusion", counts, dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros(ranks, dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        ranks = "" if self.ranks == PUBLISHED_RANKS else f"/{self.ranks}ranks"
        return f"occ3d/{self.mask}/{len(self.classes)}/per_rank{ranks}"

    def update(self, semantics: UInt8[Tensor, "B X Y Z"], labels: OccupancyLabels, places: Sequence[int] = ()) -> None:
        """Count one batch; see `OccupancyMetric.update`.

        Args:
            semantics: Predicted labels, 0..16 for the classes and 17 for free.
            labels: Truth of the same frames.
            places: Which frames of the data set these are; without, process p of P is taken to be fed the frames
                p, p + P, p + 2 P, ... in their order, as `gsocc.datasets.loader.make_loader` deals them out.

        Raises:
            ValueError: Where some frames have no place, shapes differ or a prediction is above 17.
        """
        if places and len(places) != len(semantics):
            raise ValueError(f"PerRankOccupancyMetric: expected places of {len(semantics)} frames, got {len(places)}")
        for item, place in enumerate(places or self._dealt(len(semantics))):
            one = slice(item, item + 1)
            truth = OccupancyLabels(labels.semantics[one], labels.mask_camera[one], labels.mask_lidar[one])
            counts = confusion_of(semantics[one], truth, self.mask)
            self.confusion[place % self.ranks] += counts.to(self.confusion.device)
            self.frames[place % self.ranks] += 1

    def _dealt(self, count: int) -> list[int]:
        """Return the places of the next frames that this process is dealt."""
        running = dist.is_available() and dist.is_initialized()
        process, processes = (dist.get_rank(), dist.get_world_size()) if running else (0, 1)
        first, self._seen = self._seen, self._seen + count
        return [number * processes + process for number in range(first, first + count)]

    def compute(self) -> dict[str, float]:
        """Return the mean and the classes it is taken over, under their full names."""
        ious = per_rank_ious(self.confusion, self.frames)[list(self.classes)]
        scores = {metric_name(self.protocol, "miou"): float(ious.mean())}
        for class_id, iou in zip(self.classes, ious.tolist(), strict=True):
            scores[metric_name(self.protocol, f"iou/{OCC3D_CLASSES[class_id]}")] = iou
        return scores

    def reset(self) -> None:
        """Forget everything counted so far."""
        super().reset()
        self._seen = 0


def per_rank_ious(confusion: Tensor, frames: Tensor) -> Float64[Tensor, " K"]:
    """Average the IoUs of ranks, weighted by their frames; NaN for a label that some rank with frames lacks.

    Args:
        confusion: (ranks, K, K) by truth and prediction.
        frames: (ranks,) number of frames of each.
    """
    working = frames > 0
    if not working.any():
        return torch.full(confusion.shape[1:2], torch.nan, dtype=torch.float64)
    ious = torch.stack([class_iou(one) for one in confusion[working]])  # (ranks, K)
    weights = frames[working].double() / frames.sum()
    return (ious * weights[:, None]).sum(0)
