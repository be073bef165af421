"""Every protocol by name: the only registry of what can be scored.

A protocol says which voxels or pixels count, what they are held against and what is averaged; a number is called
`<protocol>:<metric>`. Several protocols share one pass over the counts: a *family* is an object that counts once and
gives the numbers of all protocols that can be read off its counts (`gsocc.metrics.families`).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from gsocc.errors import UserError
from gsocc.metrics.names import MaskName, describe_protocol


@dataclass(frozen=True)
class Protocol:
    """A named way to score.

    Attributes:
        name: What numbers carry before the colon.
        families: Keys of `gsocc.metrics.families.FAMILIES` whose counts the numbers are read off.
        used_by: Where the protocol comes from, and which published numbers follow it.
        dataset: Name of the data set whose depth it wants; "" where any does.
        flaw: What is wrong with it, where it exists only to reproduce published numbers.
    """

    name: str
    families: tuple[str, ...]
    used_by: str
    dataset: str = ""
    flaw: str = ""

    @property
    def description(self) -> str:
        """What the name says, in words, and what is wrong with it."""
        words = describe_protocol(self.name)
        return f"{words} (flawed: {self.flaw})" if self.flaw else words


_MASK_USERS: dict[MaskName, str] = {
    "camera": "Occ3D; SelfOcc, RenderOcc, LangOcc, GaussTR, FlashOcc",
    "camera_lidar": "OccNeRF and GaussianOcc releases",
    "none": "tables 'without camera mask', such as EasyOcc's second column",
}


def _occ3d() -> list[Protocol]:
    protocols = []
    for mask in get_args(MaskName):
        name, confusion, users = f"occ3d/{mask}", f"confusion/{mask}", _MASK_USERS[mask]
        above, near, tolerant = (f"above/{mask}/{kind}" for kind in ("all", "16m", "16m/0.8m"))
        protocols += [
            Protocol(name, (confusion, above, f"layers/{mask}"), f"{users}; above-ground scores are this toolkit's"),
            Protocol(f"{name}/17", (confusion,), f"{users}: 'mIoU'"),
            Protocol(f"{name}/15", (confusion,), f"{users}: 'mIoU*', or 'mIoU without others'"),
            Protocol(f"{name}/present", (confusion,), "this toolkit, for few frames"),
            Protocol(f"{name}/ssc", (confusion,), "semantic scene completion: SSCNet, MonoScene"),
            Protocol(f"{name}/16m", (near,), "this toolkit"),
            Protocol(f"{name}/16m/0.8m", (tolerant,), "this toolkit"),
        ]
    return protocols


DEPTH_LIMIT_M: dict[str, int] = {"nuscenes": 80, "ddad": 200, "rig": 80}
"""How far the truth of each data set's depth tables reaches."""


def depth_protocol(dataset: str) -> str:
    """Return the protocol of a data set's depth tables, without options."""
    return f"depth/{dataset}/{DEPTH_LIMIT_M[dataset]}m"


_DRAWN_AS_PUBLISHED = {"nuscenes": "/round", "ddad": "/dgp"}


def depth_projections(dataset: str) -> tuple[str, ...]:
    """Return the ways in which LiDAR depth of a data set is drawn: this toolkit's, "", and that of published files."""
    return ("", _DRAWN_AS_PUBLISHED[dataset]) if dataset in _DRAWN_AS_PUBLISHED else ("",)


def _depth(dataset: str, users: str) -> list[Protocol]:
    protocols = []
    for projection in depth_projections(dataset):
        for mask in ("", "/self_mask"):
            family = f"{depth_protocol(dataset)}{projection}{mask}"
            protocols += [
                Protocol(family, (family,), users if not mask else "this toolkit", dataset),
                Protocol(f"{family}/median", (family,), "scale-ambiguous rows of the same tables", dataset),
            ]
    return protocols


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in [
        *_occ3d(),
        *(
            Protocol(
                f"occ3d/camera_lidar/{classes}/per_rank",
                (f"per_rank/camera_lidar/{classes}",),
                f"OccNeRF and GaussianOcc releases, on 8 GPUs: {what}",
                flaw="IoUs of 8 GPUs are averaged where counts have to be added up",
            )
            for classes, what in (("15", "'mIoU without others', their papers' number"), ("17", "'mIoU'"))
        ),
        Protocol("occ3d/ray/17", ("ray",), "SparseOcc; GaussianOcc, GaussianFlowOcc's 16.47"),
        Protocol("occ3d/ray/15", ("ray",), "GaussianFlowOcc's 18.67, of the same weights"),
        Protocol("occ3d/selfocc", ("selfocc",), "SelfOcc"),
        Protocol("lidar/scan", ("scan",), "this toolkit, for data without labels"),
        Protocol("static/next", ("static",), "this toolkit, for data without labels"),
        *_depth("nuscenes", "SurroundDepth, VFDepth, OccNeRF, GaussianOcc"),
        Protocol("semantics2d/rendered", ("pixels",), "this toolkit: did training on 2-D labels work"),
        *_depth("ddad", "SurroundDepth, VFDepth, GaussianOcc"),
        *_depth("rig", "a rig of one's own"),
    ]
}

STREET: tuple[str, ...] = (
    "occ3d/camera",
    "occ3d/camera/17",
    "occ3d/camera/15",
    "occ3d/camera/present",
    "occ3d/camera/16m",
    "occ3d/camera/16m/0.8m",
)
"""What every report shows of occupancy."""

FILES: tuple[str, ...] = (*STREET, "occ3d/camera_lidar/15", "occ3d/ray/17", "occ3d/ray/15")
"""What prediction files are scored by unless told otherwise; RayIoU only where poses are known."""

RUN: tuple[str, ...] = (*STREET, "depth/nuscenes/80m", "depth/nuscenes/80m/median")
"""What a run on nuScenes is scored by unless told otherwise."""


def run_protocols(dataset: str, *, with_labels: bool = False) -> tuple[str, ...]:
    """Return what a run on a data set is scored by unless told otherwise.

    Args:
        dataset: Its name.
        with_labels: Whether there are Occ3D labels, which nuScenes has and of the others a synthetic world. Without
            them volumes are held against LiDAR and against each other.
    """
    if dataset == "nuscenes":
        return RUN
    depth = depth_protocol(dataset)
    return (*(STREET if with_labels else ()), depth, f"{depth}/median", "lidar/scan", "static/next")


def parse_protocols(text: str) -> tuple[str, ...]:
    """Return the protocols that a comma-separated list names, each once, in its order.

    Raises:
        UserError: Where a name is empty or unknown; the message holds the nearest names and all that are known.
    """
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in PROTOCOLS:
            near = difflib.get_close_matches(name, PROTOCOLS, n=2, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(
                f"--protocol: expected names of protocols separated by commas, got {name!r}{hint}\n"
                f"known protocols: {', '.join(PROTOCOLS)}"
            )
    return tuple(dict.fromkeys(names))


def protocol_lines(protocols: Sequence[str]) -> str:
    """Return a line per protocol that says what it counts: the legend of a table of numbers."""
    return "\n".join(f"{name}: {PROTOCOLS[name].description}" for name in protocols)
