"""2-D labels of rendered images against those of the data set."""

import torch
from jaxtyping import Int
from torch import Tensor
from torchmetrics import Metric

from gsocc.labels import IGNORE
from gsocc.metrics.names import metric_name

PROTOCOL = "semantics2d/rendered"


class PixelAccuracy(Metric):
    """Share of labelled pixels whose rendered class is right, sky included: `semantics2d/rendered:accuracy`.

    The 2-D labels are what a run was trained with, so this says whether training worked and nothing of 3-D. NaN where
    no pixel is labelled.
    """

    counts: Tensor
    full_state_update = False
    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")  # right, labelled

    def update(self, predicted: Int[Tensor, "B V H W"], labels: Int[Tensor, "B V H W"]) -> None:
        """Count one batch; labels are Occ3D ids, 17 is sky, -1 has no label."""
        labelled = labels != IGNORE
        self.counts += torch.stack([((predicted == labels) & labelled).sum(), labelled.sum()])

    def compute(self) -> dict[str, float]:
        """Return the share under its full name."""
        right, labelled = self.counts.tolist()
        return {metric_name(PROTOCOL, "accuracy"): right / labelled if labelled else float("nan")}
