"""Draw docs/frames.svg: the ego frame with its cameras, the camera and image frames, pixels and voxels."""

import argparse
import io
import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from gsocc.files import atomic_write_text
from gsocc.structures import OCC3D_GRID

RED, GREEN, BLUE, GREY = "#c0392b", "#27803b", "#2456a6", "#8a8f98"

# Mounting of a nuScenes car, seen from above: x and y in metres, yaw and horizontal field of view in degrees.
CAMERAS = {
    "FRONT": (1.7, 0.0, 0, 70),
    "FRONT_LEFT": (1.5, 0.5, 55, 70),
    "FRONT_RIGHT": (1.5, -0.5, -55, 70),
    "BACK_LEFT": (1.0, 0.5, 110, 70),
    "BACK_RIGHT": (1.0, -0.5, -110, 70),
    "BACK": (0.0, 0.0, 180, 110),
}


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, label: str) -> None:
    """Draw a labelled axis; the label stands past its tip."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, lw=2, color=colour, zorder=5))
    reach = math.dist(start, end)
    tip = [e + 0.1 * (e - s) + 0.12 * reach * (e - s) / reach for s, e in zip(start, end, strict=True)]
    axes.text(*tip, label, color=colour, ha="center", va="center", fontsize=10, zorder=6)


def draw_ego(axes: Axes) -> None:
    """Draw the car from above: ego x points up the page, y to its left."""
    axes.set_title("ego, from above")
    # The page's right is -y of the ego frame.
    axes.add_patch(Rectangle((-0.95, -1.0), 1.9, 4.2, fc="#eceef1", ec=GREY, lw=1.2))
    for name, (x, y, yaw, field) in CAMERAS.items():
        corners = [(-y, x)]
        for side in (-0.5, 0.5):
            angle = math.radians(yaw + side * field)
            corners.append((-(y + 2.6 * math.sin(angle)), x + 2.6 * math.cos(angle)))
        axes.add_patch(Polygon(corners, fc=BLUE, alpha=0.10, ec=BLUE, lw=0.6))
        angle = math.radians(yaw)
        place = (-(y + 3.0 * math.sin(angle)), x + 3.0 * math.cos(angle))
        axes.text(*place, name, fontsize=7, color=BLUE, ha="center", va="center")
    arrow(axes, (0, 0), (0, 1.3), RED, "x forward")
    arrow(axes, (0, 0), (-1.3, 0), GREEN, "y left")
    axes.plot(0, 0, "o", ms=8, mfc="white", mec=BLUE, mew=2, zorder=7)
    axes.plot(0, 0, ".", ms=4, color=BLUE, zorder=8)
    axes.text(0.2, -0.35, "z up", color=BLUE, fontsize=10)
    axes.set_xlim(-5.2, 5.2)
    axes.set_ylim(-3.8, 5.6)


def draw_camera(axes: Axes) -> None:
    """Draw a camera with its axes, its image and a point at some depth."""
    axes.set_title("camera and image")
    image = [(1.5, 0.55), (3.3, 1.05), (3.3, -1.15), (1.5, -1.65)]
    for corner in image:
        axes.plot([0, corner[0]], [0, corner[1]], color=GREY, lw=0.7)
    axes.add_patch(Polygon(image, fc="#eceef1", ec=GREY, lw=1.2))
    arrow(axes, (0, 0), (1.3, -0.16), BLUE, "")
    axes.text(0.55, -0.42, "z forward", color=BLUE)
    arrow(axes, (0, 0), (0.85, 0.62), RED, "x right")
    arrow(axes, (0, 0), (0, -1.2), GREEN, "y down")
    axes.plot(0, 0, "o", ms=6, color="black", zorder=7)
    arrow(axes, image[0], (2.2, 0.745), RED, "")
    arrow(axes, image[0], (1.5, 0.0), GREEN, "")
    axes.text(2.1, 0.95, "u", color=RED)
    axes.text(1.58, 0.08, "v", color=GREEN)
    axes.text(1.62, -2.0, "image plane, H x W pixels", fontsize=8, color=GREY)
    axes.text(-0.5, 1.55, "depth runs along z, distance along the ray", fontsize=8)
    axes.set_xlim(-0.8, 4.0)
    axes.set_ylim(-2.3, 1.9)


def draw_pixels(axes: Axes) -> None:
    """Draw the first pixels: spans, centres, corner."""
    axes.set_title("pixels")
    for i in range(5):
        axes.plot([i, i], [0, 3], color=GREY, lw=0.8)
    for j in range(4):
        axes.plot([0, 4], [j, j], color=GREY, lw=0.8)
    for i in range(4):
        for j in range(3):
            axes.plot(i + 0.5, j + 0.5, ".", color="black", ms=4)
    axes.plot(0, 0, "s", color=RED, ms=6, zorder=5)
    axes.annotate("(0, 0)", (0, 0), (-0.1, -0.45), fontsize=9, color=RED)
    axes.annotate("(0.5, 0.5)\nfirst centre", (0.5, 0.5), (1.4, -0.35), fontsize=9, arrowprops={"arrowstyle": "->"})
    axes.text(0, 3.55, "pixel i spans [i, i + 1); align_corners=False;\nresizing an image scales K exactly", fontsize=8)
    arrow(axes, (3.2, -0.5), (4.1, -0.5), RED, "u")
    arrow(axes, (-0.5, 2.0), (-0.5, 2.9), GREEN, "v")
    axes.set_xlim(-0.9, 4.7)
    axes.set_ylim(3.9, -1.1)


def draw_voxels(axes: Axes) -> None:
    """Draw a corner of the voxel grid from above."""
    axes.set_title("voxels, from above")
    low, size = OCC3D_GRID.min_m, OCC3D_GRID.voxel_m
    for i in range(5):
        axes.plot([0, -4], [i, i], color=GREY, lw=0.8)
        axes.plot([-i, -i], [0, 4], color=GREY, lw=0.8)
    axes.add_patch(Rectangle((-2, 2), 1, 1, fc=BLUE, alpha=0.25))
    axes.plot(-1.5, 2.5, ".", color="black")
    axes.annotate("voxel (2, 1, k)", (-1.5, 2.5), (-3.9, 4.35), fontsize=9, arrowprops={"arrowstyle": "->"})
    axes.plot(0, 0, "s", color=RED, ms=6, zorder=5)
    axes.text(0.1, -0.5, f"min_m = ({low[0]:g}, {low[1]:g}, {low[2]:g})", fontsize=8, color=RED, ha="right")
    arrow(axes, (0.45, 0), (0.45, 1.2), RED, "x, i")
    arrow(axes, (0, -1.0), (-1.2, -1.0), GREEN, "y, j")
    shape = " x ".join(str(n) for n in OCC3D_GRID.shape)
    text = f"centre = min_m + (ijk + 0.5) voxel_m\nOcc3D: X x Y x Z = {shape}, {size[0]:g} m"
    axes.text(-4.4, -1.95, text, fontsize=8)
    axes.set_xlim(-4.6, 1.4)
    axes.set_ylim(-2.1, 4.9)


def draw() -> str:
    """Return the figure as SVG; equal versions of matplotlib give equal text."""
    with mpl.rc_context({"svg.hashsalt": "gsocc", "font.family": "DejaVu Sans", "axes.titlesize": 11}):
        figure = Figure(figsize=(13, 4.2), layout="constrained")
        panels = figure.subplots(1, 4, width_ratios=[1.25, 1.15, 1, 1])
        for axes, paint in zip(panels, (draw_ego, draw_camera, draw_pixels, draw_voxels), strict=True):
            paint(axes)
            axes.set_aspect("equal", anchor="N")
            axes.axis("off")
        figure.patch.set_facecolor("white")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def main() -> None:
    """Write the figure."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=root / "docs" / "frames.svg", help="file to write")
    atomic_write_text(parser.parse_args().out, draw())


if __name__ == "__main__":
    main()
