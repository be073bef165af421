"""Every occupancy score of a report in one object: models and baselines are scored by the same code."""

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gsocc.metrics.above_ground import AboveGroundMetric, GroundLayersMetric, ground_layer_scores
from gsocc.metrics.names import MaskName
from gsocc.metrics.occupancy import OccupancyMetric
from gsocc.structures import OCC3D_GRID, OccupancyLabels, VoxelGrid


@dataclass(frozen=True)
class OccupancyScores:
    """What `OccupancySuite` finds.

    Attributes:
        metrics: Numbers by full name.
        ground_layers: Rows of `z_m`, `occupancy`, `occupied_share`, lowest layer first.
    """

    metrics: dict[str, float]
    ground_layers: list[dict[str, float]]


class OccupancySuite(nn.Module):
    """Confusion matrix, above-ground scores (16 m; 16 m with 0.8 m tolerance; all) and ground layers."""

    def __init__(self, grid: VoxelGrid = OCC3D_GRID, mask: MaskName = "camera", ground_z_m: float = 0.0) -> None:
        super().__init__()
        self.ground_z_m = ground_z_m
        self.mask: MaskName = mask
        self.occupancy = OccupancyMetric(mask)
        self.near = AboveGroundMetric(16.0, 0.0, grid, mask, ground_z_m)
        self.near_tolerant = AboveGroundMetric(16.0, 0.8, grid, mask, ground_z_m)
        self.above = AboveGroundMetric(None, 0.0, grid, mask, ground_z_m)
        self.layers = GroundLayersMetric(grid, mask, ground_z_m)

    def update(
        self,
        semantics: UInt8[Tensor, "B X Y Z"],
        occupancy: Float[Tensor, "B X Y Z"],
        labels: OccupancyLabels,
    ) -> None:
        """Count one batch: labels 0..17 after the threshold, and the probabilities before it."""
        self.occupancy.update(semantics, labels)
        for metric in (self.near, self.near_tolerant, self.above):
            metric.update(semantics, labels)
        self.layers.update(occupancy, semantics, labels)

    def compute(self) -> OccupancyScores:
        """Return all scores, summed over ranks where a process group runs."""
        metrics: dict[str, float] = dict(self.occupancy.compute())
        for metric in (self.near, self.near_tolerant, self.above):
            metrics |= metric.compute()
        layers = self.layers.compute()
        return OccupancyScores(metrics | ground_layer_scores(layers, self.mask, self.ground_z_m), layers)

    def reset(self) -> None:
        """Forget everything counted so far."""
        for metric in (self.occupancy, self.near, self.near_tolerant, self.above, self.layers):
            metric.reset()
