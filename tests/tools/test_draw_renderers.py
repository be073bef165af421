"""The picture of docs/renderers.md comes from its tool."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from gsocc.structures import RenderOutput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_renderers", ROOT / "tools" / "draw_renderers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_renderers"] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    return module


def test_colours_of_differences_are_signed_and_grey_without_a_depth(tool: ModuleType) -> None:
    truth = np.array([[10.0, 10.0, 10.0, 0.0]])
    colors = tool.difference_colors(np.array([[10.0, 5.0, 20.0, 10.0]]), truth)[0].astype(int)
    assert np.ptp(colors[0]) == 0
    assert colors[0].min() > 240
    assert colors[1][2] > colors[1][0]
    assert colors[2][0] > colors[2][2]
    assert tuple(colors[3]) == (40, 42, 46)


def test_what_passes_everything_is_sky(tool: ModuleType) -> None:
    """Opacity 0.4 of one class leaves 0.6 to the sky, 0.7 leaves 0.3."""
    opacity = torch.tensor([[0.4, 0.7]])[None, None]
    features = torch.zeros(1, 1, 17, 1, 2)
    features[0, 0, 4] = opacity[0, 0]
    out = RenderOutput(depth_m=opacity, depth_sum_m=opacity, opacity=opacity, features=features)
    assert tool.labels_of(out).tolist() == [[17, 4]]


@pytest.mark.slow
def test_every_cpu_renderer_has_its_row(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn small: the heads, the truth, six rows, the legend."""
    monkeypatch.setattr(tool, "SIZE", (16, 24))
    monkeypatch.setattr(tool, "ZOOM", 12)  # room for the text beside a row
    page = tool.draw()
    assert page.dtype == np.uint8
    assert page.shape[0] > (1 + len(tool.ROWS)) * 16 * 12
    assert page.shape[1] == tool.MARGIN_PX + 4 * (24 * 12 + 6)


def test_the_committed_picture_is_small_and_referred_to() -> None:
    picture = ROOT / "docs" / "images" / "renderers.jpg"
    assert 10_000 < picture.stat().st_size < 300_000
    assert "(images/renderers.jpg)" in (ROOT / "docs" / "renderers.md").read_text()
