"""What counts: one object per family of protocols, fed with a batch, giving every number that its counts hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.labels import OCC3D_15, OCC3D_17
from gsocc.metrics.above_ground import AboveGroundMetric, GroundLayersMetric, ground_layer_scores
from gsocc.metrics.depth import DepthMetric
from gsocc.metrics.frames import FramePrediction, FrameTruth, Need
from gsocc.metrics.label_free import ScanMetric, StaticConsistency
from gsocc.metrics.names import MaskName
from gsocc.metrics.occupancy import OccupancyMetric
from gsocc.metrics.per_rank import PerRankOccupancyMetric
from gsocc.metrics.pixels import PixelAccuracy
from gsocc.metrics.protocols import DEPTH_LIMIT_M, depth_projections, depth_protocol
from gsocc.metrics.ray_iou import RayIouMetric, lidar_origins
from gsocc.metrics.selfocc import SelfOccMetric
from gsocc.structures import OccupancyLabels, VoxelGrid


@dataclass(frozen=True)
class SuiteSettings:
    """What families are built from.

    Attributes:
        grid: Lattice of predictions and truth.
        ground_z_m: Height of the ground.
        camera_names: Names of the V cameras; only depth needs them.
    """

    grid: VoxelGrid
    ground_z_m: float = 0.0
    camera_names: Sequence[str] = ()


@dataclass(frozen=True)
class Family:
    """How a metric is built, fed and read.

    Attributes:
        needs: What predictions and truth have to hold.
        build: Makes the metric.
        update: Counts one batch.
        scores: Reads every number off the counts, by full name.
    """

    needs: frozenset[Need]
    build: Callable[[SuiteSettings], Metric]
    update: Callable[[Any, FramePrediction, FrameTruth], None]
    scores: Callable[[Any], dict[str, float]]


def _volume(prediction: FramePrediction, truth: FrameTruth) -> tuple[UInt8[Tensor, "B X Y Z"], OccupancyLabels]:
    assert prediction.semantics is not None
    assert truth.labels is not None
    return prediction.semantics, truth.labels


def _update_volume(metric: Any, prediction: FramePrediction, truth: FrameTruth) -> None:
    metric.update(*_volume(prediction, truth))


def _occupancy(mask: MaskName, _: SuiteSettings) -> Metric:
    return OccupancyMetric(mask)


def _per_rank(classes: Sequence[int], _: SuiteSettings) -> Metric:
    return PerRankOccupancyMetric("camera_lidar", classes)


def _compute(metric: Any) -> dict[str, float]:
    scores: dict[str, float] = metric.compute()
    return scores


_VOLUME: frozenset[Need] = frozenset(("semantics", "labels"))


def _above(mask: MaskName, range_m: float | None, tolerance_m: float) -> Family:
    def build(settings: SuiteSettings) -> Metric:
        return AboveGroundMetric(range_m, tolerance_m, settings.grid, mask, settings.ground_z_m)

    return Family(_VOLUME, build, _update_volume, _compute)


def _layers(mask: MaskName) -> Family:
    def update(metric: GroundLayersMetric, prediction: FramePrediction, truth: FrameTruth) -> None:
        semantics, labels = _volume(prediction, truth)
        assert prediction.occupancy is not None
        metric.update(prediction.occupancy, semantics, labels)

    def scores(metric: GroundLayersMetric) -> dict[str, float]:
        return ground_layer_scores(metric.compute(), mask, metric.ground_z_m)

    return Family(_VOLUME, lambda s: GroundLayersMetric(s.grid, mask, s.ground_z_m), update, scores)


def visible_depth(depth_m: Float[Tensor, "B V H W"], self_mask: Bool[Tensor, "B V h w"]) -> Float[Tensor, "B V H W"]:
    """Return depth truth without the pixels that show the vehicle; the mask is scaled to it by nearest neighbour."""
    mask = F.interpolate(self_mask.float(), depth_m.shape[-2:], mode="nearest")
    return depth_m * (mask > 0)


def _depth(name: str, max_m: float, *, rounded: bool, masked: bool) -> Family:
    def update(metric: DepthMetric, prediction: FramePrediction, truth: FrameTruth) -> None:
        depth_m = truth.lidar_depth_round_m if rounded else truth.lidar_depth_m
        assert depth_m is not None
        assert prediction.depth_m is not None
        if masked:
            assert truth.self_mask is not None
            depth_m = visible_depth(depth_m, truth.self_mask)
        metric.update(prediction.depth_m, depth_m)

    needs: set[Need] = {"rendered_depth", "lidar_depth_round" if rounded else "lidar_depth"}
    if masked:
        needs.add("self_mask")
    return Family(frozenset(needs), lambda s: DepthMetric(s.camera_names, max_m=max_m, protocol=name), update, _compute)


def _update_pixels(metric: PixelAccuracy, prediction: FramePrediction, truth: FrameTruth) -> None:
    assert prediction.label_images is not None
    assert truth.label_images is not None
    metric.update(prediction.label_images, truth.label_images)


def _update_per_rank(metric: PerRankOccupancyMetric, prediction: FramePrediction, truth: FrameTruth) -> None:
    metric.update(*_volume(prediction, truth), truth.places)


def _update_rays(metric: RayIouMetric, prediction: FramePrediction, truth: FrameTruth) -> None:
    semantics, labels = _volume(prediction, truth)
    origins_m = [
        lidar_origins(torch.from_numpy(f.scene_lidar_to_ego), torch.from_numpy(f.scene_ego_to_global), f.number)
        for f in truth.key_frames
    ]
    metric.update(semantics, labels, origins_m)


def _update_frames(metric: Any, prediction: FramePrediction, truth: FrameTruth) -> None:
    assert prediction.semantics is not None
    metric.update(prediction.semantics, truth.key_frames)


def _families() -> dict[str, Family]:
    scans: frozenset[Need] = frozenset(("semantics", "key_frames", "scans"))
    sequence: frozenset[Need] = frozenset(("semantics", "key_frames", "sequence"))
    pixels: frozenset[Need] = frozenset(("rendered_labels", "label_images"))
    families = {
        "selfocc": Family(_VOLUME, lambda _: SelfOccMetric(), _update_volume, _compute),
        "ray": Family(_VOLUME | {"key_frames"}, lambda s: RayIouMetric(s.grid), _update_rays, _compute),
        "scan": Family(scans, lambda s: ScanMetric(s.grid), _update_frames, _compute),
        "static": Family(sequence, lambda s: StaticConsistency(s.grid), _update_frames, _compute),
        "pixels": Family(pixels, lambda _: PixelAccuracy(), _update_pixels, _compute),
    }
    for mask in get_args(MaskName):
        families |= {
            f"confusion/{mask}": Family(_VOLUME, partial(_occupancy, mask), _update_volume, _compute),
            f"above/{mask}/16m": _above(mask, 16.0, 0.0),
            f"above/{mask}/16m/0.8m": _above(mask, 16.0, 0.8),
            f"above/{mask}/all": _above(mask, None, 0.0),
            f"layers/{mask}": _layers(mask),
        }
    for classes in (OCC3D_15, OCC3D_17):
        name = f"per_rank/camera_lidar/{len(classes)}"
        families[name] = Family(_VOLUME, partial(_per_rank, classes), _update_per_rank, _compute)
    for dataset, limit_m in DEPTH_LIMIT_M.items():
        for projection in depth_projections(dataset):
            for part in ("", "/self_mask"):
                name = f"{depth_protocol(dataset)}{projection}{part}"
                families[name] = _depth(name, float(limit_m), rounded=bool(projection), masked=bool(part))
    return families


FAMILIES: dict[str, Family] = _families()
