"""The path of a vehicle through a scene, as predicted and in truth."""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class Trajectory:
    """Poses at N key frames of one scene, in the ego frame of the first of them.

    Attributes:
        scene: Its name.
        times_s: Times of the key frames in seconds, rising.
        predicted: `ego_to_start` of each key frame, as predicted; the first is the identity.
        true: The same in truth.
    """

    scene: str
    times_s: Float64[Tensor, " N"]
    predicted: Float64[Tensor, "N 4 4"]
    true: Float64[Tensor, "N 4 4"]
