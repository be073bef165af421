"""Pictures of what a run sees, for TensorBoard and reports."""

import numpy as np

Picture = np.ndarray  # (H, W, 3) uint8 RGB
