"""The stage-2 network of GaussianOcc and OccNeRF with published weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gsocc.errors import CheckpointError, UserError
from gsocc.interop.released_files import ImportReport, read_released, take_tensors
from gsocc.interop.released_keys import DEPTH, ENCODER, published_occupancy_keys
from gsocc.labels import OCC3D_CLASSES
from gsocc.networks.backbones import RESNETS, build_backbone
from gsocc.networks.occupancy_net import OccupancyNet
from gsocc.structures import ContractedGrid

System = Literal["gaussianocc", "occnerf"]
Voxels = tuple[int, int, int]  # Z, Y, X

_MIN_M, _MAX_M = (-40.0, -40.0, -1.0), (40.0, 40.0, 5.4)
_INNER = 0.66667  # as the configurations of the releases write it
_HEAD = "decoder.head.8.1"  # the last normalisation, whose output is the raw output


@dataclass(frozen=True)
class ReleasedFacts:
    """What the files say of themselves.

    Attributes:
        backbone: Name in `RESNETS`, by the number of blocks; None where no ResNet has that many.
        image_size: (H, W) of the training, where the file says so.
        semantic: Whether there are class channels.
        voxels_zyx: Voxels of OccNeRF's embedding, where there is one.
    """

    backbone: str | None
    image_size: tuple[int, int] | None
    semantic: bool
    voxels_zyx: Voxels | None


def read_occupancy_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Read encoder.pth and depth.pth.

    Raises:
        CheckpointError: Where one is missing, damaged or no state dict.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; expected one with {ENCODER} and {DEPTH}")
    return {file: read_released(folder / file) for file in (ENCODER, DEPTH)}


def released_facts(states: Mapping[str, Mapping[str, Any]]) -> ReleasedFacts:
    """Look at what was read for what the caller would otherwise have to know."""
    encoder, depth = states[ENCODER], states[DEPTH]
    blocks = {match.group(1) for key in encoder if (match := re.match(r"layer3\.(\d+)\.", key))}
    kind = "bottleneck" if any(key.startswith("layer3.0.conv3") for key in encoder) else "basic"
    fitting = [name for name, (depths, _, _, layer) in RESNETS.items() if (depths[2], layer) == (len(blocks), kind)]
    height, width = encoder.get("height"), encoder.get("width")
    known = isinstance(height, int) and isinstance(width, int)
    embedding = depth.get("pos_embedding")
    return ReleasedFacts(
        backbone=fitting[0] if fitting else None,
        image_size=(height, width) if known else None,  # type: ignore[arg-type]  # `known` has looked
        semantic=any(key.startswith("_3DCNN.classif_semantic.") for key in depth),
        voxels_zyx=_voxels(embedding) if isinstance(embedding, Tensor) and embedding.ndim == 5 else None,
    )


def _voxels(embedding: Tensor) -> Voxels:
    x, y, z = embedding.shape[2:]
    return (z, y, x)


def build_released_network(
    system: System, *, voxels_zyx: Voxels, backbone: str, semantic: bool, parity: bool
) -> OccupancyNet:
    """Build the stage-2 network with random weights.

    Args:
        system: OccNeRF's has a voxel embedding.
        voxels_zyx: Voxels along z, y, x, those beyond the regular box included; multiples of 4.
        backbone: Name in `RESNETS`.
        semantic: 17 classes and free space, or occupancy alone.
        parity: Lift as the release does, see `ReleasedLift`; otherwise by this library's pixel convention.

    Raises:
        UserError: For a backbone or a grid that the architecture cannot have.
    """
    if backbone not in RESNETS:
        raise UserError(f"backbone: expected one of {', '.join(RESNETS)}, got {backbone!r}")
    if len(voxels_zyx) != 3 or any(n < 4 or n % 4 for n in voxels_zyx):
        raise UserError(f"voxels_zyx: expected three multiples of 4 (Z, Y, X), got {voxels_zyx}")
    built = build_backbone(backbone, levels=3)
    return OccupancyNet(
        built,
        released_grid(voxels_zyx),
        num_classes=len(OCC3D_CLASSES) if semantic else 0,
        neck="upsample",
        pyramid_width=built.channels[1] // 2,  # 256 on a ResNet-50 or -101
        lift_channels=64,
        lift="released" if parity else "half_pixel",
        voxel_embedding=system == "occnerf",
        decoder="hourglass3d",
        initial_occupancy=0.5,  # nothing is added to the logits
    )


def released_grid(voxels_zyx: Voxels) -> ContractedGrid:
    """Return the published grid: Occ3D's box in two thirds of the axes, all of space in the rest."""
    z, y, x = voxels_zyx
    return ContractedGrid(_MIN_M, _MAX_M, (x, y, z), inner=_INNER, lattice="ends")


def take_occupancy(
    folder: Path, states: Mapping[str, Mapping[str, Any]], net: OccupancyNet, *, system: System, semantic: bool
) -> ImportReport:
    """Load what was read into a network; strict on every live key.

    Raises:
        CheckpointError: Where the files are those of another network; the network is then unchanged.
    """
    own = net.state_dict()
    wanted = published_occupancy_keys(own, semantic=semantic)
    state, report = take_tensors(folder, states, wanted, own, _hint(states, system))
    if not semantic:
        # The release's only channel is the logit of being solid, ours that of being free.
        for name in (f"{_HEAD}.weight", f"{_HEAD}.bias"):
            state[name] = -state[name]
    net.load_state_dict(state)
    return report


def _hint(states: Mapping[str, Mapping[str, Any]], system: System) -> str:
    facts = released_facts(states)
    embedded = "pos_embedding" in states[DEPTH]
    if embedded and system == "gaussianocc":
        return "It has OccNeRF's voxel embedding: import it as occnerf"
    if not embedded and system == "occnerf":
        return "It has no voxel embedding: import it as gaussianocc"
    parts = [f"backbone {facts.backbone or 'unknown'}"]
    if facts.voxels_zyx:
        parts.append(f"voxels_zyx {facts.voxels_zyx}")
    return f"The files look like {', '.join(parts)}; choose the options that they were trained with"


def semantics_of(folder: Path, facts: ReleasedFacts, system: System) -> bool:
    """Return whether there are class channels; GaussianOcc is not usable without.

    Raises:
        CheckpointError: For a GaussianOcc folder without class channels.
    """
    if system == "gaussianocc" and not facts.semantic:
        raise CheckpointError(
            f"{folder / DEPTH}: missing: _3DCNN.classif_semantic.*; a GaussianOcc checkpoint has class channels, "
            "because its opacity is the last of them"
        )
    return facts.semantic


@torch.no_grad()
def load_released_network(
    folder: Path, system: System, *, voxels_zyx: Voxels, backbone: str, parity: bool
) -> tuple[OccupancyNet, ImportReport, ReleasedFacts]:
    """Read a published folder into a network in evaluation mode.

    Raises:
        CheckpointError: Where the folder does not hold that network.
        UserError: For options that no such network can have.
    """
    states = read_occupancy_files(folder)
    facts = released_facts(states)
    semantic = semantics_of(folder, facts, system)
    net = build_released_network(system, voxels_zyx=voxels_zyx, backbone=backbone, semantic=semantic, parity=parity)
    report = take_occupancy(folder, states, net, system=system, semantic=semantic)
    return net.eval(), report, facts
