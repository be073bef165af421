"""Files of a rig's scene: images and scans by the time in their names, and ego poses at any time."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image, UnidentifiedImageError

from gsocc.datasets.index import pose_matrix
from gsocc.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png")
SCANS = (".npz", ".npy", ".bin")

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_POSE_COLUMNS = ("time", "x", "y", "z", "qw", "qx", "qy", "qz")
_GAP_S = 1.0  # between two poses; what happens in a longer time cannot be told from its ends


@dataclass(frozen=True)
class Recordings:
    """Files of one sensor in one scene, in order of time.

    Attributes:
        files: Names, in `folder`.
        folder: Below the root.
        times_us: When each was taken, in whole microseconds.
    """

    files: tuple[str, ...]
    folder: str
    times_us: Int64[np.ndarray, " N"]

    def path(self, number: int) -> str:
        """Return the path of a file below the root."""
        return f"{self.folder}/{self.files[number]}"

    def nearest(self, time_us: int) -> int:
        """Return the number of the recording nearest in time."""
        return int(np.abs(self.times_us - time_us).argmin())


def find_recordings(root: Path, folder: str, endings: tuple[str, ...], unit_s: float) -> Recordings:
    """List the files of a folder by the time in their names.

    Raises:
        DataError: Where the folder is missing or empty, a name holds no number, or two hold the same one.
    """
    path = root / folder
    names = sorted(p.name for p in path.iterdir() if p.suffix.lower() in endings) if path.is_dir() else []
    if not names:
        what = "holds no file" if path.is_dir() else "there is no such folder, expected one"
        raise DataError(f"{path}: {what} with {', '.join(endings)}; check the rig file's paths and names of scenes")
    times = [_time_us(path / name, unit_s) for name in names]
    order = np.argsort(times, kind="stable").tolist()
    times_us = np.array(times, dtype=np.int64)[order]
    files = tuple(names[i] for i in order)
    same = (np.diff(times_us) == 0).nonzero()[0]
    if len(same):
        pair = f"{files[same[0]]} and {files[same[0] + 1]}"
        raise DataError(
            f"{path}: {pair} are of the same time in microseconds; expected the last number of a name to be the time, "
            f"in steps of time.unit_s = {unit_s:g} s"
        )
    return Recordings(files, folder, times_us)


def image_file_size(path: Path) -> tuple[int, int]:
    """Return (H, W) from the header of an image.

    Raises:
        DataError: Where it is not one.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: is not a JPEG or PNG image ({error}); copy the file again") from error


class EgoTrajectory:
    """Ego poses of a scene at any time between the first and the last one that was written."""

    def __init__(self, path: Path, unit_s: float) -> None:
        """Read a CSV file.

        Raises:
            DataError: Where it is missing, lacks a column, holds what is no number, or is not in order of time.
        """
        self.path = path
        rows = _read_poses(path)
        self.times_us = np.rint(rows[:, 0] * (unit_s * 1e6)).astype(np.int64)
        back = (np.diff(self.times_us) <= 0).nonzero()[0]
        if len(back):
            raise DataError(f"{path}: line {int(back[0]) + 3}: time does not grow; expected one pose after the other")
        norm = np.linalg.norm(rows[:, 4:8], axis=1)
        bad = (np.abs(norm - 1.0) > 0.01).nonzero()[0]
        if len(bad):
            raise DataError(
                f"{path}: line {int(bad[0]) + 2}: expected a unit quaternion, its length is {norm[bad[0]]:g}"
            )
        self.poses = np.concatenate([rows[:, 4:8] / norm[:, None], rows[:, 1:4]], 1)  # (N, 7)

    def at(self, time_us: int) -> Float64[np.ndarray, "7"]:
        """Return ego_to_world at a time as (w, x, y, z, tx, ty, tz): straight way, turn at an even rate.

        Raises:
            DataError: Where there is no pose before or after, or they are too far apart.
        """
        after = int(np.searchsorted(self.times_us, time_us))
        if after < len(self.times_us) and self.times_us[after] == time_us:
            return self.poses[after].copy()
        if after == 0 or after == len(self.times_us):
            raise DataError(
                f"{self.path}: there is no pose {'before' if after == 0 else 'after'} {time_us} us; its poses span "
                f"{self.times_us[0]} to {self.times_us[-1]} us, in the time of the images' names"
            )
        start, end = int(self.times_us[after - 1]), int(self.times_us[after])
        if end - start > _GAP_S * 1e6:
            raise DataError(f"{self.path}: no pose for {(end - start) / 1e6:.3g} s around {time_us} us")
        share = (time_us - start) / (end - start)
        first, second = self.poses[after - 1], self.poses[after]
        way = (1 - share) * first[4:] + share * second[4:]
        return np.concatenate([_slerp(first[:4], second[:4], share), way])

    def matrices(self) -> Float64[np.ndarray, "N 4 4"]:
        """Return all poses as matrices."""
        return pose_matrix(self.poses)


def _time_us(path: Path, unit_s: float) -> int:
    numbers = _NUMBER.findall(path.stem)
    if not numbers:
        raise DataError(f"{path}: its name holds no number; the last number of a name is the time of the file")
    whole, _, fraction = numbers[-1].partition(".")
    # Whole numbers are scaled apart: nanoseconds since 1970 have more digits than a float.
    return int(whole) * round(unit_s * 1e9) // 1000 + round(float(f"0.{fraction or 0}") * unit_s * 1e6)


def _read_poses(path: Path) -> Float64[np.ndarray, "N 8"]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as ego poses ({error}); leave ego_poses out where none exist"
        ) from error
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in _POSE_COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path}: expected a first line with the columns {', '.join(_POSE_COLUMNS)}, {', '.join(missing)} missing"
        )
    columns = [header.index(name) for name in _POSE_COLUMNS]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            row = [float(line[column]) for column in columns]
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}: line {number}: expected {len(header)} numbers, got {','.join(line)!r}") from error
        rows.append(row)
    values = np.array(rows, dtype=np.float64).reshape(-1, len(columns))
    if len(values) < 2 or not np.isfinite(values).all():
        raise DataError(f"{path}: expected at least two poses of finite numbers, got {len(values)} lines")
    return values


def _slerp(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Interpolate unit quaternions along the shorter way round."""
    cosine = float(first @ second)
    if cosine < 0:
        second, cosine = -second, -cosine
    if cosine > 1 - 1e-9:
        mixed = (1 - share) * first + share * second
    else:
        angle = np.arccos(min(cosine, 1.0))
        mixed = (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle)
    return mixed / np.linalg.norm(mixed)
