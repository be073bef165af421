"""Which tensor of a published GaussianOcc or OccNeRF file is which of ours, and which ones no network needs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

ENCODER, DEPTH, POSE_ENCODER, POSE = "encoder.pth", "depth.pth", "pose_encoder.pth", "pose.pth"

_Rule = tuple[str, str, str]  # regular expression of our name, file, published name

POSE_ROWS = (3, 4, 5, 0, 1, 2)
"""Rows of the published pose output that ours has: translation, then rotation, of the first of two frames."""
PUBLISHED_POSE_ROWS = 12


@dataclass(frozen=True)
class Unneeded:
    """Keys of a published file that no live tensor of ours comes from.

    Attributes:
        pattern: Regular expression of the whole key.
        status: "derived" follows from the configuration and is computed here; "dead" is read by nothing in the release.
        why: For the report.
    """

    pattern: str
    status: Literal["derived", "dead"]
    why: str


_HEAD_WHY = "its output is not used where there are semantics"
UNNEEDED: dict[str, tuple[Unneeded, ...]] = {
    ENCODER: (Unneeded(r"height|width", "derived", "image size of the training"),),
    DEPTH: (
        Unneeded(r"xyz_min|xyz_max|scene_centroid", "derived", "the box of the grid"),
        Unneeded(r"Zval", "derived", "sample depths along rays"),
        Unneeded(r"(gs_)?vox_util\.posfreq", "derived", "constants of the lifting"),
        Unneeded(r"_3DCNN\.classif3\..+", "dead", _HEAD_WHY),
        Unneeded(r"_3DCNN\.classif_flow\..+", "dead", "a head that nothing reads"),
        Unneeded(r"_3DCNN\.classif[12]\..+", "dead", "heads that nothing reads"),
    ),
    POSE_ENCODER: (Unneeded(r"encoder\.fc\..+", "dead", "ImageNet's classifier"),),
    POSE: (Unneeded(r"(refine_mlp|finial_conv)\..+", "dead", "a branch that never runs"),),
}

# Keys that must be live: one of these that is not wanted means another architecture.
LIVE_FAMILY: dict[str, str] = {
    ENCODER: r"(backbone|layer3|upsampling_layer|Upsampling_4|depth_layer)\..+",
    DEPTH: r"pos_embedding|_3DCNN\.(dres|classif_semantic).+",
    POSE_ENCODER: r"encoder\.(conv1|bn1|layer).+",
    POSE: r"net\..+",
}


def _resnet_rules(ours: str, file: str, stem: tuple[str, str], stages: Sequence[str]) -> list[_Rule]:
    """Return the rules of a torchvision ResNet whose parts have these published names."""
    network = re.escape(ours)
    rules = [
        (rf"{network}\.embedder\.embedder\.convolution\.(.+)", file, rf"{stem[0]}.\1"),
        (rf"{network}\.embedder\.embedder\.normalization\.(.+)", file, rf"{stem[1]}.\1"),
    ]
    for number, stage in enumerate(stages):
        block = rf"{network}\.encoder\.stages\.{number}\.layers\.(\d+)"
        rules += [
            (rf"{block}\.shortcut\.convolution\.(.+)", file, rf"{stage}.\1.downsample.0.\2"),
            (rf"{block}\.shortcut\.normalization\.(.+)", file, rf"{stage}.\1.downsample.1.\2"),
        ]
        for layer in range(3):
            rules += [
                (rf"{block}\.layer\.{layer}\.convolution\.(.+)", file, rf"{stage}.\1.conv{layer + 1}.\2"),
                (rf"{block}\.layer\.{layer}\.normalization\.(.+)", file, rf"{stage}.\1.bn{layer + 1}.\2"),
            ]
    return rules


def _occupancy_rules(semantic: bool) -> list[_Rule]:
    head = "classif_semantic" if semantic else "classif3"
    rules = _resnet_rules(
        "backbone.network", ENCODER, ("backbone.0", "backbone.1"), ["backbone.4", "backbone.5", "layer3"]
    )
    rules += [
        (r"pyramid\.merge\.(.+)", ENCODER, r"upsampling_layer.conv.\1"),
        (r"pyramid\.refine\.(.+)", ENCODER, r"Upsampling_4.conv.\1"),
        (r"pyramid\.project\.(.+)", ENCODER, r"depth_layer.\1"),
        (r"voxel_embedding", DEPTH, r"pos_embedding"),
        (r"decoder\.enter\.(.+)", DEPTH, r"_3DCNN.dres0.\1"),
        (r"decoder\.residual\.(.+)", DEPTH, r"_3DCNN.dres1.\1"),
        (r"decoder\.head\.(.+)", DEPTH, rf"_3DCNN.{head}.\1"),
    ]
    parts = {
        r"down1\.0": "conv1.0",
        "middle": "conv2",
        r"down2\.0": "conv3.0",
        r"down2\.2": "conv4.0",
        "up1": "conv5",
        "up2": "conv6",
    }
    for number in range(3):
        for part, published in parts.items():
            pattern = rf"decoder\.hourglasses\.{number}\.{part}\.(.+)"
            rules.append((pattern, DEPTH, rf"_3DCNN.dres{number + 2}.{published}.\1"))
    return rules


def _pose_rules() -> list[_Rule]:
    stages = [f"encoder.layer{i}" for i in range(1, 5)]
    rules = _resnet_rules("pose_net.backbone.network", POSE_ENCODER, ("encoder.conv1", "encoder.bn1"), stages)
    return rules + [(rf"pose_net\.decoder\.{2 * i}\.(.+)", POSE, rf"net.{i}.\1") for i in range(4)]


def published_occupancy_keys(names: Iterable[str], *, semantic: bool) -> dict[tuple[str, str], str]:
    """Return file and published key of each tensor of an `OccupancyNet`, each with our name.

    Args:
        names: Keys of its state dict.
        semantic: Whether the network has class channels; the release keeps the heads of both kinds.
    """
    return _published(names, _occupancy_rules(semantic))


def published_pose_keys(names: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return file and published key of each tensor of a `PoseDepthNet` without depth network, with our name."""
    return _published(names, _pose_rules())


def _published(names: Iterable[str], rules: Sequence[_Rule]) -> dict[tuple[str, str], str]:
    table: dict[tuple[str, str], str] = {}
    for name in names:
        found = [(file, match.expand(key)) for rule, file, key in rules if (match := re.fullmatch(rule, name))]
        assert len(found) == 1, f"{name}: {len(found)} published names"
        table[found[0]] = name
    assert len(table) == len(set(table.values()))
    return table
