"""Draw docs/images/renderers.jpg: one street of the synthetic world through every renderer that runs on a CPU.

The voxels are the world's exact Occ3D labels, so that what differs is the renderer. Rays cast through the world's
triangles are the truth that depth is compared with.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from gsocc.datasets.world.frames import build_scene
from gsocc.datasets.world.render import View, occupancy_labels, render_view
from gsocc.datasets.world.sensors import Camera, cameras
from gsocc.datasets.world.spec import WorldSpec
from gsocc.fields.occupancy import OccupancyField
from gsocc.files import atomic_write_bytes
from gsocc.labels import FREE, OCC3D_CLASSES, PALETTE
from gsocc.renderers import build_renderer
from gsocc.renderers.base import Scene
from gsocc.renderers.constants import ALPHA_MIN
from gsocc.structures import OCC3D_GRID, CameraRig, Gaussians, RenderOutput, VoxelGaussians
from gsocc.viewer.drawing import PAGE, below, beside, depth_colors, heading, label_colors, legend_bar, resize

SIZE = (72, 128)
"""Small, because splat_torch compares every Gaussian with every pixel: 5 GB even so."""

ZOOM = 3
MARGIN_PX = 216
SOLID = 0.98
"""Occupancy of voxels that hold something."""

SCALE_FRACTION = (0.4, 0.4, 0.3)
DIFFERENCE = 0.25
"""Where the colours of relative differences end."""

QUALITY = 72


@dataclass(frozen=True)
class Row:
    """One way of drawing: its name, what to say of it, and what it should equal up to rounding."""

    name: str
    about: tuple[str, ...]
    options: dict[str, Any]
    twin: int | None = None


UNIFORM = {"step_m": 0.1, "far_m": 60.0}
ROWS = (
    Row("splat_torch", ("every Gaussian meets", "every pixel: the oracle"), {}),
    Row("splat_cpu", ("cache=True: voxel lists,", "once per rig"), {"cache": True}, 0),
    Row("splat_cpu", ("cache=False: tiles,", "sorted every time"), {"cache": False}, 0),
    Row("volume", ("torch, trilinear samples", "every 0.1 m"), UNIFORM),
    Row("volume_cpu", ("fused, the same samples",), UNIFORM, 3),
    Row(
        "volume_cpu",
        ("cells: exact stretch", "of ray in every voxel"),
        {"sampling": "cells", "interpolation": "nearest"},
    ),
)


def street() -> tuple[View, OccupancyField, CameraRig]:
    """Return a picture with its exact depth and labels, the voxels of the same moment, and the camera."""
    spec = WorldSpec(scenes=1, keyframes=12, seed=0, image_size=SIZE, preset="moderate", val_scenes=0)
    snapshot, rig = build_scene(spec, 0).snapshot(4.0), cameras(SIZE)
    labels = torch.from_numpy(occupancy_labels(snapshot, rig)["semantics"]).long()
    solid = torch.logit(torch.tensor(SOLID))
    free_logits = torch.where(labels == FREE, 30.0, -solid)[None]
    classes = torch.nn.functional.one_hot(labels, FREE + 1)[..., :FREE].movedim(-1, 0)[None].float()
    return render_view(snapshot, rig[0]), OccupancyField(OCC3D_GRID, free_logits, classes), _rig(rig[0])


def _rig(camera: Camera) -> CameraRig:
    intrinsics, pose = (torch.from_numpy(a).float()[None, None] for a in (camera.intrinsics, camera.cam_to_ego))
    return CameraRig(intrinsics, pose, camera.image_size)


@torch.no_grad()
def render(row: Row, field: OccupancyField, rig: CameraRig) -> RenderOutput:
    """Draw the field one way."""
    scene: Scene = field
    if row.name.startswith("splat"):
        voxels = field.to_gaussians(SCALE_FRACTION)
        scene = _visible(voxels) if row.name == "splat_torch" else voxels
    return build_renderer(row.name, **row.options).render(scene, rig)


def _visible(voxels: VoxelGaussians) -> Gaussians:
    """Return the Gaussians that are not too transparent to be drawn; the picture is the same without the others."""
    free = voxels.to_gaussians()
    kept = free.opacities[0] >= ALPHA_MIN
    parts: list[Tensor] = [free.means, free.quats, free.scales, free.opacities, free.features]
    return Gaussians(*(part[:, kept] for part in parts))


def labels_of(out: RenderOutput) -> np.ndarray:
    """Return the class that most of each pixel's light comes from; the sky's is what passes everything."""
    scores = torch.cat([out.features[0, 0], (1.0 - out.opacity[0])], 0)
    return scores.argmax(0).numpy()


def difference_colors(depth_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """Return depth over truth as colours: blue is nearer, red farther; grey where one of the two has no depth."""
    both = (depth_m > 0) & (truth_m > 0)
    relative = depth_m / np.where(both, truth_m, 1.0) - 1.0
    share = np.clip(relative / DIFFERENCE, -1.0, 1.0)[..., None]
    near, far, level = np.array([33, 102, 172.0]), np.array([178, 24, 43.0]), np.full(3, 247.0)
    colors = level + np.where(share < 0, -share * (near - level), share * (far - level))
    colors[~both] = (40, 42, 46)
    return colors.astype(np.uint8)


def tile(image: np.ndarray) -> np.ndarray:
    """Return a picture at the size of the page, every pixel a square."""
    return resize(image, (SIZE[0] * ZOOM, SIZE[1] * ZOOM), smooth=False)


def margin(name: str, lines: Sequence[str]) -> np.ndarray:
    """Return the text that stands to the left of a row."""
    bars = [heading(name, MARGIN_PX, 18), *(heading("", MARGIN_PX, 19, line)[4:-4] for line in lines)]
    text = below(bars, 0)
    page = np.full((SIZE[0] * ZOOM, MARGIN_PX, 3), PAGE, np.uint8)
    top = (len(page) - len(text)) // 2
    page[top : top + len(text)] = text
    return page


def truth_row(view: View) -> np.ndarray:
    """Return the first row: the picture, and what rays meet in the world itself."""
    opacity = np.repeat((255 * (view.labels != FREE)).astype(np.uint8)[..., None], 3, -1)
    lines = ("rays through the world's", "triangles, and its picture")
    panels = (label_colors(view.labels), depth_colors(view.depth_m), opacity, view.image)
    return beside([margin("truth", lines), *map(tile, panels)])


def renderer_row(row: Row, out: RenderOutput, view: View, twin: RenderOutput | None) -> np.ndarray:
    """Return a renderer's row, with how far it is from the truth, and from its twin."""
    opacity = out.opacity[0, 0].numpy()
    depth = np.where(opacity > 0.5, out.depth_m[0, 0].numpy(), 0.0).astype(np.float32)
    labels = labels_of(out)
    both = (depth > 0) & (view.depth_m > 0)
    error = np.median(np.abs(depth[both] / view.depth_m[both] - 1.0))
    lines = [*row.about, f"depth {error:.1%} off (median)", f"classes {(labels == view.labels).mean():.0%} right"]
    if twin is not None and row.twin is not None:
        apart = max(float((a - b).abs().max()) for a, b in ((out.opacity, twin.opacity), (out.features, twin.features)))
        lines.append(f"= {ROWS[row.twin].name} to {apart:.0e}")
    grey = np.repeat(np.rint(255 * opacity.clip(0, 1)).astype(np.uint8)[..., None], 3, -1)
    panels = (label_colors(labels), depth_colors(depth), grey, difference_colors(depth, view.depth_m))
    return beside([margin(row.name, lines), *map(tile, panels)])


