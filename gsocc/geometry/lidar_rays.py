"""The rays that RayIoU casts: directions of a model LiDAR, and the places along a drive that it is put at.

Both follow the evaluation of SparseOcc, which GaussianOcc and others took over.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from gsocc.geometry.se3 import invert_rigid, transform_points

MOST_ORIGINS = 8
REACH_M = 39.0
"""Origins further away along x or y are left out; the Occ3D lattice ends at 40 m."""

_HIGHEST_RAD = 0.21  # nuScenes' LiDAR looks up to 0.2108 rad
_AZIMUTHS = 360


def lidar_directions() -> Float64[Tensor, "14040 3"]:
    """Return unit directions in the ego frame: 39 pitches times 360 azimuths of 1 degree, azimuth fastest.

    The first ten pitches meet flat ground at 1, 1/2, ..., 1/10 of the height per metre: -(pi/2 - atan k) for
    k = 1..10, from -45 to -5.71 degrees. From there the last step, 0.63 degrees, is repeated until a pitch reaches
    0.21 rad; the last is 12.55 degrees.
    """
    pitches = [-(math.pi / 2 - math.atan(k)) for k in range(1, 11)]
    while pitches[-1] < _HIGHEST_RAD:
        pitches.append(pitches[-1] + (pitches[-1] - pitches[-2]))
    pitch = torch.tensor(pitches, dtype=torch.float64)[:, None]
    azimuth = torch.arange(_AZIMUTHS, dtype=torch.float64)[None] * (math.pi / 180)
    level = pitch.cos()
    rays = torch.stack([level * azimuth.cos(), level * azimuth.sin(), pitch.sin().expand(-1, _AZIMUTHS)], -1)
    return rays.reshape(-1, 3)


def lidar_origins(
    lidar_to_ego: Float64[Tensor, "N 4 4"], ego_to_global: Float64[Tensor, "N 4 4"], frame: int
) -> Float64[Tensor, "K 3"]:
    """Return where the LiDAR was at the key frames of a scene, seen from one of them: at most 8 places.

    Places with |x| or |y| of 39 m or more are left out; of more than 8 that remain, those at
    round(linspace(0, n - 1, 8)) are taken. They are in the order of the key frames.

    Args:
        lidar_to_ego: LiDAR poses on the vehicle at all key frames of the scene, in the order of time.
        ego_to_global: Vehicle poses at the times of those scans.
        frame: In whose ego frame the places are wanted, 0..N-1.

    Raises:
        ValueError: Where there is no such frame.
    """
    if not 0 <= frame < len(ego_to_global):
        raise ValueError(f"lidar_origins: frame must lie in 0..{len(ego_to_global) - 1}, got {frame}")
    ego_to_frame = invert_rigid(ego_to_global[frame]) @ ego_to_global  # (N, 4, 4)
    places = transform_points(ego_to_frame, lidar_to_ego[:, None, :3, 3])[:, 0]  # (N, 3)
    places = places[(places[:, :2].abs() < REACH_M).all(-1)]
    if len(places) <= MOST_ORIGINS:
        return places
    return places[torch.linspace(0, len(places) - 1, MOST_ORIGINS, dtype=torch.float64).round().long()]
