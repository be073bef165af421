"""Averages of an objective's terms over validation frames."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics.aggregation import MeanMetric

from gsocc.metrics.names import metric_name

PROTOCOL = "objective/validation"


class ObjectiveMeans:
    """Means of losses by name, over all ranks: `objective/validation:total`, `objective/validation:smoothness`, ..."""

    def __init__(self) -> None:
        self._means: dict[str, MeanMetric] = {}

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor]) -> None:
        """Add the scalars of one batch."""
        for name, value in values.items():
            self._means.setdefault(name, MeanMetric().to(value.device)).update(value)

    def compute(self) -> dict[str, float]:
        """Return every mean under its full name."""
        return {metric_name(PROTOCOL, name): float(mean.compute()) for name, mean in self._means.items()}
