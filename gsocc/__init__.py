"""gsocc: 3-D occupancy from surround cameras by Gaussian splatting, trained without 3-D labels."""

__version__ = "0.1.0"