def draw() -> np.ndarray:
    """Return the page."""
    view, field, rig = street()
    outs = [render(row, field, rig) for row in ROWS]
    rows = [truth_row(view)]
    for row, out in zip(ROWS, outs, strict=True):
        rows.append(renderer_row(row, out, view, None if row.twin is None else outs[row.twin]))
    width = rows[0].shape[1]
    last = f"depth over truth: -{DIFFERENCE:.0%} (blue) to +{DIFFERENCE:.0%} (red)"
    heads = ("semantics", "depth, 2 m (bright) to 60 m", "opacity", last)
    columns = [heading("", MARGIN_PX, 13), *(heading(text, SIZE[1] * ZOOM, 13) for text in heads)]
    present = [k for k in range(FREE) if (view.labels == k).any()]
    legend = [(OCC3D_CLASSES[k].replace("_", " "), tuple(int(c) for c in PALETTE[k])) for k in present]
    sky = ("sky", tuple(int(c) for c in PALETTE[FREE]))
    return below([beside(columns), *rows, legend_bar([*legend, sky], width)])


def main() -> None:
    """Write the picture."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__)
    default = root / "docs" / "images" / "renderers.jpg"
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    out = parser.parse_args().out
    _, data = cv2.imencode(".jpg", cv2.cvtColor(draw(), cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    atomic_write_bytes(out, data.tobytes())


if __name__ == "__main__":
    main()
