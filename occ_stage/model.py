"""Parts of a stage-2 run, built from its configuration."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gsocc.fields.occupancy import OccupancyField
from gsocc.geometry.sampling import sample_volume
from gsocc.labels import FREE, OCC3D_ID
from gsocc.networks.backbones import build_backbone
from gsocc.networks.occupancy_net import OccupancyNet
from gsocc.renderers import build_renderer
from gsocc.structures import OCC3D_GRID, CameraRig, RenderOutput, VoxelGrid
from occ_stage.config import ModelConfig, OccConfig, RendererConfig


def build_grid(config: OccConfig) -> VoxelGrid:
    """Build the voxel grid of a run."""
    grid = config.grid
    return VoxelGrid(grid.min_m, grid.shape, grid.voxel_m or (0.4, 0.4, 0.4))


def build_model(config: OccConfig) -> OccupancyNet:
    """Build the network of a run, randomly initialised but for the backbone weights that it names."""
    model = config.model
    backbone = build_backbone(
        model.backbone, levels=model.backbone_levels, weights=model.backbone_weights, norm=model.norm
    )
    return OccupancyNet(
        backbone,
        build_grid(config),
        num_classes=len(model.classes),
        pyramid_width=model.pyramid_width,
        lift_channels=model.lift_channels,
        decoder=model.decoder,
        initial_occupancy=model.initial_occupancy,
        logit_gain=model.logit_gain,
    )


def class_ids(model: ModelConfig) -> list[int]:
    """Return the Occ3D id of each class channel."""
    return [OCC3D_ID[name] for name in model.classes]


class FieldRenderer:
    """Draws a field as a run asks for it: as Gaussians with a splat, along rays with a volume renderer."""

    def __init__(self, config: RendererConfig) -> None:
        self.size = config.size
        self.splats = config.name.startswith("splat")
        self.scale_fraction = config.scale_fraction
        options: dict[str, Any] = dict(config.options)
        self.renderer = build_renderer(config.name, **options)

    def __call__(self, field: OccupancyField, rig: CameraRig) -> RenderOutput:
        """Render into the cameras of `rig` at the run's render size."""
        scene = field.to_gaussians(self.scale_fraction) if self.splats else field
        return self.renderer.render(scene, rig.resized(self.size))


def depth_with_background(out: RenderOutput, far_m: float) -> Float[Tensor, "B V H W"]:
    """Return the expected depth where the light that passes everything comes from `far_m`.

    ``sum(w z) + (1 - opacity) far``: a pixel that is barely covered reads as far, not as near, and lowering or
    raising its opacity moves its depth, which the normalised depth would not do.
    """
    return out.depth_sum_m + (1 - out.opacity) * far_m


def semantic_logits(out: RenderOutput, sky_logit: float) -> Float[Tensor, "B V L H W"]:
    """Return rendered class logits and, as the last channel, that of the sky: what is seen where nothing is hit."""
    return torch.cat([out.features, sky_logit * (1 - out.opacity)[:, :, None]], 2)


def rendered_labels(out: RenderOutput, ids: list[int], sky_logit: float) -> Int[Tensor, "B V H W"]:
    """Return the Occ3D id of every pixel; 17 where the sky shows."""
    table = torch.tensor([*ids, FREE], device=out.opacity.device)
    return table[semantic_logits(out, sky_logit).argmax(2)]


@torch.no_grad()
def occ3d_prediction(field: OccupancyField, ids: list[int], lattice: str) -> tuple[Float[Tensor, "B X Y Z"], Tensor]:
    """Read a field at the voxel centres of Occ3D.

    Args:
        field: Any grid; lattice points outside it are free.
        ids: Occ3D id of each class channel.
        lattice: "nearest" or "trilinear".

    Returns:
        occupancy: Probability in [0, 1] on `OCC3D_GRID`.
        classes: Occ3D id (uint8) that a voxel has if it is occupied.
    """
    points = OCC3D_GRID.centers_m(field.free_logits.device).reshape(1, -1, 3)
    points = points.expand(len(field.free_logits), -1, -1)
    mode = "nearest" if lattice == "nearest" else "bilinear"
    occupancy = sample_volume(field.occupancy()[:, None], field.grid, points, mode)[:, 0]
    logits = sample_volume(field.class_logits, field.grid, points, mode)
    table = torch.tensor(ids, dtype=torch.uint8, device=logits.device)
    return occupancy.unflatten(1, OCC3D_GRID.shape), table[logits.argmax(1)].unflatten(1, OCC3D_GRID.shape)


def threshold_labels(occupancy: Tensor, classes: Tensor, threshold: float) -> Tensor:
    """Return Occ3D labels: the class where `occupancy` reaches the threshold, free elsewhere."""
    return torch.where(occupancy >= threshold, classes, torch.full_like(classes, FREE))
