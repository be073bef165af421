"""LiDAR scans of any data set that an index lists: read them, and say where its cameras saw them from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64

from gsocc.datasets.dgp_format.point_clouds import read_points
from gsocc.datasets.index import SurroundIndex, pose_matrix
from gsocc.datasets.lidar import read_lidar


def read_key_scan(index: SurroundIndex, root: Path, row: int) -> Float[np.ndarray, "N 3"]:
    """Read the points of a key frame's scan in the LiDAR frame, in metres.

    Args:
        index: The index of the data set.
        root: The folder that scans lie below.
        row: The key frame.

    Raises:
        DataError: See `read_scan`.
    """
    return read_scan(root / index.lidar_file[row].decode(), index.scan_columns(row))


def read_scan(path: Path, columns: Sequence[str] = ()) -> Float[np.ndarray, "N 3"]:
    """Read the points of a scan in the LiDAR frame, in metres: an npz of DGP, or else a scan of nuScenes.

    Args:
        path: The scan.
        columns: What the columns of a scan of DGP hold, by name; without, x, y, z come first.

    Raises:
        DataError: See `read_points` and `read_lidar`.
    """
    return read_points(path, columns) if path.suffix == ".npz" else read_lidar(path)


def lidar_to_cams(index: SurroundIndex, row: int, images: Int64[np.ndarray, " V"]) -> Float64[np.ndarray, "V 4 4"]:
    """Return LiDAR -> camera of images, through the ego poses of scan and image, which were taken at different times.

    Args:
        index: The index of the data set.
        row: The key frame of the scan.
        images: Rows of the images.
    """
    lidar_to_global = pose_matrix(index.lidar_ego_to_global[row]) @ pose_matrix(index.lidar_to_ego[row])
    cam_to_ego = pose_matrix(index.cam_to_ego[index.image_calibration[images]])
    return np.linalg.inv(pose_matrix(index.image_ego_to_global[images]) @ cam_to_ego) @ lidar_to_global
