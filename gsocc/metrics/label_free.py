"""Scores that need no labels: what LiDAR says of space, and whether predictions of neighbouring frames agree.

They rank systems where there is no Occ3D truth. docs/metrics.md says how well, against the true scores of the
synthetic world, and what each is blind to.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.kernels.scan_trace import PASSED, RETURNED, first_solid, mark_scan
from gsocc.labels import FREE, OCC3D_ID
from gsocc.metrics.names import metric_name
from gsocc.structures import OCC3D_GRID, VoxelGrid
from gsocc.structures.key_frame import KeyFrame

SCAN = "lidar/scan"
STATIC = "static/next"
MOVABLE: tuple[int, ...] = tuple(
    OCC3D_ID[name]
    for name in ("bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "trailer", "truck")
)
_NEAREST_M = 2.5  # returns nearer than this, horizontally, are from the vehicle itself


def scan_states(frame: KeyFrame, grid: VoxelGrid = OCC3D_GRID) -> UInt8[np.ndarray, "X Y Z"]:
    """Return what a key frame's scan says of each voxel: `PASSED`, `RETURNED`, or 0 where it says nothing.

    Raises:
        ValueError: Where the scan is missing, or the LiDAR is outside of the grid.
    """
    origin, ends = _scan_in_voxels(frame, _points_of(frame), grid)
    state = np.zeros(grid.shape, np.uint8)
    mark_scan(origin, ends, state)
    return state


def _points_of(frame: KeyFrame) -> Float[np.ndarray, "N 3"]:
    """Return the returns of a key frame that are not from the vehicle itself."""
    if frame.points_ego is None:
        raise ValueError(f"ScanMetric: key frame {frame.token} came without its scan")
    return frame.points_ego[np.linalg.norm(frame.points_ego[:, :2], axis=-1) >= _NEAREST_M]


def _scan_in_voxels(
    frame: KeyFrame, points_ego: Float[np.ndarray, "N 3"], grid: VoxelGrid
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "N 3"]]:
    """Return where rays start and end, in voxels."""
    places = np.concatenate([frame.origin_m[None], points_ego]).astype(np.float64)
    voxels = np.ascontiguousarray((places - grid.min_m) / grid.voxel_m)
    if not ((voxels[0] >= 0) & (voxels[0] < grid.shape)).all():
        raise ValueError(f"ScanMetric: the LiDAR of {frame.token} at {frame.origin_m} m is outside of the volume")
    return voxels[0], voxels[1:]


class ScanMetric(Metric):
    """Predicted volumes against one LiDAR scan, at the time of the key frame; labels take no part.

    Rays run from the LiDAR to each return; what they pass is empty, where they end there is matter, all else is
    unknown. Voxels are counted once per frame, rays once each, and all is summed over frames and ranks:

    - `lidar/scan:free_violation`: share of passed voxels that are predicted occupied;
    - `lidar/scan:hit_recall`: share of voxels with a return that are predicted occupied;
    - `lidar/scan:iou`: occupied against empty over passed voxels and those with a return;
    - `lidar/scan:ray_abs_rel`, `:ray_error_m`: distance to the first predicted voxel along each ray (the middle of
      the part inside it) against the distance of the return, relative and in metres. Counted are returns inside the
      volume; a ray that meets nothing ends where it leaves the volume;
    - `lidar/scan:ray_within_1m`: share of those rays that are off by less than 1 m.

    Returns nearer than 2.5 m, horizontally, are from the vehicle and left out.
    """

    voxels: Tensor
    rays: Tensor
    full_state_update = False

    def __init__(self, grid: VoxelGrid = OCC3D_GRID) -> None:
        super().__init__()
        self.grid = grid
        # passed, passed and occupied, returned, returned and occupied
        self.add_state("voxels", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")
        # rays, sum of relative errors, sum of errors, within 1 m
        self.add_state("rays", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, semantics: UInt8[Tensor, "B X Y Z"], key_frames: Sequence[KeyFrame]) -> None:
        """Count one batch of labels 0..17 (17 is free), each with its key frame's scan.

        Raises:
            ValueError: Where a scan is missing, volumes are not on the metric's grid, or the LiDAR is outside of it.
        """
        if tuple(semantics.shape[1:]) != self.grid.shape or len(key_frames) != len(semantics):
            raise ValueError(
                f"ScanMetric: expected volumes of shape {self.grid.shape} with a key frame each, got "
                f"{tuple(semantics.shape)} and {len(key_frames)} key frames"
            )
        for labels, frame in zip(semantics, key_frames, strict=True):
            self._add((labels != FREE).cpu().numpy(), frame)

    def compute(self) -> dict[str, float]:
        """Return every score under its full name."""
        passed, violated, returned, found = self.voxels.tolist()
        rays, relative, absolute, within = self.rays.tolist()
        scores = {
            "free_violation": _ratio(violated, passed),
            "hit_recall": _ratio(found, returned),
            "iou": _ratio(found, returned + violated),
            "ray_abs_rel": _ratio(relative, rays),
            "ray_error_m": _ratio(absolute, rays),
            "ray_within_1m": _ratio(within, rays),
        }
        return {metric_name(SCAN, name): value for name, value in scores.items()}

    def _add(self, solid: Bool[np.ndarray, "X Y Z"], frame: KeyFrame) -> None:
        points = _points_of(frame)
        origin, ends = _scan_in_voxels(frame, points, self.grid)
        state = np.zeros(self.grid.shape, np.uint8)
        mark_scan(origin, ends, state)
        for number, value in enumerate((PASSED, RETURNED)):
            marked = state == value
            self.voxels[2 * number] += int(marked.sum())
            self.voxels[2 * number + 1] += int((marked & solid).sum())
        inside = ((ends >= 0) & (ends < self.grid.shape)).all(-1)
        shares = np.empty(int(inside.sum()))
        first_solid(np.ascontiguousarray(solid).view(np.uint8), origin, ends[inside], shares)
        relative = np.abs(shares - 1)
        errors_m = relative * np.linalg.norm(points[inside] - frame.origin_m, axis=-1)
        sums = [len(shares), relative.sum(), errors_m.sum(), (errors_m < 1).sum()]
        self.rays += torch.tensor([float(s) for s in sums], dtype=torch.float64, device=self.rays.device)


class StaticConsistency(Metric):
    """Predictions of neighbouring key frames against each other: what stands still must not move with the vehicle.

    The volume of a key frame is read at the voxel centres of the one before it, moved by the vehicle's motion, nearest
    voxel, and the other way round; both ways are pooled. Centres outside the other volume are not counted, nor are
    pairs of voxels of which one has a movable class.

    - `static/next:iou`: occupied in both over occupied in either;
    - `static/next:matched`: share of occupied voxels that have an occupied one within one voxel (26 neighbours): the
      lattice itself moves by parts of a voxel, which costs even the truth much of `iou`;
    - `static/next:class_agreement`: share of voxels occupied in both that have the same class.

    A system that says the same of every place is consistent: read these numbers beside `lidar/scan`. Frames have to
    come in order of time, scene by scene, and a scene whole on one rank; the first frame of a scene has no partner.
    """

    counts: Tensor
    full_state_update = False

    def __init__(self, grid: VoxelGrid = OCC3D_GRID) -> None:
        super().__init__()
        self.grid = grid
        # occupied here, matched, occupied in both, occupied in either, the same class in both
        self.add_state("counts", torch.zeros(5, dtype=torch.int64), dist_reduce_fx="sum")
        self._last: tuple[KeyFrame, Tensor] | None = None

    def update(self, semantics: UInt8[Tensor, "B X Y Z"], key_frames: Sequence[KeyFrame]) -> None:
        """Hold each frame against the one before it, if that was the last one to come.

        Raises:
            ValueError: Where volumes are not on the metric's grid or lack key frames.
        """
        if tuple(semantics.shape[1:]) != self.grid.shape or len(key_frames) != len(semantics):
            raise ValueError(
                f"StaticConsistency: expected volumes of shape {self.grid.shape} with a key frame each, got "
                f"{tuple(semantics.shape)} and {len(key_frames)} key frames"
            )
        for labels, frame in zip(semantics, key_frames, strict=True):
            labels = labels.cpu()
            if self._last is not None and frame.previous and self._last[0].token == frame.previous:
                before, earlier = self._last
                now_to_before = np.linalg.inv(before.ego_to_global) @ frame.ego_to_global
                counts = self._compare(labels, earlier, now_to_before)
                counts += self._compare(earlier, labels, np.linalg.inv(now_to_before))
                self.counts += counts.to(self.counts.device)
            self._last = (frame, labels)

    def compute(self) -> dict[str, float]:
        """Return every score under its full name."""
        occupied, matched, both, either, same = self.counts.tolist()
        scores = {
            "iou": _ratio(both, either),
            "matched": _ratio(matched, occupied),
            "class_agreement": _ratio(same, both),
        }
        return {metric_name(STATIC, name): value for name, value in scores.items()}

    def reset(self) -> None:
        """Forget everything counted so far, and the last frame."""
        super().reset()
        self._last = None

    def _compare(
        self, here: UInt8[Tensor, "X Y Z"], there: UInt8[Tensor, "X Y Z"], here_to_there: Float64[np.ndarray, "4 4"]
    ) -> Int64[Tensor, "5"]:
        """Count the voxels of one volume against what another says of their places."""
        inside, at = self._places(here_to_there)
        one, other = here[inside], there.reshape(-1)[at]
        counted = ~(_is_movable(one) | _is_movable(other))
        solid, other_solid = (one != FREE) & counted, (other != FREE) & counted
        near = _with_neighbours(there != FREE)
        both = solid & other_solid
        counts = [solid, solid & near.reshape(-1)[at], both, solid | other_solid, both & (one == other)]
        return torch.stack([c.sum() for c in counts])

    def _places(self, here_to_there: Float64[np.ndarray, "4 4"]) -> tuple[Bool[Tensor, "X Y Z"], Int64[Tensor, " N"]]:
        """Return which voxel centres land in the other volume, and in which of its voxels (flat numbers).

        A rigid motion is linear along each axis of the lattice, so that three sums replace a product per voxel.
        """
        low, size = np.array(self.grid.min_m), np.array(self.grid.voxel_m)
        turn = here_to_there[:3, :3] * size / size[:, None]  # voxels there per voxel here
        start = (here_to_there[:3, :3] @ low + here_to_there[:3, 3] - low) / size
        axes = [torch.arange(n, dtype=torch.float64) + 0.5 for n in self.grid.shape]
        inside = torch.ones(self.grid.shape, dtype=torch.bool)
        flat = torch.zeros(self.grid.shape, dtype=torch.int64)
        for row, offset, count in zip(turn, start, self.grid.shape, strict=True):
            x, y, z = (axis * float(step) for axis, step in zip(axes, row, strict=True))
            voxel = ((x + float(offset))[:, None, None] + y[:, None] + z).floor_()  # (X, Y, Z)
            inside &= (voxel >= 0) & (voxel < count)
            flat.mul_(count).add_(voxel.long())
        return inside, flat[inside]


def _with_neighbours(solid: Bool[Tensor, "X Y Z"]) -> Bool[Tensor, "X Y Z"]:
    """Return where a voxel or one of its 26 neighbours is solid, one axis after the other."""
    for axis in range(3):
        grown, size = solid.clone(), solid.shape[axis]
        if size > 1:
            grown.narrow(axis, 1, size - 1).logical_or_(solid.narrow(axis, 0, size - 1))
            grown.narrow(axis, 0, size - 1).logical_or_(solid.narrow(axis, 1, size - 1))
        solid = grown
    return solid


def _is_movable(labels: UInt8[Tensor, " N"]) -> Bool[Tensor, " N"]:
    table = torch.zeros(256, dtype=torch.bool)
    table[list(MOVABLE)] = True
    return table[labels.long()]


def _ratio(part: float | int, whole: float | int) -> float:
    return part / whole if whole else float("nan")
