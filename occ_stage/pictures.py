"""Pictures of what a run draws, for TensorBoard."""

import numpy as np
import torch
from torch import nn

from gsocc.structures import SurroundBatch
from gsocc.viewer.panels import surround_panel
from occ_stage.model import rendered_labels
from occ_stage.objective import OccObjective


@torch.no_grad()
def training_panels(
    model: nn.Module, batch: SurroundBatch, objective: OccObjective, camera_names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Draw the first sample of a batch: images, rendered depth and semantics, labels where the batch has them."""
    config = objective.config
    first = batch.item(0)
    logits = model(first.network_images, first.intrinsics, first.cam_to_ego)
    out = objective.renderer(objective.renderer.field(objective.grid, logits), first.rig)
    images = (first.images[0, 0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    labels = first.semantic_labels
    panel = surround_panel(
        camera_names,
        images.cpu().numpy(),
        depth_m=objective.depth(out)[0].cpu().numpy(),
        semantics=rendered_labels(out, objective.ids, config.drawn_sky_logit)[0].cpu().numpy()
        if config.semantic
        else None,
        true_semantics=None if labels is None else labels[0].cpu().numpy(),
        width=1200,
    )
    return {"cameras": panel}
