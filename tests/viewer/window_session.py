"""Runs in a process of its own: opens the window in memory and works its keys. Argument: a folder to write to."""

import sys
from pathlib import Path

import numpy as np
from viewer_helpers import predicted, truth

from gsocc.errors import UserError
from gsocc.viewer.window import Selection, Window


def main(folder: Path) -> str:
    """Return "no OpenGL", or "done" once everything held."""
    said: list[str] = []
    frames = [lambda: (predicted(), truth()), lambda: (predicted(), None)]
    try:
        window = Window(frames, Selection(), said.append, visible=False)
    except UserError:
        return "no OpenGL"
    assert window.select(Selection(0, "error"))
    assert not window.select(Selection(1, "truth")), "no labels: it has to say so and stay"
    assert "needs the labels" in said[-1]
    assert window.selection.index == 0
    window.visualizer.poll_events()
    window.visualizer.update_renderer()
    pixels = np.asarray(window.visualizer.capture_screen_float_buffer(True))
    assert pixels.std() > 0.01
    assert window.save_picture(folder).is_file()
    return "done"


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])) + "\n")
