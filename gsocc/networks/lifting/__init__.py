"""From image features to voxel features."""

from torch import nn

from gsocc.networks.lifting.interpolation import InterpolationLift
from gsocc.networks.lifting.released import ReleasedLift

LIFTS: dict[str, type[nn.Module]] = {"half_pixel": InterpolationLift, "released": ReleasedLift}
"""How feature maps are read: by the library's pixel convention, or by the one of the published weights."""

__all__ = ["LIFTS", "InterpolationLift", "ReleasedLift"]
