"""Key frames of an index without their images: poses of a scene and LiDAR scans, for scores that read no labels."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from gsocc.datasets.index import SurroundIndex, pose_matrix
from gsocc.datasets.scans import read_key_scan
from gsocc.errors import DataError
from gsocc.structures.key_frame import KeyFrame


class KeyFrameReader:
    """Reads poses and scans by token.

    Of nuScenes the ego frame is the one at the time of the scan, as in Occ3D. DDAD's scans are several scanners' merged
    into the vehicle frame, which does not tell where a beam came from: rays are taken to start amid the cameras, which
    stand on the roof as the scanners do. Its ego frame is the one at the time of the first camera's image, by which
    systems predict.

    Args:
        index: The index of the data set.
        root: The folder that LiDAR files lie below.
    """

    def __init__(self, index: SurroundIndex, root: Path) -> None:
        self.index, self.root = index, Path(root)
        self._rows = {index.token(row): row for row in range(len(index))}
        self._first = np.searchsorted(index.sample_scene, np.arange(len(index.scene_names) + 1))

    def __contains__(self, token: str) -> bool:
        return token in self._rows

    def in_order(self, tokens: Iterable[str]) -> list[str]:
        """Return tokens scene by scene, in order of time.

        Raises:
            DataError: Where the index does not hold one.
        """
        return sorted(tokens, key=self._row)

    def read(self, token: str, *, with_scan: bool = False) -> KeyFrame:
        """Return a key frame, with its LiDAR returns where `with_scan` says so.

        Raises:
            DataError: Where the index does not hold the key frame, was built without LiDAR, or its scan is missing.
        """
        if "lidar" in self.index.source.skipped:
            raise DataError("the index was built without LiDAR, whose poses and scans this score reads; build it again")
        index, row = self.index, self._row(token)
        scene = int(index.sample_scene[row])
        first, end = int(self._first[scene]), int(self._first[scene + 1])  # rows are ordered by scene and time
        points_to_ego = pose_matrix(index.lidar_to_ego[first:end])
        ego_to_global = pose_matrix(index.lidar_ego_to_global[first:end])
        origins = points_to_ego
        if index.source.dataset != "nuscenes":
            points_to_global = ego_to_global @ points_to_ego
            ego_to_global = pose_matrix(index.image_ego_to_global[index.key_image[first:end, 0]])
            points_to_ego = np.linalg.inv(ego_to_global) @ points_to_global
            origins = self._amid_cameras(first, end)
        previous = int(index.sample_prev[row])
        return KeyFrame(
            token=token,
            scene=index.scene(row),
            previous=index.token(previous) if previous >= 0 else "",
            number=row - first,
            scene_lidar_to_ego=origins,
            scene_ego_to_global=ego_to_global,
            points_ego=self._points_ego(row, points_to_ego[row - first]) if with_scan else None,
        )

    def _row(self, token: str) -> int:
        if token not in self._rows:
            raise DataError(f"{token}: not a key frame of {self.index.source.dataset} {self.index.source.version}")
        return self._rows[token]

    def _amid_cameras(self, first: int, end: int) -> Float64[np.ndarray, "S 4 4"]:
        """Return unturned poses at the mean place of the cameras."""
        calibrations = self.index.image_calibration[self.index.key_image[first:end]]  # (S, V)
        poses = np.tile(np.eye(4), (end - first, 1, 1))
        poses[:, :3, 3] = pose_matrix(self.index.cam_to_ego[calibrations])[..., :3, 3].mean(1)
        return poses

    def _points_ego(self, row: int, points_to_ego: Float64[np.ndarray, "4 4"]) -> Float[np.ndarray, "N 3"]:
        points = read_key_scan(self.index, self.root, row).astype(np.float64)
        return points @ points_to_ego[:3, :3].T + points_to_ego[:3, 3]
