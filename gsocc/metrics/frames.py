"""One batch as scores see it: what a system said, and everything it can be held against."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gsocc.structures import OccupancyLabels
from gsocc.structures.key_frame import KeyFrame

Need = Literal[
    "semantics",  # predicted labels
    "rendered_depth",  # predicted depth images
    "rendered_labels",  # predicted label images
    "labels",  # Occ3D truth
    "lidar_depth",  # LiDAR depth images, drawn by this toolkit
    "lidar_depth_round",  # LiDAR depth images, drawn as the published depth files
    "label_images",  # 2-D labels of the data set
    "self_mask",  # which pixels show the world and not the vehicle
    "key_frames",  # poses of the scene
    "scans",  # LiDAR returns
    "sequence",  # key frames of a scene come one after the other, in order of time, on one rank
]
NEEDS: tuple[Need, ...] = get_args(Need)


@dataclass(frozen=True)
class FramePrediction:
    """What a system said of a batch.

    Attributes:
        semantics: Labels on the Occ3D lattice, 0..16 for the classes and 17 for free; None where none are scored.
        occupancy: Probability in [0, 1] that a voxel is solid, before the threshold.
        depth_m: Rendered depth along the optical axis.
        label_images: Rendered Occ3D ids, 17 is sky.
    """

    semantics: UInt8[Tensor, "B X Y Z"] | None = None
    occupancy: Float[Tensor, "B X Y Z"] | None = None
    depth_m: Float[Tensor, "B V h w"] | None = None
    label_images: Int[Tensor, "B V h w"] | None = None


@dataclass(frozen=True)
class FrameTruth:
    """What a batch is held against; parts that no protocol of the run asks for are None.

    Attributes:
        labels: Occ3D truth.
        lidar_depth_m: LiDAR depth per camera, 0 where there is none.
        lidar_depth_round_m: The same, drawn as the published depth files of the data set.
        self_mask: False on pixels that show the vehicle; any size.
        key_frames: Poses and scans, one per item of the batch.
        label_images: Occ3D ids of pixels, 17 is sky, -1 has no label.
        places: Which frames of all that are scored these are, counted from 0; only averages over made-up GPUs ask.
    """

    labels: OccupancyLabels | None = None
    lidar_depth_m: Float[Tensor, "B V H W"] | None = None
    lidar_depth_round_m: Float[Tensor, "B V H W"] | None = None
    self_mask: Bool[Tensor, "B V Hm Wm"] | None = None
    key_frames: tuple[KeyFrame, ...] = ()
    label_images: Int[Tensor, "B V h w"] | None = None
    places: tuple[int, ...] = ()
