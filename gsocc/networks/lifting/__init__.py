"""From image features to voxel features."""

from gsocc.networks.lifting.interpolation import InterpolationLift

__all__ = ["InterpolationLift"]
