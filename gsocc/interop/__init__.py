"""Published checkpoints of other systems, read into networks of ours."""

from gsocc.interop.gaussianocc import load_gaussianocc
from gsocc.interop.occnerf import load_occnerf
from gsocc.interop.released_pose import load_released_pose

__all__ = ["load_gaussianocc", "load_occnerf", "load_released_pose"]
