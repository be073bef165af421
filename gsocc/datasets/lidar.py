"""Read LiDAR scans and project them into cameras."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from gsocc.errors import DataError

_VALUES_PER_POINT = 5  # x, y, z, intensity, ring

Rounding = Literal["floor", "round", "truncate"]
Collisions = Literal["nearest", "last"]
_TO_PIXEL: dict[Rounding, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "round": np.rint,
    "truncate": np.trunc,
}


def read_lidar(path: Path) -> Float32[np.ndarray, "N 3"]:
    """Read the points of a nuScenes scan (`.pcd.bin`: five float32 per point) in the LiDAR frame, in metres.

    Raises:
        DataError: Where the file is missing or empty, its size is not a whole number of points, or a coordinate is
            not finite. Points are not dropped: a scan with NaN was not written by the sensor.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: the LiDAR scan is missing; copy it and build the index again") from error
    point_bytes = 4 * _VALUES_PER_POINT
    if not data or len(data) % point_bytes:
        raise DataError(
            f"{path}: expected a whole number of points of {point_bytes} bytes (x, y, z, intensity, ring as float32), "
            f"got {len(data)} bytes; copy the file again"
        )
    points = np.frombuffer(data, dtype="<f4").reshape(-1, _VALUES_PER_POINT)[:, :3]
    bad = ~np.isfinite(points).all(-1)
    if bad.any():
        raise DataError(
            f"{path}: {int(bad.sum())} of {len(points)} points are not finite, the first at row {int(bad.argmax())}; "
            "copy the file again or repair it"
        )
    return np.ascontiguousarray(points)


def lidar_depth(
    points_lidar: Float[np.ndarray, "N 3"],
    lidar_to_cam: Float[np.ndarray, "V 4 4"],
    intrinsics: Float[np.ndarray, "V 3 3"],
    image_size: tuple[int, int],
    *,
    rounding: Rounding = "floor",
    collisions: Collisions = "nearest",
    min_depth_m: float = 0.0,
) -> Float32[np.ndarray, "V H W"]:
    """Draw a scan into depth images, one per camera; 0 where no point falls.

    Pixel i spans [i, i + 1), so a point belongs to pixel floor(u), and the nearest of several points is the one that
    the camera sees. The published depth files were made with `rounding="round"`, half a pixel off, and
    `collisions="last"`, whichever point came last; both are here to reproduce them.

    Args:
        points_lidar: Points in metres.
        lidar_to_cam: Through the ego poses of scan and image, which were taken at different times.
        intrinsics: K in pixels of an image of `image_size`.
        image_size: (H, W) of the result.
        rounding: "floor", "round", or "truncate" (towards zero, as TRI's dgp).
        collisions: What a pixel keeps when several points fall on it, "nearest" or "last".
        min_depth_m: Points nearer than this are left out: returns from the vehicle itself, which would hide others.
    """
    height, width = image_size
    depth_m = np.zeros((len(intrinsics), height, width), dtype=np.float32)
    points = points_lidar.astype(np.float64)
    for view, (matrix, k) in enumerate(zip(lidar_to_cam, intrinsics, strict=True)):
        points_cam = points @ matrix[:3, :3].T + matrix[:3, 3]  # (N, 3)
        points_cam = points_cam[points_cam[:, 2] > max(min_depth_m, 0.0)]
        z_m = points_cam[:, 2]
        uv = (points_cam @ k.T)[:, :2] / z_m[:, None]
        pixel = _TO_PIXEL[rounding](uv)
        inside = ((pixel >= 0) & (pixel < (width, height))).all(-1)
        pixel, z_m = pixel[inside].astype(np.int64), z_m[inside]
        # Of several values given to one pixel, the last assigned stays.
        order = np.argsort(-z_m, kind="stable") if collisions == "nearest" else slice(None)
        depth_m[view, pixel[order, 1], pixel[order, 0]] = z_m[order]
    return depth_m


def depth_path(depth_root: Path, image_file: str) -> Path:
    """Return the exported depth of an image, given by its path below the data root (`samples/<CAM>/<name>.jpg`)."""
    return depth_root / PurePosixPath(image_file).with_suffix(".npy")


def read_depth_file(path: Path, image_size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Read an exported depth image (`depth/samples/<CAM>/<image name>.npy`), metres, 0 where there is none.

    Raises:
        DataError: Where the file is missing, not an array of `image_size`, or holds a negative or non-finite depth.
    """
    try:
        depth_m = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no depth file for this image; depth_from: lidar needs none") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: is not a readable npy file ({error}); write it again") from error
    if depth_m.shape != tuple(image_size):
        raise DataError(f"{path}: expected depth of shape {tuple(image_size)} (H, W), got {depth_m.shape}")
    if not np.isfinite(depth_m).all() or depth_m.min() < 0:
        raise DataError(f"{path}: depths must be finite and not negative; write the file again")
    return depth_m.astype(np.float32)


def resample_depth(
    depth_m: Float32[np.ndarray, "H W"], transform: Float[np.ndarray, "3 3"], target_size: tuple[int, int]
) -> Float32[np.ndarray, "h w"]:
    """Move sparse depths to an image of another size; the nearest of several in one pixel stays.

    Args:
        depth_m: Depths of the stored image, 0 where there is none.
        transform: Takes pixels of the stored image to pixels of the target, as crop and resize do.
        target_size: (H, W) of the result.
    """
    rows, columns = depth_m.nonzero()
    z_m = depth_m[rows, columns]
    u = np.floor(transform[0, 0] * (columns + 0.5) + transform[0, 2]).astype(np.int64)
    v = np.floor(transform[1, 1] * (rows + 0.5) + transform[1, 2]).astype(np.int64)
    inside = (u >= 0) & (u < target_size[1]) & (v >= 0) & (v < target_size[0])
    order = np.argsort(-z_m[inside], kind="stable")
    result = np.zeros(target_size, dtype=np.float32)
    result[v[inside][order], u[inside][order]] = z_m[inside][order]
    return result
