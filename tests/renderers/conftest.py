"""Fixtures of the renderer tests."""

import pytest
from gsplat_stand_in import GsplatStandIn

from gsocc.renderers import gsplat_api


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> GsplatStandIn:
    """Let `splat_gsplat` run on a CPU, through gsplat's own torch code."""
    stand_in = GsplatStandIn()
    monkeypatch.setattr(gsplat_api, "import_gsplat", lambda: stand_in)
    monkeypatch.setattr(gsplat_api, "require_cuda", lambda tensor, name: None)
    return stand_in
