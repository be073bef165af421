"""Read a LiDAR scan of any data set that an index lists."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from gsocc.datasets.dgp_format.point_clouds import read_points
from gsocc.datasets.lidar import read_lidar


def read_scan(path: Path) -> Float[np.ndarray, "N 3"]:
    """Read the points of a scan in the LiDAR frame, in metres: an npz of DGP, or else a scan of nuScenes.

    Raises:
        DataError: See `read_points` and `read_lidar`.
    """
    return read_points(path) if path.suffix == ".npz" else read_lidar(path)
