from pathlib import Path

import numpy as np
import pytest

from gsocc.datasets.world import WorldSpec
from gsocc.datasets.world.presets import BUILDERS
from gsocc.datasets.world.scene import WorldScene
from gsocc.datasets.world.writer import write_world

SPEC = WorldSpec(scenes=2, keyframes=2, seed=3, image_size=(48, 80), preset="full", val_scenes=1, exact=True)


@pytest.fixture(scope="session")
def town_spec() -> WorldSpec:
    """The arguments of `town_root`."""
    return SPEC


@pytest.fixture(scope="session")
def town_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written world of the full preset: 2 scenes of 2 key frames at 48x80, exact truth included."""
    return write_world(SPEC, tmp_path_factory.mktemp("town") / "nuscenes", workers=1)


@pytest.fixture(scope="session")
def town() -> WorldScene:
    """A scene of the full preset, 6 s long."""
    return BUILDERS["full"](np.random.default_rng(5), 6.0)


@pytest.fixture(scope="session")
def winding_street() -> WorldScene:
    """A scene of the moderate preset, 20 s long: it has a stop."""
    return BUILDERS["moderate"](np.random.default_rng(5), 20.0)
