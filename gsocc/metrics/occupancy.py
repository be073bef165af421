"""Occupancy against Occ3D truth: one pooled confusion matrix, and everything that is read off it.

Published mIoU numbers cannot be compared as they stand: they differ in the voxels counted, in the classes
averaged, and some average the IoU of every GPU instead of adding up counts. Here counts are added up over
frames and ranks, and every number carries the name of its protocol: `occ3d/camera/15:miou` is the mean over
15 classes of the voxels that a camera saw.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.kernels.confusion import count_pairs
from gsocc.labels import FREE, NUM_OCC3D_LABELS, OCC3D_15, OCC3D_17, OCC3D_CLASSES
from gsocc.metrics.names import MaskName, metric_name, voxel_mask
from gsocc.metrics.ssc import ssc_scores
from gsocc.structures import OccupancyLabels

ClassSet = Literal["17", "15", "present"]


def class_iou(confusion: Int[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """Return the intersection over union of every label of a confusion matrix (truth, prediction).

    NaN marks a label that neither the truth nor the prediction holds; one that only the prediction holds
    scores 0.
    """
    hits = confusion.diagonal().double()
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return hits / union.double()  # 0 / 0 is NaN, which is what an absent label has to be


def geometry_iou(confusion: Int[Tensor, "18 18"]) -> float:
    """Return the IoU of occupied against free, whatever the classes; NaN where everything is free in both."""
    hits = confusion[:FREE, :FREE].sum()
    union = confusion.sum() - confusion[FREE, FREE]
    return float(hits.double() / union.double())


def mean_iou(confusion: Int[Tensor, "18 18"], classes: ClassSet) -> float:
    """Return the mean IoU over a set of classes; free space is never one of them.

    "17" and "15" follow Occ3D's evaluator: a class that is absent from truth and prediction is left out of
    the mean, one that is absent from the truth alone counts as 0. "present" averages over the classes that
    the truth holds, so that the number of classes depends on the frames only and never on the predictor.
    """
    iou = class_iou(confusion)
    if classes == "present":
        return float(iou[:FREE][confusion[:FREE].sum(1) > 0].mean())  # the mean of nothing is NaN
    return float(iou[list(OCC3D_17 if classes == "17" else OCC3D_15)].nanmean())


def confusion_of(semantics: UInt8[Tensor, "B X Y Z"], labels: OccupancyLabels, mask: MaskName) -> Int[Tensor, "18 18"]:
    """Return the confusion matrix (truth, prediction) of a batch over the voxels that a protocol counts.

    Args:
        semantics: Predicted labels, 0..16 for the classes and 17 for free.
        labels: Truth of the same frames; voxels with an id outside 0..17 are not counted.
        mask: Which voxels are counted.

    Raises:
        ValueError: Where shapes differ or a prediction is above 17.
    """
    if semantics.shape != labels.semantics.shape:
        raise ValueError(
            f"OccupancyMetric: predictions of shape {tuple(semantics.shape)} do not fit truth of shape "
            f"{tuple(labels.semantics.shape)}; resample them to the Occ3D lattice first"
        )
    counted = voxel_mask(labels, mask)
    check_layout(semantics, labels.semantics, counted)
    counts = _count(semantics, labels.semantics, counted)
    if counts[:NUM_OCC3D_LABELS, NUM_OCC3D_LABELS].any():
        raise ValueError(f"OccupancyMetric: predicted labels must be 0..{FREE}, got {int(semantics.max())}")
    return counts[:NUM_OCC3D_LABELS, :NUM_OCC3D_LABELS]


def check_layout(predicted: Tensor, truth: Tensor, counted: Tensor) -> None:
    """Refuse what kernels would misread.

    Raises:
        ValueError: Where labels are not uint8 and of one shape, or the mask is not boolean and of theirs.
    """
    if predicted.dtype != torch.uint8 or truth.dtype != torch.uint8:
        raise ValueError(f"check_layout: labels must be uint8, got {predicted.dtype} and {truth.dtype}")
    if not predicted.shape == truth.shape == counted.shape or counted.dtype != torch.bool:
        raise ValueError(
            f"check_layout: truth and a boolean mask must have the shape of predictions, {tuple(predicted.shape)}, got "
            f"{tuple(truth.shape)} and {counted.dtype} {tuple(counted.shape)}"
        )


def _count(
    predicted: UInt8[Tensor, "B X Y Z"], truth: UInt8[Tensor, "B X Y Z"], counted: Bool[Tensor, "B X Y Z"]
) -> Int[Tensor, "19 19"]:
    """Count pairs (truth, prediction); whatever is above 17 shares the last row and column."""
    if predicted.device.type == "cpu":
        counts = np.zeros((NUM_OCC3D_LABELS + 1, NUM_OCC3D_LABELS + 1), np.int64)
        volumes = [v.contiguous().view(torch.uint8).numpy().reshape(-1) for v in (predicted, truth, counted)]
        count_pairs(volumes[0], volumes[1], volumes[2], counts)
        return torch.from_numpy(counts)
    return _count_by_bins(predicted, truth, counted)


def _count_by_bins(
    predicted: UInt8[Tensor, "B X Y Z"], truth: UInt8[Tensor, "B X Y Z"], counted: Bool[Tensor, "B X Y Z"]
) -> Int[Tensor, "19 19"]:
    """Count as `_count` does, by operations that a GPU has."""
    size = NUM_OCC3D_LABELS + 1
    pairs = truth[counted].clamp(max=FREE + 1).long() * size + predicted[counted].clamp(max=FREE + 1)
    return torch.bincount(pairs, minlength=size**2).reshape(size, size)


class OccupancyMetric(Metric):
    """Geometry IoU and mIoU on the Occ3D lattice, from one confusion matrix summed over frames and ranks.

    `compute` gives, for the mask "camera":

    - `occ3d/camera:iou`: occupied against free, classes ignored;
    - `occ3d/camera/17:miou`, `occ3d/camera/15:miou`, `occ3d/camera/present:miou`: see `mean_iou` for absent
      classes;
    - `occ3d/camera/17:iou/<class>`: one per class, NaN where neither truth nor prediction hold it;
    - `occ3d/camera:precision`, `occ3d/camera:recall`: of occupied voxels;
    - `occ3d/camera/ssc:iou`, `:precision`, `:recall`, `:miou`: see `ssc_scores`.

    Truth outside 0..17 under the mask is not counted, as in the published evaluators.
    """

    confusion: Tensor
    full_state_update = False
    higher_is_better = True

    def __init__(self, mask: MaskName = "camera") -> None:
        super().__init__()
        self.mask: MaskName = mask
        self.add_state(
            "confusion",
            torch.zeros(NUM_OCC3D_LABELS, NUM_OCC3D_LABELS, dtype=torch.int64),
            dist_reduce_fx="sum",
        )

    def update(self, semantics: UInt8[Tensor, "B X Y Z"], labels: OccupancyLabels) -> None:
        """Count one batch of predictions.

        Args:
            semantics: Predicted labels, 0..16 for the classes and 17 for free.
            labels: Truth of the same frames.

        Raises:
            ValueError: Where shapes differ or a prediction is above 17.
        """
        self.confusion += confusion_of(semantics, labels, self.mask).to(self.confusion.device)

    def compute(self) -> dict[str, float]:
        """Return every score under its full name."""
        protocol = f"occ3d/{self.mask}"
        confusion = self.confusion
        hits = confusion[:FREE, :FREE].sum().double()
        scores = {
            metric_name(protocol, "iou"): geometry_iou(confusion),
            metric_name(protocol, "precision"): float(hits / confusion[:, :FREE].sum()),
            metric_name(protocol, "recall"): float(hits / confusion[:FREE].sum()),
        }
        class_sets: tuple[ClassSet, ...] = ("17", "15", "present")
        for classes in class_sets:
            scores[metric_name(f"{protocol}/{classes}", "miou")] = mean_iou(confusion, classes)
        for name, iou in zip(OCC3D_CLASSES, class_iou(confusion).tolist(), strict=False):
            scores[metric_name(f"{protocol}/17", f"iou/{name}")] = iou
        return scores | {metric_name(f"{protocol}/ssc", k): v for k, v in ssc_scores(confusion).items()}
