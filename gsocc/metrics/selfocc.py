"""SelfOcc's protocol: predictions are cropped, and the class `others` is empty."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from gsocc.labels import FREE, OCC3D_CLASSES
from gsocc.metrics.names import metric_name
from gsocc.metrics.occupancy import OccupancyMetric
from gsocc.structures import OccupancyLabels

PROTOCOL = "occ3d/selfocc"
_BORDER = 6  # voxels, 2.4 m, on all four sides
_TOP = 12  # layers from here up, above 3.8 m, are free


def crop_prediction(semantics: UInt8[Tensor, "B X Y Z"]) -> UInt8[Tensor, "B X Y Z"]:
    """Return predictions with the outer six voxels in x and y and all layers from the twelfth up set to free."""
    cropped = torch.full_like(semantics, FREE)
    inner = (slice(None), slice(_BORDER, -_BORDER), slice(_BORDER, -_BORDER), slice(None, _TOP))
    cropped[inner] = semantics[inner]
    return cropped


class SelfOccMetric(OccupancyMetric):
    """Scores of SelfOcc's released evaluation (arXiv:2311.12754, `eval_iou.py --occ3d --use-mask`).

    Under the camera mask, on cropped predictions (the truth is not cropped):

    - `occ3d/selfocc:iou`: occupied against empty. A true `others` is empty, a predicted one is matter;
    - `occ3d/selfocc:miou`: mean over classes 1 to 16; `others` is empty in truth and prediction, and a class that the
      truth does not hold counts as 1;
    - `occ3d/selfocc:iou/<class>`.

    Two things differ from the release on purpose: predictions are read at the voxel centres of Occ3D, not at a lattice
    stretched to the box's faces, and sky that a network predicts is not told apart from other matter.
    """

    def __init__(self) -> None:
        super().__init__("camera")

    def update(self, semantics: UInt8[Tensor, "B X Y Z"], labels: OccupancyLabels) -> None:
        """Crop one batch of predictions and count it; see `OccupancyMetric.update`."""
        super().update(crop_prediction(semantics), labels)

    def compute(self) -> dict[str, float]:
        """Return every score under its full name."""
        counts = self.confusion.double()
        hits = float(counts[1:FREE, :FREE].sum())
        union = hits + float(counts[1:FREE, FREE].sum() + counts[[0, FREE], :FREE].sum())
        scores = {metric_name(PROTOCOL, "iou"): hits / union if union else float("nan")}
        true, predicted = counts.sum(1), counts.sum(0)
        ious = counts.diagonal() / (true + predicted - counts.diagonal())
        ious = torch.where(true > 0, ious, torch.ones_like(ious))[1:FREE]
        scores[metric_name(PROTOCOL, "miou")] = float(ious.mean())
        for name, iou in zip(OCC3D_CLASSES[1:], ious.tolist(), strict=True):
            scores[metric_name(PROTOCOL, f"iou/{name}")] = iou
        return scores
