"""A window on prediction files: turn, zoom, step through frames, switch between prediction, truth and error."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from gsocc.errors import DataError, UserError
from gsocc.structures import OccupancyLabels
from gsocc.structures.prediction import OccupancyPrediction
from gsocc.viewer.drawing import save_png
from gsocc.viewer.mesh import Mesh
from gsocc.viewer.picture import VIEWS, View, baked_colors, import_open3d, render
from gsocc.viewer.scene import SceneGeometry, Show, build_scene

Frame = Callable[[], tuple[OccupancyPrediction, OccupancyLabels | None]]
"""Loads one key frame: the prediction, and its truth where there is one."""

KEYS = """\
1 prediction   2 truth   3 error   M only what a camera saw   C cameras
right, N next frame   left, B previous frame   S save a picture   R reset the view   Q quit"""

_RIGHT, _LEFT = 262, 263  # GLFW's key codes


@dataclass(frozen=True)
class Selection:
    """What is being looked at; every key maps one selection to the next."""

    index: int = 0
    show: Show = "prediction"
    seen_only: bool = False
    cameras: bool = True

    def step(self, by: int, count: int) -> "Selection":
        """Go `by` frames on, round and round."""
        return replace(self, index=(self.index + by) % count)


def select_scene(frames: Sequence[Frame], selection: Selection) -> SceneGeometry:
    """Load the selected frame and build what the selection asks for.

    Raises:
        DataError: Where a file is damaged, or truth is asked for and there is none.
    """
    prediction, truth = frames[selection.index]()
    return build_scene(prediction, truth, selection.show, seen_only=selection.seen_only, cameras=selection.cameras)


class Window:
    """An Open3D window over key frames; `run` returns when it is closed.

    Args:
        frames: Loaders of the key frames, in the order in which the window steps through them.
        selection: What is shown first.
        say: Takes one line of text about what is shown, or why something is not.
        view: From where.
        visible: False opens no window on the screen, for tests; it still needs OpenGL.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        selection: Selection,
        say: Callable[[str], None],
        view: View = VIEWS["chase"],
        visible: bool = True,
    ) -> None:
        if not frames:
            raise ValueError("Window: expected at least one frame, got none")
        self.frames, self.selection, self.say, self.view = frames, selection, say, view
        self.scene = select_scene(frames, selection)
        if visible:
            _needs_display()
        self.o3d = import_open3d("the window")
        self.visualizer = self.o3d.visualization.VisualizerWithKeyCallback()
        if not self.visualizer.create_window("gsocc", 1600, 900, visible=visible):
            raise UserError("cannot open a window: no display, or no OpenGL; write a picture with --snapshot out.png")
        self.shown: Any = None
        self._bind_keys()
        options = self.visualizer.get_render_option()
        options.background_color = np.array([0.975, 0.98, 0.985])
        options.light_on = False
        self._draw(first=True)

    def run(self) -> None:
        """Show the window until it is closed."""
        self.visualizer.run()
        self.visualizer.destroy_window()

    def select(self, selection: Selection) -> bool:
        """Show another selection; where that fails, say why and stay. Returns whether something changed."""
        try:
            scene = select_scene(self.frames, selection)
        except DataError as error:
            self.say(str(error))
            return False
        self.selection, self.scene = selection, scene
        self._draw(first=False)
        return True

    def save_picture(self, folder: Path) -> Path:
        """Write what is shown as a PNG, seen from where the window sees it, and return its path."""
        path = folder / f"{'-'.join(self.scene.title.split())}.png"
        save_png(path, render(self.scene, self._current_view()))
        self.say(f"wrote {path}")
        return path

    def _bind_keys(self) -> None:
        def change(next_selection: Callable[[Selection], Selection]) -> Callable[[Any], bool]:
            return lambda _: self.select(next_selection(self.selection))

        count = len(self.frames)
        bindings: dict[int, Callable[[Any], bool]] = {
            ord(str(number)): change(lambda s, show=show: replace(s, show=show))  # type: ignore[misc]
            for number, show in enumerate(get_args(Show), start=1)
        }
        bindings[ord("M")] = change(lambda s: replace(s, seen_only=not s.seen_only))
        bindings[ord("C")] = change(lambda s: replace(s, cameras=not s.cameras))
        for key in (_RIGHT, ord("N")):
            bindings[key] = change(lambda s: s.step(1, count))
        for key in (_LEFT, ord("B")):
            bindings[key] = change(lambda s: s.step(-1, count))
        bindings[ord("R")] = lambda _: self._look_from(self.view)
        bindings[ord("S")] = lambda _: bool(self.save_picture(Path.cwd()))
        for key, action in bindings.items():
            self.visualizer.register_key_callback(key, action)

    def _draw(self, first: bool) -> None:
        mesh = _to_open3d(self.o3d, self.scene.mesh())
        if self.shown is not None:
            self.visualizer.remove_geometry(self.shown, reset_bounding_box=False)
        self.visualizer.add_geometry(mesh, reset_bounding_box=first)
        self.shown = mesh
        if first:
            self._look_from(self.view)
        self.say(f"[{self.selection.index + 1}/{len(self.frames)}] {self.scene.title}")

    def _look_from(self, view: View) -> bool:
        control = self.visualizer.get_view_control()
        parameters = control.convert_to_pinhole_camera_parameters()
        parameters.extrinsic = view.ego_to_cam()
        control.convert_from_pinhole_camera_parameters(parameters, allow_arbitrary=True)
        return True

    def _current_view(self) -> View:
        parameters = self.visualizer.get_view_control().convert_to_pinhole_camera_parameters()
        pose = np.linalg.inv(parameters.extrinsic)
        eye, ahead = pose[:3, 3], pose[:3, 3] + 10 * pose[:3, 2]
        height, focal = parameters.intrinsic.height, parameters.intrinsic.intrinsic_matrix[1, 1]
        fov_deg = float(np.rad2deg(2 * np.arctan(height / 2 / focal)))
        return View(tuple(eye.tolist()), tuple(ahead.tolist()), fov_deg)


def _needs_display() -> None:
    """Refuse before Open3D falls back to a picture in memory that nobody could close.

    Raises:
        UserError: Where this is Linux without a display.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("cannot open a window: no display is set; write a picture with --snapshot out.png")


def _to_open3d(o3d: Any, mesh: Mesh) -> Any:
    """Return Open3D's mesh with the light baked into its colours, as in the pictures but without shadows."""
    shown = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(mesh.vertices.astype(np.float64)), o3d.utility.Vector3iVector(mesh.triangles)
    )
    shown.vertex_colors = o3d.utility.Vector3dVector(baked_colors(mesh))
    return shown
