"""A moment of the synthetic world with exact depth, at the size that the demo trains at."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from gsocc.structures import CameraRig

SIZE = (64, 112)


@dataclass(frozen=True)
class Moment:
    """Six images, what they show and the cameras that took them.

    Attributes:
        images: RGB in [0, 1], (1, V, 3, H, W).
        depth_m: Exact depth, 80 m where the sky is, (1, V, H, W).
        rig: The cameras.
    """

    images: Tensor
    depth_m: Tensor
    rig: CameraRig


@pytest.fixture(scope="session")
def moment() -> Moment:
    """Return one snapshot of a residential street."""
    from gsocc.datasets.world.presets import BUILDERS
    from gsocc.datasets.world.render import render_view
    from gsocc.datasets.world.sensors import cameras

    rig = cameras(SIZE)
    snapshot = BUILDERS["moderate"](np.random.default_rng(3), 2.0).snapshot(1.0)
    views = [render_view(snapshot, camera) for camera in rig]
    images = np.stack([view.image for view in views]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    depth = np.stack([view.depth_m for view in views]).astype(np.float32)
    depth = np.where((depth > 0) & (depth < 80), depth, 80.0)
    intrinsics = np.stack([camera.intrinsics for camera in rig]).astype(np.float32)
    poses = np.stack([camera.cam_to_ego for camera in rig]).astype(np.float32)
    return Moment(
        torch.from_numpy(images)[None],
        torch.from_numpy(depth).float()[None],
        CameraRig(torch.from_numpy(intrinsics)[None], torch.from_numpy(poses)[None], SIZE),
    )
