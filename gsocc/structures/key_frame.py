"""What a key frame's sensors say of space without labels: its LiDAR scan and the poses of its scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class KeyFrame:
    """Where one key frame stands in its scene; `KeyFrameReader` says at which time its ego frame is taken.

    Attributes:
        token: The data set's id of the key frame.
        scene: Name of the scene it belongs to.
        previous: Id of the key frame before it in the scene, or "".
        number: Which of the S key frames of its scene it is, in order of time.
        scene_lidar_to_ego: Poses of the LiDAR on the vehicle at all key frames of the scene: where its rays start.
        scene_ego_to_global: Poses of the vehicle at those key frames.
        points_ego: LiDAR returns in the ego frame, in metres; None where they were not asked for.
    """

    token: str
    scene: str
    previous: str
    number: int
    scene_lidar_to_ego: Float[np.ndarray, "S 4 4"]
    scene_ego_to_global: Float[np.ndarray, "S 4 4"]
    points_ego: Float[np.ndarray, "N 3"] | None = None

    @property
    def ego_to_global(self) -> Float[np.ndarray, "4 4"]:
        """Pose of the vehicle at the key frame."""
        return self.scene_ego_to_global[self.number]

    @property
    def origin_m(self) -> Float[np.ndarray, "3"]:
        """Position of the LiDAR in the ego frame."""
        return self.scene_lidar_to_ego[self.number, :3, 3]
