"""Intrinsics and mounting of the sensors of a sample."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from gsocc.datasets.dgp_format.records import Record, read_record
from gsocc.errors import DataError

# Fields of cameras that are no pinhole; DDAD's images are rectified and leave them at 0.
_DISTORTION = (
    "skew", "k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "s1", "s2", "s3", "s4", "taux", "tauy", "fov", "fisheye",
    "alpha", "beta", "w", "xi", "equirectangular",
)  # fmt: skip


@dataclass(frozen=True)
class SensorCalibration:
    """One sensor.

    Attributes:
        sensor_to_vehicle: The format's extrinsics; the vehicle frame is x forward, y left, z up.
        intrinsics: K in pixels of the stored image; None where the sensor is no camera.
    """

    sensor_to_vehicle: Float64[np.ndarray, "4 4"]
    intrinsics: Float64[np.ndarray, "3 3"] | None


def read_calibration(path: Path) -> dict[str, SensorCalibration]:
    """Read a calibration file: sensors by their names in lower case, which is how DGP tells them apart.

    Raises:
        DataError: Where the file is missing, its three lists differ in length, a name comes twice, or a camera has
            distortion or skew, which would move every pixel without a sign.
    """
    record = read_record(path, "a calibration that samples refer to")
    names, intrinsics, extrinsics = record.sequence("names"), record.items("intrinsics"), record.items("extrinsics")
    if not len(names) == len(intrinsics) == len(extrinsics):
        raise DataError(
            f"{path}: expected as many names as intrinsics and extrinsics, got {len(names)}, {len(intrinsics)} and "
            f"{len(extrinsics)}"
        )
    found: dict[str, SensorCalibration] = {}
    for name, lens, pose in zip(names, intrinsics, extrinsics, strict=True):
        key = str(name).lower()
        if key in found:
            raise DataError(f"{path}: names: {name} comes twice")
        found[key] = SensorCalibration(pose.pose(), _pinhole(lens, str(name)))
    return found


def _pinhole(lens: Record, name: str) -> Float64[np.ndarray, "3 3"] | None:
    fx, fy = lens.number("fx"), lens.number("fy")
    if fx == 0 and fy == 0:
        return None  # a LiDAR
    if fx <= 0 or fy <= 0:
        raise DataError(f"{lens.place}: {name}: expected positive focal lengths, got fx {fx:g} and fy {fy:g}")
    bent = {field: value for field in _DISTORTION if (value := lens.number(field)) != 0}
    if bent:
        listed = ", ".join(f"{field} = {value:g}" for field, value in bent.items())
        raise DataError(
            f"{lens.place}: {name} is not a plain pinhole camera ({listed}); rectify its images and write the "
            "calibration of the rectified ones"
        )
    return np.array([[fx, 0.0, lens.number("cx")], [0.0, fy, lens.number("cy")], [0.0, 0.0, 1.0]])
