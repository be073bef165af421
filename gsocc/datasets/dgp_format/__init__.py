"""Scene datasets in TRI's DGP format, DDAD's among them: a reader of the documented files, without the dgp package.

>>> dataset = open_scene_dataset("data/ddad/ddad.json", split="val")  # doctest: +SKIP
>>> sample = dataset.scenes[0].samples[0]  # doctest: +SKIP
>>> depth_m = sample.project_lidar_depth("CAMERA_01", "LIDAR")  # doctest: +SKIP
"""

from gsocc.datasets.dgp_format.calibration import SensorCalibration, read_calibration
from gsocc.datasets.dgp_format.point_clouds import column_names, read_points
from gsocc.datasets.dgp_format.scenes import (
    SPLITS,
    Image,
    PointCloud,
    Sample,
    Scene,
    SceneDataset,
    open_scene_dataset,
    split_names,
)
from gsocc.datasets.dgp_format.stamps import MICROSECOND, TICK_100_NS, parse_stamp

__all__ = [
    "MICROSECOND",
    "SPLITS",
    "TICK_100_NS",
    "Image",
    "PointCloud",
    "Sample",
    "Scene",
    "SceneDataset",
    "SensorCalibration",
    "column_names",
    "open_scene_dataset",
    "parse_stamp",
    "read_calibration",
    "read_points",
    "split_names",
]
