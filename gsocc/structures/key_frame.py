"""What a key frame's sensors say of space without labels: its LiDAR scan and the poses of its scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class KeyFrame:
    """Where one key frame stands in its scene; the ego frame is the one at the time of its LiDAR scan.

    Attributes:
        token: The data set's id of the key frame.
        scene: Name of the scene it belongs to.
        previous: Id of the key frame before it in the scene, or "".
        ego_to_global: Pose of the vehicle at the time of the scan.
        scene_lidar_to_ego: Poses of the LiDAR at all S key frames of the scene, in order of time, in the ego frame of
            this one.
        origin_m: Position of the LiDAR in the ego frame.
        points_ego: LiDAR returns in the ego frame, in metres; None where they were not asked for.
    """

    token: str
    scene: str
    previous: str
    ego_to_global: Float[np.ndarray, "4 4"]
    scene_lidar_to_ego: Float[np.ndarray, "S 4 4"]
    origin_m: Float[np.ndarray, "3"]
    points_ego: Float[np.ndarray, "N 3"] | None = None
