"""Predictors that know nothing of the images. A report prints them on the same frames, beside the model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics import Metric

from gsocc.geometry.projection import camera_directions
from gsocc.labels import FREE, GROUND_CLASSES, NUM_OCC3D_LABELS, OCC3D_ID
from gsocc.metrics.above_ground import ground_layer
from gsocc.metrics.names import MaskName, voxel_mask
from gsocc.structures import OCC3D_GRID, CameraRig, OccupancyLabels, VoxelGrid

DRIVEABLE = OCC3D_ID["driveable_surface"]
DEFAULT_CAPS_M: tuple[float, ...] = (
    4.0,
    6.0,
    8.0,
    10.0,
    12.0,
    15.0,
    18.0,
    22.0,
    26.0,
    30.0,
    35.0,
    40.0,
    50.0,
    60.0,
    80.0,
)


@dataclass(frozen=True)
class OccupancyGuess:
    """The same volume for every frame.

    Attributes:
        semantics: Labels 0..17, 17 is free.
        occupancy: Probability that a voxel is solid.
    """

    semantics: UInt8[Tensor, "X Y Z"]
    occupancy: Float[Tensor, "X Y Z"]

    def batch(self, size: int) -> tuple[UInt8[Tensor, "B X Y Z"], Float[Tensor, "B X Y Z"]]:
        """Return (semantics, occupancy) repeated for `size` frames, without copying."""
        return self.semantics.expand(size, -1, -1, -1), self.occupancy.expand(size, -1, -1, -1)


def all_free(grid: VoxelGrid = OCC3D_GRID) -> OccupancyGuess:
    """Return the guess that nothing is there."""
    return OccupancyGuess(torch.full(grid.shape, FREE, dtype=torch.uint8), torch.zeros(grid.shape))


def all_occupied(grid: VoxelGrid = OCC3D_GRID, class_id: int = DRIVEABLE) -> OccupancyGuess:
    """Return the guess that everything is solid, of the class most visible surface has: driveable surface."""
    return OccupancyGuess(torch.full(grid.shape, class_id, dtype=torch.uint8), torch.ones(grid.shape))


def ground_plane(grid: VoxelGrid = OCC3D_GRID, class_id: int = DRIVEABLE, ground_z_m: float = 0.0) -> OccupancyGuess:
    """Return a flat street: the layer that holds `ground_z_m` is driveable surface, all else is free."""
    guess = all_free(grid)
    layer = ground_layer(grid, ground_z_m)
    guess.semantics[..., layer] = class_id
    guess.occupancy[..., layer] = 1.0
    return guess


def ground_level_m(guess: OccupancyGuess, grid: VoxelGrid = OCC3D_GRID) -> float:
    """Return the height of the layer that holds most ground-class voxels, of a label prior for example.

    In the real Occ3D files the street often lies in the lowest layer (centre -0.8 m) although the ego frame has its
    origin on the ground; a flat plane at z = 0 would be a straw man there.

    Raises:
        ValueError: Where the guess holds no ground class.
    """
    counts = torch.stack([(guess.semantics == c).sum((0, 1)) for c in GROUND_CLASSES]).sum(0)  # (Z,)
    if int(counts.max()) == 0:
        raise ValueError("ground_level_m: no voxel of the guess has a ground class")
    return round(grid.min_m[2] + (int(counts.argmax()) + 0.5) * grid.voxel_m[2], 6)


class LabelPrior(Metric):
    """Per-voxel label histogram of training scenes: the best that a predictor without eyes can do.

    It counts the 3-D truth of training scenes under the mask. `guess` predicts, per voxel, occupied where
    the share of occupied labels is at least `threshold`, then the most frequent class. A voxel that no
    training frame saw is free. The model that it is compared with never sees 3-D truth, so this baseline has
    an unfair advantage on purpose.
    """

    counts: Tensor
    full_state_update = False

    def __init__(self, grid: VoxelGrid = OCC3D_GRID, threshold: float = 0.5, mask: MaskName = "camera") -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"LabelPrior: threshold must lie in (0, 1], got {threshold}")
        self.grid, self.threshold = grid, threshold
        self.mask: MaskName = mask
        # int32: 46 MB on the Occ3D lattice, enough for two thousand million frames.
        shape = (*grid.shape, NUM_OCC3D_LABELS)
        self.add_state("counts", torch.zeros(shape, dtype=torch.int32), dist_reduce_fx="sum")

    def update(self, labels: OccupancyLabels) -> None:
        """Count the truth of one batch of training frames."""
        counted = voxel_mask(labels, self.mask) & (labels.semantics <= FREE)
        flat = self.counts.view(-1, NUM_OCC3D_LABELS)
        for semantics, seen in zip(labels.semantics, counted, strict=True):
            voxels = seen.flatten().nonzero()[:, 0]
            # One frame holds a voxel once, so no index repeats and adding in place is exact.
            flat[voxels, semantics.flatten()[voxels].long()] += 1

    def guess(self) -> OccupancyGuess:
        """Return the most frequent labels so far; see the class."""
        return OccupancyGuess(*self.compute())

    def compute(self) -> tuple[UInt8[Tensor, "X Y Z"], Float[Tensor, "X Y Z"]]:
        """Return (semantics, occupancy) of the guess."""
        solid = self.counts[..., :FREE]
        occupancy = solid.sum(-1) / self.counts.sum(-1).clamp(min=1)
        occupied = (occupancy >= self.threshold) & (solid.sum(-1) > 0)
        semantics = torch.where(occupied, solid.argmax(-1), FREE).to(torch.uint8)
        return semantics, occupancy.float()


def ground_plane_depth(rig: CameraRig, far_cap_m: float) -> Float[Tensor, "B V H W"]:
    """Return the depth of the plane z = 0 in every camera, at most `far_cap_m`, which the sky gets too.

    Raises:
        ValueError: Where the cap is not positive.
    """
    if far_cap_m <= 0:
        raise ValueError(f"ground_plane_depth: far_cap_m must be positive, got {far_cap_m}")
    directions = camera_directions(rig.intrinsics, rig.image_size)  # (B, V, H, W, 3), z = 1 along the axis
    rotation, height_m = rig.cam_to_ego[..., 2, :3], rig.cam_to_ego[..., 2, 3]
    # Metres that a ray falls per metre of depth; a ray that does not fall never meets the plane.
    fall = -torch.einsum("bvhwc,bvc->bvhw", directions, rotation)
    height = height_m[..., None, None]
    depth = torch.where(fall * height > 0, height / fall, far_cap_m)
    return depth.clamp(max=far_cap_m)


class GroundPlaneCapSweep(Metric):
    """Find the far cap with which the flat plane has the lowest AbsRel, over the frames it is shown.

    Averaged like `DepthMetric`. Shown the frames that are scored, it favours the baseline: the report
    compares the model with the best plane there is.
    """

    sums: Tensor
    images: Tensor
    full_state_update = False

    def __init__(
        self,
        num_views: int,
        caps_m: Sequence[float] = DEFAULT_CAPS_M,
        min_m: float = 0.1,
        max_m: float = 80.0,
    ) -> None:
        super().__init__()
        if len(caps_m) == 0 or min(caps_m) <= 0:
            raise ValueError(f"GroundPlaneCapSweep: expected positive caps, got {list(caps_m)}")
        self.caps_m = tuple(float(c) for c in caps_m)
        self.min_m, self.max_m = min_m, max_m
        shape = (len(self.caps_m), num_views)
        self.add_state("sums", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(num_views, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, rig: CameraRig, true_m: Float[Tensor, "B V H W"]) -> None:
        """Add the images of one batch; `true_m` is 0 where there is no truth."""
        height, width = true_m.shape[-2:]
        plane_m = ground_plane_depth(rig.resized((height, width)), self.max_m)
        caps = torch.tensor(self.caps_m, dtype=torch.float64, device=true_m.device)[:, None]
        for plane, truth in zip(plane_m, true_m, strict=True):
            for view in range(truth.shape[0]):
                valid = (truth[view] > self.min_m) & (truth[view] < self.max_m)
                true = truth[view][valid].double()
                if true.numel():
                    guess = torch.minimum(plane[view][valid].double(), caps).clamp(min=self.min_m)
                    self.sums[:, view] += ((guess - true).abs() / true).mean(1)
                    self.images[view] += 1

    def compute(self) -> tuple[float, float]:
        """Return (cap in metres, its AbsRel as the mean over cameras).

        Raises:
            ValueError: Where no image had truth.
        """
        abs_rel = (self.sums / self.images).nanmean(1)
        if bool(abs_rel.isnan().any()):
            raise ValueError("GroundPlaneCapSweep: no image had a depth between min_m and max_m")
        best = int(abs_rel.argmin())
        return self.caps_m[best], float(abs_rel[best])


def best_ground_plane_cap(
    frames: Iterable[tuple[CameraRig, Float[Tensor, "B V H W"]]],
    caps_m: Sequence[float] = DEFAULT_CAPS_M,
    min_m: float = 0.1,
    max_m: float = 80.0,
) -> tuple[float, float]:
    """Return (cap in metres, AbsRel) of the best flat plane on (rig, true depth) pairs.

    See `GroundPlaneCapSweep`, which does this batch by batch.

    Raises:
        ValueError: Where there are no frames, or none has truth.
    """
    sweep: GroundPlaneCapSweep | None = None
    for rig, true_m in frames:
        sweep = sweep or GroundPlaneCapSweep(rig.num_views, caps_m, min_m, max_m).to(true_m.device)
        sweep.update(rig, true_m)
    if sweep is None:
        raise ValueError("best_ground_plane_cap: expected at least one frame, got none")
    return sweep.compute()
