"""From a prediction file, and the truth where there is one, to geometry that a window or a picture draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, UInt8

from gsocc.errors import DataError
from gsocc.labels import FREE, OCC3D_CLASSES, PALETTE
from gsocc.structures import OccupancyLabels, VoxelGrid
from gsocc.structures.prediction import OccupancyPrediction
from gsocc.viewer.mesh import Mesh, box, cylinder, merge, rod, voxel_mesh

Show = Literal["prediction", "truth", "error"]

RIGHT, WRONG_CLASS, INVENTED, MISSED = range(4)
# Colours that people with a colour-vision deficiency tell apart (Okabe and Ito).
ERROR_COLORS = np.array([[140, 168, 150], [240, 200, 40], [213, 94, 0], [0, 114, 178]], dtype=np.uint8)
ERROR_NAMES = ("right", "wrong class", "invented", "missed")

SEEN_MARGIN_M = 0.8

_BODY, _GLASS, _RUBBER, _LAMP = (222, 226, 232), (52, 60, 72), (38, 40, 44), (250, 240, 200)
_FRUSTUM = (40, 44, 52)


@dataclass(frozen=True)
class SceneGeometry:
    """What is drawn of one key frame.

    Attributes:
        title: One line that says what it is.
        voxels: Coloured voxel faces.
        ego: The car at the ego origin.
        cameras: Their view cones.
        legend: (name, RGB) of the colours that occur, in the order of the labels.
        grid: The box that is voxelised.
    """

    title: str
    voxels: Mesh
    ego: Mesh
    cameras: Mesh
    legend: tuple[tuple[str, tuple[int, int, int]], ...]
    grid: VoxelGrid

    def mesh(self) -> Mesh:
        """Return everything as one mesh."""
        return merge([self.voxels, self.ego, self.cameras])


def build_scene(
    prediction: OccupancyPrediction,
    truth: OccupancyLabels | None = None,
    show: Show = "prediction",
    *,
    seen_only: bool = False,
    cameras: bool = True,
) -> SceneGeometry:
    """Turn one key frame into geometry.

    Args:
        prediction: What to draw, and where car and cameras are.
        truth: Labels of the same key frame, without a batch axis; needed for "truth", "error" and `seen_only`.
        show: "prediction" and "truth" in class colours; "error" compares the voxels that a camera saw.
        seen_only: Leave out what lies further than `SEEN_MARGIN_M` from every voxel that a camera saw: nobody scores
            it. The margin closes the gaps that masks have where rays of coarse images run apart; errors need none.
        cameras: Draw the view cones.

    Raises:
        DataError: Where truth is needed and missing, or on another grid than the prediction.
    """
    if show not in get_args(Show):
        raise ValueError(f"build_scene: show must be one of {get_args(Show)}, got {show!r}")
    if truth is None and (show != "prediction" or seen_only):
        what = f"show {show!r}" if show != "prediction" else "seen_only"
        raise DataError(f"{what} needs the labels of {prediction.scene}/{prediction.token}; name their folder (--gts)")
    if truth is not None and tuple(truth.semantics.shape) != prediction.grid.shape:
        raise DataError(
            f"prediction {prediction.token} lies on a grid of {prediction.grid.shape} voxels, its truth on "
            f"{tuple(truth.semantics.shape)}; resample the prediction to the lattice of the labels"
        )
    if show == "error" and truth is not None:
        colors, shown, legend = _error_voxels(prediction.semantics, truth)
    else:
        semantics = prediction.semantics if show == "prediction" or truth is None else truth.semantics.numpy()
        colors, shown = PALETTE[semantics], semantics != FREE
        if seen_only and truth is not None:
            shown = shown & _near(truth.mask_camera.numpy(), prediction.grid)
        legend = class_legend(np.unique(semantics[shown]).tolist())
    return SceneGeometry(
        title=f"{prediction.scene}  {prediction.token[:8]}  {show}",
        voxels=voxel_mesh(colors, shown, prediction.grid),
        ego=ego_car(),
        cameras=_cones(prediction) if cameras else merge([]),
        legend=legend,
        grid=prediction.grid,
    )


def class_legend(labels: Sequence[int]) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    """Return the names and colours of labels, free space left out."""
    return tuple((OCC3D_CLASSES[i].replace("_", " "), _rgb(PALETTE[i])) for i in labels if i != FREE)


def error_classes(
    semantics: UInt8[np.ndarray, "X Y Z"], truth: OccupancyLabels
) -> tuple[UInt8[np.ndarray, "X Y Z"], Bool[np.ndarray, "X Y Z"]]:
    """Compare labels voxel by voxel.

    Returns:
        kinds: `RIGHT`, `WRONG_CLASS`, `INVENTED` (predicted where the truth is free) or `MISSED`.
        shown: Where a camera saw the voxel and either side is occupied; elsewhere `kinds` means nothing.
    """
    true = truth.semantics.numpy()
    predicted_solid, true_solid = semantics != FREE, true != FREE
    kinds = np.full(semantics.shape, RIGHT, np.uint8)
    kinds[predicted_solid & true_solid & (semantics != true)] = WRONG_CLASS
    kinds[predicted_solid & ~true_solid] = INVENTED
    kinds[~predicted_solid & true_solid] = MISSED
    return kinds, (predicted_solid | true_solid) & truth.mask_camera.numpy()


def _error_voxels(
    semantics: UInt8[np.ndarray, "X Y Z"], truth: OccupancyLabels
) -> tuple[UInt8[np.ndarray, "X Y Z 3"], Bool[np.ndarray, "X Y Z"], tuple[tuple[str, tuple[int, int, int]], ...]]:
    kinds, shown = error_classes(semantics, truth)
    counts = np.bincount(kinds[shown], minlength=len(ERROR_NAMES))
    total = max(int(counts.sum()), 1)
    legend = tuple(
        (f"{name} {100 * count / total:.0f}%", _rgb(color))
        for name, count, color in zip(ERROR_NAMES, counts, ERROR_COLORS, strict=True)
    )
    return ERROR_COLORS[kinds], shown, legend


def _near(seen: Bool[np.ndarray, "X Y Z"], grid: VoxelGrid) -> Bool[np.ndarray, "X Y Z"]:
    """Grow a mask by `SEEN_MARGIN_M` along every axis."""
    grown = seen
    for axis, size_m in enumerate(grid.voxel_m):
        reach = int(SEEN_MARGIN_M / size_m + 1e-6)
        widths = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(grown, widths), 2 * reach + 1, axis=axis)
        grown = windows.any(-1)
    return grown


def _rgb(color: UInt8[np.ndarray, "3"]) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in color)
    return red, green, blue


def ego_car() -> Mesh:
    """Return a hatchback of the size of nuScenes' Renault Zoe, whose ego origin lies under the rear axle."""
    half = 0.87
    parts = [
        box((-0.75, -half, 0.32), (3.30, half, 0.86), _BODY, (0.06, 0.05)),
        box((-0.62, -half + 0.07, 0.86), (2.35, half - 0.07, 1.50), _GLASS, (0.52, 0.14)),
        box((-0.12, -half + 0.20, 1.50), (1.85, half - 0.20, 1.55), _BODY, (0.05, 0.03)),
        box((3.24, -half + 0.10, 0.60), (3.33, -half + 0.40, 0.74), _LAMP),
        box((3.24, half - 0.40, 0.60), (3.33, half - 0.10, 0.74), _LAMP),
    ]
    for x in (0.0, 2.59):
        for y in (-half + 0.11, half - 0.11):
            parts.append(cylinder((x, y, 0.32), 0.32, 0.22, _RUBBER))
    return merge(parts)


def _cones(prediction: OccupancyPrediction, length_m: float = 1.6, thickness_m: float = 0.035) -> Mesh:
    height, width = prediction.image_size
    corners_px = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    rods = []
    for k, pose in zip(prediction.intrinsics, prediction.cam_to_ego, strict=True):
        rays = np.concatenate([corners_px, np.ones((4, 1))], 1) @ np.linalg.inv(k.astype(np.float64)).T
        center = pose[:3, 3].tolist()
        corners = (rays * length_m @ pose[:3, :3].T + pose[:3, 3]).tolist()
        for i in range(4):
            rods.append(rod(center, corners[i], thickness_m, _FRUSTUM))
            rods.append(rod(corners[i], corners[(i + 1) % 4], thickness_m, _FRUSTUM))
    return merge(rods)
