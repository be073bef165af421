"""`gsocc view`: look at prediction files, and at what the cameras of a rig share."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gsocc.app.commands.sizes import parse_size

if TYPE_CHECKING:
    from gsocc.structures import OccupancyLabels
    from gsocc.structures.prediction import OccupancyPrediction
    from gsocc.viewer.window import Frame


class ShowChoice(StrEnum):
    """What `gsocc view occ --show` takes."""

    prediction = "prediction"
    truth = "truth"
    error = "error"


class ViewChoice(StrEnum):
    """What `gsocc view occ --view` takes."""

    chase = "chase"
    corner = "corner"
    top = "top"


def occ(
    predictions: Annotated[list[Path], typer.Argument(help="Prediction files, or folders of them.")],
    gts: Annotated[
        Path | None, typer.Option(help="Folder of Occ3D labels (<scene>/<token>/labels.npz): adds truth and error.")
    ] = None,
    show: Annotated[
        list[ShowChoice] | None, typer.Option(help="What to draw; in a snapshot several stand side by side.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="Write a PNG instead of opening a window; needs no display.")
    ] = None,
    view: Annotated[ViewChoice, typer.Option(help="From where.")] = ViewChoice.chase,
    frame: Annotated[int, typer.Option(help="Number of the key frame to start with, from 0.")] = 0,
    root: Annotated[
        Path | None, typer.Option(help="Data set root: puts the camera images on top of a snapshot.")
    ] = None,
    seen_only: Annotated[
        bool, typer.Option("--seen-only", help="Leave out what no camera saw (0.8 m margin).")
    ] = False,
    width: Annotated[int, typer.Option(help="Width of a snapshot in pixels.", min=320)] = 1600,
) -> None:
    """Look at predicted occupancy in 3-D, beside the truth where there is one.

    Keys of the window: 1 prediction, 2 truth, 3 error, M only what a camera saw, C cameras, right and left arrow (or N
    and B) step through frames, S saves a picture, R resets the view, Q quits.
    """
    from rich.console import Console

    from gsocc.errors import UserError

    frames = _frames(predictions, gts)
    if not 0 <= frame < len(frames):
        raise UserError(f"--frame: expected 0..{len(frames) - 1}, got {frame}")
    shows = [choice.value for choice in show or [ShowChoice.prediction]]
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if snapshot is not None:
        _write_snapshot(frames[frame], snapshot, shows, view.value, root, seen_only, width)
        say(f"wrote {snapshot}")
        return
    from gsocc.viewer.picture import VIEWS
    from gsocc.viewer.window import KEYS, Selection, Window

    say(KEYS)
    selection = Selection(frame, shows[0], seen_only)  # type: ignore[arg-type]
    Window(frames, selection, say, VIEWS[view.value]).run()


def overlap(
    root: Annotated[Path | None, typer.Argument(help="Folder of a data set; or give --config.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Run of either stage: its data, image size, largest depth and erosion.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Index file, where it is not below the folder.")] = None,
    token: Annotated[str | None, typer.Option(help="Key frame to show; the first by default.")] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size at which masks are computed. [default: 225x400]")
    ] = None,
    max_depth: Annotated[
        float | None, typer.Option(help="How far rays are followed, in metres. [default: 80]", min=1.0)
    ] = None,
    erode: Annotated[int | None, typer.Option(help="Erosion in pixels. [default: 0]", min=0)] = None,
    self_masks: Annotated[
        Path | None, typer.Option(help="Folder of <CAM>_mask.png, non-zero where a camera sees the world.")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("overlap.png"),
    width: Annotated[int, typer.Option(help="Width of the picture in pixels.", min=320)] = 1600,
) -> None:
    """Draw which parts of its images each camera shares with others: what stage 1 learns metric scale from.

    From calibration alone. A rig whose cameras share nothing cannot give scale; the command says so and fails.
    """
    from rich.console import Console

    from gsocc.app.overlap import OverlapRequest, draw_overlap

    size = None if image_size is None else parse_size(image_size)
    request = OverlapRequest(config, root, index, token, size, max_depth, erode, self_masks)
    lines = draw_overlap(request, out, width)
    console = Console()
    for line in [*lines, f"wrote {out}"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _frames(predictions: list[Path], gts: Path | None) -> "list[Frame]":
    """Return a loader per prediction file, scene by scene in the order of time."""
    from functools import partial

    from gsocc.structures.prediction import find_predictions, in_order_of_time

    return [partial(_load, path, gts) for path in in_order_of_time(find_predictions(predictions))]


def _load(path: Path, gts: Path | None) -> "tuple[OccupancyPrediction, OccupancyLabels | None]":
    from gsocc.datasets.occ3d import occ3d_path, read_occ3d
    from gsocc.structures.prediction import load_prediction

    prediction = load_prediction(path)
    truth = None if gts is None else read_occ3d(occ3d_path(gts, prediction.scene, prediction.token))
    return prediction, truth


def _write_snapshot(
    frame: "Frame", path: Path, shows: list[str], view: str, root: Path | None, seen_only: bool, width: int
) -> None:
    from gsocc.viewer.drawing import save_png
    from gsocc.viewer.panels import frame_picture, read_images
    from gsocc.viewer.picture import VIEWS

    prediction, truth = frame()
    images = None if root is None else read_images(root, prediction)
    picture = frame_picture(
        prediction,
        truth,
        images=images,
        shows=shows,  # type: ignore[arg-type]
        view=VIEWS[view],
        width=width,
        seen_only=seen_only,
    )
    save_png(path, picture)
