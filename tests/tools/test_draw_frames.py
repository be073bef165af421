"""The figure of docs/conventions.md comes from its tool."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_frames", ROOT / "tools" / "draw_frames.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figure_is_drawn_the_same_every_time() -> None:
    svg = tool().draw()
    assert svg == tool().draw()
    assert svg.startswith("<?xml")


def test_the_committed_figure_is_referred_to() -> None:
    assert (ROOT / "docs" / "frames.svg").is_file()
    assert "(frames.svg)" in (ROOT / "docs" / "conventions.md").read_text()
