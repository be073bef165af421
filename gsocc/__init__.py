"""gsocc: 3-D occupancy from surround cameras by Gaussian splatting, trained without 3-D labels."""

import os

# torch and numba bring an OpenMP pool each, whose idle threads spin by default and take the cores from each other:
# a training step on two cores then costs twice the CPU time. Read when the pools load, hence before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
