"""Shape checks on every room but the kernels, few threads, no network, and the real data where they exist."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]

# Set before anything imports these libraries.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# As gsocc/__init__.py does, which comes too late here: OpenMP reads it when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# numba cannot compile through the checker's wrappers.
_UNCHECKED = {"kernels"}


def _rooms() -> list[str]:
    found = [p.stem for p in (ROOT / "gsocc").iterdir() if p.is_dir() or p.suffix == ".py"]
    rooms = [f"gsocc.{name}" for name in found if not name.startswith("_") and name not in _UNCHECKED]
    return [*rooms, "occ_stage", "pose_stage"]


install_import_hook(_rooms(), "beartype.beartype")

import torch  # noqa: E402  (after the hook, which must see every import of ours)

torch.set_num_threads(max(1, min(2, os.cpu_count() or 1)))


@pytest.fixture(scope="session")
def real_data_root() -> Path:
    """Return the folder of real samples: GSOCC_REAL_DATA, or shared/data beside the clone; skip without."""
    given = os.environ.get("GSOCC_REAL_DATA")
    root = Path(given) if given else ROOT.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no real data at {root}; set GSOCC_REAL_DATA to a folder that holds them")
    return root


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic nuScenes root with its index: 3 scenes of 2 key frames at 48x80; tests must not change it."""
    from gsocc.datasets.nuscenes import build_index
    from gsocc.datasets.world import write_nuscenes_world

    root = write_nuscenes_world(
        tmp_path_factory.mktemp("world") / "nuscenes",
        scenes=3,
        keyframes=2,
        seed=0,
        image_size=(48, 80),
        preset="moderate",
    )
    build_index(root)
    return root
