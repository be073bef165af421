import os
import subprocess
import sys
from pathlib import Path

import pytest
from viewer_helpers import predicted, truth

from gsocc.errors import DataError, UserError
from gsocc.viewer.window import Selection, Window, select_scene


def test_stepping_goes_round() -> None:
    assert Selection(2).step(1, 3).index == 0
    assert Selection(0).step(-1, 3).index == 2


def test_a_selection_loads_its_frame_only() -> None:
    loaded = []

    def frame(number: int):
        def load():
            loaded.append(number)
            return predicted(scene=f"scene-{number}"), truth() if number else None

        return load

    frames = [frame(0), frame(1)]
    assert select_scene(frames, Selection(1, "truth")).title.startswith("scene-1")
    assert loaded == [1]
    with pytest.raises(DataError, match="scene-0"):
        select_scene(frames, Selection(0, "truth"))


def test_without_a_display_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="--snapshot"):
        Window([lambda: (predicted(), None)], Selection(), lambda text: None)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="draws into memory through EGL")
def test_the_window_draws_and_switches(tmp_path: Path) -> None:
    """In a process of its own: a broken OpenGL may end it by a signal, which then counts as no OpenGL at all."""
    pytest.importorskip("open3d", reason="the window needs Open3D", exc_type=ImportError)
    here = Path(__file__).resolve().parent
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    result = subprocess.run(
        [sys.executable, str(here / "window_session.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment | {"PYTHONPATH": str(here.parents[1])},
    )
    if result.returncode < 0 or "no OpenGL" in result.stdout:
        pytest.skip(f"no OpenGL in memory here: {result.stderr[-200:]}")
    assert "done" in result.stdout, result.stderr
