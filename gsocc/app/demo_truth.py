"""What the exact truth of a synthetic world says of the demo's own yardsticks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gsocc.app.stage1_report import stage1_row

if TYPE_CHECKING:
    from gsocc.datasets.index import SurroundIndex

_FRAMES = 48  # held-out key frames that are looked at
_SKY_M = 1000.0


def exact_depth_row(world: Path) -> dict[str, Any]:
    """Return the row of a network that knew the exact depth of every pixel of a world in DDAD's format.

    It is not perfect: LiDAR looks from the roof, past what a camera sees, and at another moment. No network can do
    better against it but by luck.

    Args:
        world: Folder of a world that was written with its exact truth.
    """
    from gsocc.datasets.ddad import DdadDataset
    from gsocc.datasets.loader import batches_of_one, evenly_spread
    from gsocc.metrics import DepthMetric
    from gsocc.metrics.families import visible_depth
    from gsocc.metrics.protocols import DEPTH_LIMIT_M, depth_protocol

    frames = DdadDataset(
        root=world, split="val", image_size=(32, 52), frame_ids=(0,), parts={"lidar_depth", "self_mask"}
    )
    protocol = depth_protocol("ddad")
    whole, visible = (
        DepthMetric(frames.camera_names, max_m=float(DEPTH_LIMIT_M["ddad"]), protocol=protocol + suffix)
        for suffix in ("", "/self_mask")
    )
    for batch in batches_of_one(frames, evenly_spread(len(frames), _FRAMES), "exact depth"):
        assert batch.lidar_depth_m is not None and batch.valid_mask is not None
        exact = _exact_depth(world, batch.tokens[0], frames.camera_names)
        whole.update(exact, batch.lidar_depth_m)
        visible.update(exact, visible_depth(batch.lidar_depth_m, batch.valid_mask))
    return stage1_row("exact_depth", None, "", whole.compute() | visible.compute())


def mask_overlaps(index: "SurroundIndex", masks: Path, exact: Path, scenes: Sequence[str]) -> list[float]:
    """Return the intersection over union of estimated and exact masks, one number per camera and scene."""
    from gsocc.datasets.derived.layout import layout_of
    from gsocc.datasets.derived.masks import read_mask
    from gsocc.datasets.derived.static_pixels import overlap

    layout = layout_of(index.source.dataset)
    names = [(camera, scene) for camera in index.cameras for scene in scenes]
    pairs = [tuple(read_mask(layout.mask(folder, *name), layout) for folder in (masks, exact)) for name in names]
    return [overlap(ours, theirs) for ours, theirs in pairs]


def _exact_depth(world: Path, token: str, cameras: tuple[str, ...]) -> torch.Tensor:
    """Read the exact depth of a sample's images, (1, V, H, W); the sky is far away."""
    from gsocc.files import read_npz

    scene, stamp = token.split("_")
    views = [read_npz(world / "truth" / "views" / scene / camera / f"{stamp}.npz")["depth_m"] for camera in cameras]
    depth_m = np.stack(views).astype(np.float32)
    return torch.from_numpy(np.where(depth_m > 0, depth_m, _SKY_M).astype(np.float32))[None]
