"""A trained network at work: images in, lattice and rendering out."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gsocc.fields.occupancy import OccupancyField
from gsocc.structures import RenderOutput, SurroundBatch
from occ_stage.config import OccConfig
from occ_stage.model import (
    build_field_renderer,
    build_grid,
    class_ids,
    occ3d_prediction,
    rendered_depth,
    rendered_labels,
)

_HIT = 0.01  # below this opacity a pixel has no depth of its own and reads as far


@dataclass(frozen=True)
class Frame:
    """What the model says of one key frame; batch of one.

    Attributes:
        occupancy: Probability on the Occ3D lattice.
        classes: Occ3D id that a voxel has if it is occupied.
        depth_m: Depth at the render size.
        output: The rendering it came from.
        render_seconds: Wall time of drawing all cameras.
    """

    occupancy: Tensor
    classes: Tensor
    depth_m: Tensor
    output: RenderOutput
    render_seconds: float


class Predictor:
    """A network with the settings of its run: images in, lattice and rendering out."""

    def __init__(self, model: nn.Module, config: OccConfig, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.config = config
        self.device = device
        self.grid = build_grid(config)
        self.ids = class_ids(config.model)
        self.renderer = build_field_renderer(config)

    @torch.no_grad()
    def __call__(self, batch: SurroundBatch) -> Frame:
        """Predict one key frame (a batch of one).

        Depth is normalised by opacity: LiDAR returns lie on surfaces, so what passes through is not background. With
        the switch `accumulated_depth` it is what the losses saw, as in the releases.
        """
        objective, evaluation = self.config.objective, self.config.evaluation
        batch = batch.to(self.device)
        field_ = self.field(batch)
        occupancy, classes = occ3d_prediction(field_, self.ids, evaluation.lattice, evaluation.decision)
        self._synchronize()
        start = time.perf_counter()
        output = self.renderer(field_, batch.rig)
        self._synchronize()
        seconds = time.perf_counter() - start
        if self.config.on("accumulated_depth"):
            depth_m = rendered_depth(output, objective, accumulated=True, limits_m=self.renderer.depth_limits_m)
        else:
            depth_m = torch.where(output.opacity > _HIT, output.depth_m, objective.far_m)
            if self.renderer.depth_limits_m is not None:
                depth_m = depth_m.clamp(*self.renderer.depth_limits_m)
        return Frame(occupancy, classes, depth_m, output, seconds)

    @torch.no_grad()
    def field(self, batch: SurroundBatch) -> OccupancyField:
        """Return what the network says of the space around a rig, on its own grid."""
        batch = batch.to(self.device)
        logits = self.model(batch.network_images, batch.intrinsics, batch.cam_to_ego)
        return self.renderer.field(self.grid, logits)

    def rendered_labels(self, frame: Frame) -> Tensor:
        """Return the Occ3D id of every rendered pixel (B, V, h, w); 17 where the sky shows."""
        return rendered_labels(frame.output, self.ids, self.config.objective.drawn_sky_logit)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
