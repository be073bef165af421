"""LiDAR scans of any data set that an index lists: read them, and say where its cameras saw them from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int64

from gsocc.datasets.dgp_format.point_clouds import read_points
from gsocc.datasets.index import SurroundIndex, pose_matrix
from gsocc.datasets.lidar import read_lidar
from gsocc.errors import DataError


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
    """Read the points of a scan in the LiDAR frame, in metres: of DGP, nuScenes (`.pcd.bin`), KITTI (`.bin`), or npy.

    Args:
        path: The scan.
        columns: What the columns of a scan of DGP hold, by name; without, x, y, z come first.

    Raises:
        DataError: See `read_points`, `read_lidar` and `read_plain_points`.
    """
    if path.suffix == ".npz":
        return read_points(path, columns)
    return read_lidar(path) if path.name.endswith(".pcd.bin") else read_plain_points(path)


def read_plain_points(path: Path) -> Float[np.ndarray, "N 3"]:
    """Read x, y, z in metres of an npy array (points, at least 3), or of KITTI's four float32 per point (`.bin`).

    Raises:
        DataError: Where the file is missing or damaged, or a coordinate is not finite.
    """
    try:
        data = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.fromfile(path, "<f4").reshape(-1, 4)
    except FileNotFoundError as error:
        raise DataError(f"{path}: the LiDAR scan is missing; copy it and build the index again") from error
    except (ValueError, EOFError) as error:
        what = "an array of numbers" if path.suffix == ".npy" else "four float32 (x, y, z, intensity) per point"
        raise DataError(f"{path}: expected {what} ({error}); copy the file again") from error
    if data.ndim != 2 or data.shape[1] < 3 or not np.issubdtype(data.dtype, np.floating):
        raise DataError(f"{path}: expected floats of shape (points, at least 3), got {data.dtype} of {data.shape}")
    if not np.isfinite(data[:, :3]).all():
        raise DataError(f"{path}: points are not finite; copy the file again or repair it")
    return np.ascontiguousarray(data[:, :3])


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
