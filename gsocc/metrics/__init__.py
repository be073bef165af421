"""Scores with sum-reduced states: the same on one rank and on many. Names are `<protocol>:<metric>`."""

from gsocc.metrics.above_ground import AboveGroundMetric, GroundLayersMetric, ground_layer_scores
from gsocc.metrics.baselines import (
    GroundPlaneCapSweep,
    LabelPrior,
    OccupancyGuess,
    all_free,
    all_occupied,
    best_ground_plane_cap,
    ground_level_m,
    ground_plane,
    ground_plane_depth,
)
from gsocc.metrics.depth import DEPTH_SCORES, DepthMetric
from gsocc.metrics.label_free import ScanMetric, StaticConsistency
from gsocc.metrics.names import metric_name, split_name
from gsocc.metrics.occupancy import OccupancyMetric
from gsocc.metrics.per_rank import PerRankOccupancyMetric
from gsocc.metrics.pose import MOTION_SCORES, EgoMotionMetric, TrajectoryMetric, trajectory_scale
from gsocc.metrics.protocols import PROTOCOLS, parse_protocols
from gsocc.metrics.ray_iou import RayIouMetric, cast_labels, lidar_origins
from gsocc.metrics.suite import OccupancyScores, OccupancySuite, ProtocolSuite
from gsocc.metrics.threshold import ScanThresholdSweep, ThresholdChoice, ThresholdSweep

__all__ = [
    "DEPTH_SCORES",
    "MOTION_SCORES",
    "PROTOCOLS",
    "AboveGroundMetric",
    "DepthMetric",
    "EgoMotionMetric",
    "GroundLayersMetric",
    "GroundPlaneCapSweep",
    "LabelPrior",
    "OccupancyGuess",
    "OccupancyMetric",
    "OccupancyScores",
    "OccupancySuite",
    "PerRankOccupancyMetric",
    "ProtocolSuite",
    "RayIouMetric",
    "ScanMetric",
    "ScanThresholdSweep",
    "StaticConsistency",
    "ThresholdChoice",
    "ThresholdSweep",
    "TrajectoryMetric",
    "all_free",
    "all_occupied",
    "best_ground_plane_cap",
    "cast_labels",
    "ground_layer_scores",
    "ground_level_m",
    "ground_plane",
    "ground_plane_depth",
    "lidar_origins",
    "metric_name",
    "parse_protocols",
    "split_name",
    "trajectory_scale",
]
