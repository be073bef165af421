"""Pictures of what a run predicts, for TensorBoard and reports."""

import numpy as np
import torch
from torch import nn

from gsocc.networks.pose_depth_net import PoseDepthNet
from gsocc.structures import SurroundBatch
from gsocc.viewer.panels import surround_panel


@torch.no_grad()
def training_panels(model: nn.Module, batch: SurroundBatch, camera_names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Draw the first sample of a batch: images and predicted depth, true depth where the batch has it."""
    assert isinstance(model, PoseDepthNet)
    first = batch.item(0)
    depth_m = model.depth(first.images[:, 0], first.rig, first.flow_px)
    return {"cameras": depth_panel(first, depth_m[0].cpu().numpy(), camera_names)}


def depth_panel(batch: SurroundBatch, depth_m: np.ndarray, camera_names: tuple[str, ...]) -> np.ndarray:
    """Draw images, predicted depth (V, H, W) and, where there is one, true depth of a batch of one."""
    images = (batch.images[0, 0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    truth = batch.lidar_depth_m
    return surround_panel(
        camera_names,
        images.cpu().numpy(),
        depth_m=depth_m,
        true_depth_m=None if truth is None else truth[0].cpu().numpy(),
        width=1200,
    )
