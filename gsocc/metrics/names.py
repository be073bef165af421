"""Names of protocols, and the one rule by which a number is named: `<protocol>:<metric>`."""

import re
from typing import Literal, get_args

from jaxtyping import Bool
from torch import Tensor

from gsocc.structures import OccupancyLabels

MaskName = Literal["camera", "camera_lidar", "none"]

_NAME = re.compile(r"^[^:\s]+:[^:\s]+$")


def metric_name(protocol: str, metric: str) -> str:
    """Join a protocol and a metric into the name a number is printed and stored under.

    Raises:
        ValueError: Where a part is empty, or holds a colon or white space.
    """
    name = f"{protocol}:{metric}"
    if not _NAME.match(name):
        raise ValueError(f"metric_name: expected a protocol and a metric without colons and spaces, got {name!r}")
    return name


def split_name(name: str) -> tuple[str, str]:
    """Split `<protocol>:<metric>` into its two parts.

    Raises:
        ValueError: Where the name has no protocol: a bare "miou" says nothing that can be compared.
    """
    if not _NAME.match(name):
        raise ValueError(f"metric names are <protocol>:<metric>, for example occ3d/camera:iou; got {name!r}")
    protocol, metric = name.split(":")
    return protocol, metric


_PARTS = {
    "occ3d": "Occ3D labels on the 0.4 m lattice",
    "camera": "voxels that a camera saw",
    "camera_lidar": "voxels that a camera and the LiDAR saw, as in the OccNeRF and GaussianOcc releases",
    "17": "mean over all 17 classes, those absent from truth and prediction left out",
    "15": "mean over the 15 classes that have 2-D pseudo labels (without others and other_flat)",
    "present": "mean over the classes that the truth of these frames holds",
    "ssc": "semantic scene completion's scores: an absent class counts as 0 in the mean",
    "selfocc": "as SelfOcc: voxels that a camera saw, predictions cropped to 37.6 m and 3.8 m of height, others empty",
    "per_rank": "averaged over 8 GPUs as the releases do",
    "ray": "what rays of a model LiDAR meet first, from up to 8 places of the drive, seen or not",
    "lidar": "LiDAR returns of the key frame, no labels",
    "scan": "voxels that rays pass through, and where they end",
    "static": "predictions against each other, no labels: voxels that no movable class holds",
    "next": "a key frame and the next one of its scene, brought together by the vehicle's motion",
    "round": "drawn as the published depth files: nearest pixel index, the last point stays, no nearest distance",
    "dgp": "drawn as TRI's dgp does: pixel index cut off towards zero, the last point stays, no nearest distance",
    "self_mask": "without the pixels that show the vehicle",
    "ddad": "against DDAD's LiDAR",
    "depth": "depth along the optical axis, averaged over the images of a camera, then over cameras",
    "nuscenes": "against nuScenes' LiDAR",
    "semantics2d": "2-D labels of the camera images",
    "rendered": "of the class images that the renderer draws",
    "median": "each image scaled by median(truth) / median(prediction)",
    "pose": "ego motion from the key frame to its neighbours",
    "trajectory": "path through a scene, integrated from the motions, anchored at its first key frame",
    "1s": "between key frames one second apart",
}

_LIMITS = {
    "depth": "truth up to {} m",
    "pose": "ratio and direction over motions of at least {} m",
}


def describe_protocol(protocol: str) -> str:
    """Return in words what a protocol name says; parts it does not know stay as they are."""
    first, *parts = protocol.split("/")
    words = [_PARTS.get(first, first)]
    metres = 0
    for number, part in enumerate(parts):
        if number == 0 and part == "none":
            words.append("all voxels, seen or not")
        elif match := re.fullmatch(r"z([+-][\d.]+)m", part):
            words.append(f"the ground taken to lie at z = {match[1]} m")
        elif match := re.fullmatch(r"([\d.]+)m", part):
            limit = _LIMITS.get(first, "within {} m of the ego, horizontally")
            words.append((limit if metres == 0 else "a match counts up to {} m away").format(match[1]))
            metres += 1
        elif part == "all":
            words.append("at any distance")
            metres += 1
        else:
            words.append(_PARTS.get(part, part))
    return "; ".join(words)


def voxel_mask(labels: OccupancyLabels, mask: MaskName) -> Bool[Tensor, "*B X Y Z"]:
    """Return the voxels that a protocol counts.

    "camera" is Occ3D's own protocol, "camera_lidar" the one of the OccNeRF and GaussianOcc releases, which
    replace the camera mask by the conjunction of both when they read it; "none" counts every voxel.

    Raises:
        ValueError: Where the mask has another name.
    """
    if mask == "camera":
        return labels.mask_camera
    if mask == "camera_lidar":
        return labels.mask_camera & labels.mask_lidar
    if mask == "none":
        return labels.mask_camera.new_ones(labels.mask_camera.shape)
    raise ValueError(f"voxel_mask: expected one of {get_args(MaskName)}, got {mask!r}")
