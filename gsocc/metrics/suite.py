"""Many protocols over one pass: models, baselines and other systems' files are scored by the same code."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gsocc.metrics.above_ground import GroundLayersMetric
from gsocc.metrics.families import FAMILIES, SuiteSettings
from gsocc.metrics.frames import FramePrediction, FrameTruth, Need
from gsocc.metrics.names import MaskName, split_name
from gsocc.metrics.protocols import PROTOCOLS, STREET
from gsocc.structures import OCC3D_GRID, OccupancyLabels, VoxelGrid

_GROUND = re.compile(r"/z[+-][\d.]+m$")  # a setting of the run, not part of what is asked for by name


@dataclass(frozen=True)
class OccupancyScores:
    """What a suite finds.

    Attributes:
        metrics: Numbers by full name.
        ground_layers: Rows of `z_m`, `occupancy`, `occupied_share`, lowest layer first; empty where no protocol of
            the suite counts them.
    """

    metrics: dict[str, float]
    ground_layers: list[dict[str, float]]


def needs_of(protocols: Sequence[str]) -> frozenset[Need]:
    """Return what predictions and truth have to hold for these protocols."""
    families = {family for name in protocols for family in PROTOCOLS[name].families}
    return frozenset(need for family in families for need in FAMILIES[family].needs)


class ProtocolSuite(nn.Module):
    """Scores by protocol, counted in one pass; what several protocols share is counted once.

    Args:
        protocols: Names in `PROTOCOLS`.
        grid: Lattice of predictions and truth.
        ground_z_m: Height of the ground; see `AboveGroundMetric`.
        camera_names: Names of the cameras, where depth is scored.
    """

    def __init__(
        self,
        protocols: Sequence[str],
        *,
        grid: VoxelGrid = OCC3D_GRID,
        ground_z_m: float = 0.0,
        camera_names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.protocols = tuple(protocols)
        self.needs = needs_of(self.protocols)
        settings = SuiteSettings(grid, ground_z_m, camera_names)
        self.families = tuple(dict.fromkeys(f for name in self.protocols for f in PROTOCOLS[name].families))
        self.counters = nn.ModuleList(FAMILIES[name].build(settings) for name in self.families)

    def update(self, prediction: FramePrediction, truth: FrameTruth) -> None:
        """Count one batch; both have to hold what `needs` says."""
        for name, metric in zip(self.families, self.counters, strict=True):
            FAMILIES[name].update(metric, prediction, truth)

    def compute(self) -> OccupancyScores:
        """Return the numbers of the suite's protocols, summed over ranks where a process group runs."""
        metrics: dict[str, float] = {}
        layers: list[dict[str, float]] = []
        for name, metric in zip(self.families, self.counters, strict=True):
            found = FAMILIES[name].scores(metric)
            metrics |= {key: value for key, value in found.items() if _protocol_of(key) in self.protocols}
            if isinstance(metric, GroundLayersMetric) and not layers:
                layers = metric.compute()
        return OccupancyScores(metrics, layers)

    def reset(self) -> None:
        """Forget everything counted so far."""
        for metric in self.counters:
            metric.reset()  # type: ignore[operator]


class OccupancySuite(ProtocolSuite):
    """The scores that every report shows, of volumes alone: see `STREET`, under any of the masks."""

    def __init__(self, grid: VoxelGrid = OCC3D_GRID, mask: MaskName = "camera", ground_z_m: float = 0.0) -> None:
        protocols = [name.replace("occ3d/camera", f"occ3d/{mask}") for name in STREET]
        super().__init__(protocols, grid=grid, ground_z_m=ground_z_m)

    def update(  # type: ignore[override]
        self,
        semantics: UInt8[Tensor, "B X Y Z"],
        occupancy: Float[Tensor, "B X Y Z"],
        labels: OccupancyLabels,
    ) -> None:
        """Count one batch: labels 0..17 after the threshold, and the probabilities before it."""
        super().update(FramePrediction(semantics, occupancy), FrameTruth(labels))


def _protocol_of(name: str) -> str:
    return _GROUND.sub("", split_name(name)[0])
