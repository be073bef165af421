"""Numba kernels, and nothing else: no torch, no shape-checking hook, which numba cannot compile through.

Arrays are C-contiguous; floats are float32 and indices int32 (offsets int64), so that each kernel is compiled once.
Kernels trust their input: the renderers check it before.
"""

import hashlib
import os
from pathlib import Path

from numba import config


def _keep_compiled_kernels_apart() -> None:
    """Give compiled kernels a folder that belongs to exactly these sources.

    numba's cache looks at the file of a kernel only: it would go on using one into which an older version of a
    function from another file was compiled.
    """
    here = Path(__file__).parent
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(here.glob("*.py"))))
    folder = here / "__pycache__" / f"numba-{sources.hexdigest()[:12]}"
    config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]  # numba sets its options by name


if "NUMBA_THREADING_LAYER_PRIORITY" not in os.environ:
    # Open3D brings a TBB that numba finds first and refuses, with a warning.
    config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]
if "NUMBA_CACHE_DIR" not in os.environ:
    _keep_compiled_kernels_apart()
