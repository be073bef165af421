"""From image features to voxel features."""

from gsocc.networks.lifting.interpolation import GUIDANCE_CHANNELS, InterpolationLift

__all__ = ["GUIDANCE_CHANNELS", "InterpolationLift"]
