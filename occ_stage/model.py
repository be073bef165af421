"""Parts of a stage-2 run, built from its configuration."""

from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gsocc.fields.occupancy import OccupancyField
from gsocc.fields.ray_rules import EXPONENTIAL, Exponential, SaturatingLogits, SaturatingSum
from gsocc.geometry.sampling import inside_grid, sample_volume
from gsocc.labels import FREE, OCC3D_ID
from gsocc.networks.backbones import build_backbone
from gsocc.networks.occupancy_net import OccupancyNet
from gsocc.renderers import build_renderer
from gsocc.renderers.volume import Volume
from gsocc.structures import (
    OCC3D_GRID,
    CameraRig,
    ContractedGrid,
    RenderOutput,
    VoxelGaussians,
    VoxelGrid,
    scale_fraction_of,
)
from occ_stage.config import ModelConfig, ObjectiveConfig, OccConfig, RendererConfig

RELEASED_DEPTH_LIMITS_M = (0.1, 80.0)  # of GaussianOcc's splats
_FLOW_CHANNELS = 3  # outputs of its head for flow
_BACKGROUND = 3  # numbers that its rasteriser is given as background
_SURELY_FREE = 20.0  # logit whose opacity no renderer draws
_UNKNOWN_CLASS = OCC3D_ID["others"]  # what an occupied voxel is to a network without classes


def build_grid(config: OccConfig) -> VoxelGrid | ContractedGrid:
    """Build the voxel grid of a run."""
    grid = config.grid
    if grid.max_m is not None:
        return ContractedGrid(grid.min_m, grid.max_m, grid.shape, grid.inner, grid.lattice)
    return VoxelGrid(grid.min_m, grid.shape, grid.voxel_m or (0.4, 0.4, 0.4))


def build_model(config: OccConfig) -> OccupancyNet:
    """Build the network of a run, randomly initialised but for the backbone weights that it names."""
    model = config.model
    splats = config.renderer.name.startswith("splat")
    spare = _FLOW_CHANNELS if splats and not model.classes and config.on("flow_channel_opacity") else 0
    backbone = build_backbone(
        model.backbone, levels=model.backbone_levels, weights=model.backbone_weights, norm=model.norm
    )
    return OccupancyNet(
        backbone,
        build_grid(config),
        num_classes=len(model.classes) + spare,
        neck=model.neck,
        pyramid_width=model.pyramid_width,
        lift_channels=model.lift_channels,
        lift="released" if config.on("mixed_align_corners") else "half_pixel",
        voxel_embedding=model.voxel_embedding,
        decoder=model.decoder,
        initial_occupancy=model.initial_occupancy,
        logit_gain=model.logit_gain,
        last_channel=model.last_channel,
        full_precision_voxels=model.voxel_precision == "full",
        recompute_voxels=model.recompute_voxels,
    )


def class_ids(model: ModelConfig) -> list[int]:
    """Return the Occ3D id of each class channel."""
    return [OCC3D_ID[name] for name in model.classes]


class FieldRenderer:
    """Draws a field as a run asks for it: as Gaussians with a splat, along rays with a volume renderer.

    Args:
        config: The renderer of the run.
        draw_free: Composite the free-space logit too, as the last channel.
        last_channel: What the last logit of the network says of a voxel: that it is "free" or "solid".
        inverted: Draw what is free as solid, and what is solid as free: the switch `inverted_opacity`.
        depth_limits_m: What depth is clamped to wherever it is used: the switch `clamp_at_80_m`.
        **options: Of the renderer, beside those of `config`.
    """

    def __init__(
        self,
        config: RendererConfig,
        *,
        draw_free: bool = False,
        last_channel: Literal["free", "solid"] = "free",
        inverted: bool = False,
        depth_limits_m: tuple[float, float] | None = None,
        **options: Any,
    ) -> None:
        self.size = config.size
        self.splats = config.name.startswith("splat")
        self.scale_fraction, self.scale_m, self.tiers = config.scale_fraction, config.scale_m, config.scale_tiers
        self.floor_m = config.floor_m
        self.draw_free, self.last_channel, self.inverted = draw_free, last_channel, inverted
        self.depth_limits_m = depth_limits_m
        self.ray_rule: Exponential | SaturatingSum | SaturatingLogits = EXPONENTIAL
        if config.ray_rule != "exponential":
            rule = SaturatingSum if config.ray_rule == "saturating_sum" else SaturatingLogits
            self.ray_rule = rule(rest_at_last=config.rest_at_last)
        self.renderer = build_renderer(config.name, **{**config.options, **options})

    def field(self, grid: VoxelGrid | ContractedGrid, logits: Float[Tensor, "B L X Y Z"]) -> OccupancyField:
        """Return what the network's output stands for; below the run's floor all is free."""
        free_logits = logits[:, -1] if self.last_channel == "free" else -logits[:, -1]
        features = logits if self.draw_free else logits[:, :-1]
        return OccupancyField(grid, self._with_floor(grid, free_logits), features, self.ray_rule)

    def _with_floor(self, grid: VoxelGrid | ContractedGrid, free_logits: Tensor) -> Tensor:
        if self.floor_m is None:
            return free_logits
        below = grid.centers_m(free_logits.device)[..., 2] < self.floor_m
        return free_logits.masked_fill(below, _SURELY_FREE)

    def drawn_field(self, field: OccupancyField) -> OccupancyField:
        """Return the field whose opacity is drawn, and which regularisers see: the same, unless `inverted`."""
        if not self.inverted:
            return field
        return replace(field, free_logits=self._with_floor(field.grid, -field.free_logits))

    def __call__(self, field: OccupancyField, rig: CameraRig, *, jitter: bool = False) -> RenderOutput:
        """Render into the cameras of `rig` at the run's render size.

        Args:
            field: What is drawn.
            rig: The cameras, at any size.
            jitter: Shift the samples of each ray, where the renderer has an option `jitter_m`; drawn from torch's own
                generator, which training seeds in every step.
        """
        rig, field = rig.resized(self.size), self.drawn_field(field)
        if jitter and isinstance(self.renderer, Volume):
            return self.renderer.render(field, rig, torch.default_generator)
        if not self.splats:
            return self.renderer.render(field, rig)
        return self.renderer.render(self._gaussians(field), rig)

    def gaussians(self, field: OccupancyField) -> VoxelGaussians:
        """Return the Gaussians that a field is drawn as; of a volume renderer, those that a splat would draw."""
        return self._gaussians(self.drawn_field(field))

    def _gaussians(self, field: OccupancyField) -> VoxelGaussians:
        fraction = self.scale_fraction if self.scale_m is None else scale_fraction_of(field.grid, self.scale_m)
        return field.to_gaussians(fraction, self.tiers)


def build_field_renderer(config: OccConfig) -> FieldRenderer:
    """Build the renderer of a run, with what its losses and switches ask of it."""
    options: dict[str, Any] = {"last_channel": config.model.last_channel}
    splats, solid = config.renderer.name.startswith("splat"), config.model.last_channel == "solid"
    if splats and config.on("squeezed_footprint"):
        options["footprint"] = "released"
    if splats and config.on("clamp_at_80_m"):
        options["depth_limits_m"] = RELEASED_DEPTH_LIMITS_M
    options["inverted"] = splats and solid and config.on("inverted_opacity")
    if config.renderer.name == "volume" and config.on("half_precision_rays"):
        options["half"] = True
    if config.objective.distortion:
        options["weights"] = True
    return FieldRenderer(config.renderer, draw_free=config.objective.sky == "free_logit", **options)


def stale_background(config: OccConfig) -> Float[Tensor, " L"] | None:
    """Return what GaussianOcc's rasteriser takes for a background: the switch `stale_background`.

    It is given three zeros and reads one number per channel. What it finds in the memory behind them cannot be
    reproduced; here these are uniform in [0, 1], drawn once from the run's seed.

    Returns:
        One number per drawn channel, the first three zero; None where the switch is off, nothing is splatted, or no
        more than three channels are.
    """
    channels = len(config.model.classes) + (config.objective.sky == "free_logit")
    if not (config.on("stale_background") and config.renderer.name.startswith("splat")) or channels <= _BACKGROUND:
        return None
    values = torch.rand(channels, generator=torch.Generator().manual_seed(config.training.seed))
    values[:_BACKGROUND] = 0.0
    return values


def rendered_depth(
    out: RenderOutput,
    config: ObjectiveConfig,
    *,
    accumulated: bool,
    limits_m: tuple[float, float] | None = None,
) -> Float[Tensor, "B V H W"]:
    """Return the depth that losses see.

    ``sum(w z) + (1 - opacity) far``: a pixel that is barely covered reads as far, not as near, and lowering or
    raising its opacity moves its depth, which the normalised depth would not do.

    Args:
        out: What was drawn.
        config: Depth of the background, and the range that depths are clamped to.
        accumulated: Leave the background out: ``sum(w z)``, the switch `accumulated_depth`.
        limits_m: Clamp to these too: `FieldRenderer.depth_limits_m`.
    """
    depth_m = out.depth_sum_m
    if not accumulated:
        depth_m = depth_m + (1 - out.opacity) * config.far_m
    for limits in (config.depth_range_m, limits_m):
        depth_m = depth_m if limits is None else depth_m.clamp(*limits)
    return depth_m


def semantic_logits(out: RenderOutput, sky_logit: float | None) -> Float[Tensor, "B V L H W"]:
    """Return rendered class logits and, as the last channel, that of the sky: what is seen where nothing is hit.

    Without `sky_logit` it has been drawn, as the free-space logit.
    """
    if sky_logit is None:
        return out.features
    return torch.cat([out.features, sky_logit * (1 - out.opacity)[:, :, None]], 2)


def rendered_labels(out: RenderOutput, ids: list[int], sky_logit: float | None) -> Int[Tensor, "B V H W"]:
    """Return the Occ3D id of every pixel; 17 where the sky shows."""
    if not ids:
        return torch.where(out.opacity >= 0.5, _UNKNOWN_CLASS, FREE)
    table = torch.tensor([*ids, FREE], device=out.opacity.device)
    return table[semantic_logits(out, sky_logit).argmax(2)]


@torch.no_grad()
def occ3d_prediction(
    field: OccupancyField, ids: list[int], lattice: str, decision: str = "threshold"
) -> tuple[Float[Tensor, "B X Y Z"], Tensor]:
    """Read a field at the voxel centres of Occ3D.

    Args:
        field: Any grid; lattice points outside it are free.
        ids: Occ3D id of each class channel.
        lattice: "nearest" or "trilinear".
        decision: "threshold" leaves it to one; "argmax" compares the free-space logit with those of the classes.

    Returns:
        occupancy: Probability in [0, 1] on `OCC3D_GRID`; of "argmax" 0 or 1.
        classes: Occ3D id (uint8) that a voxel has if it is occupied.
    """
    points = OCC3D_GRID.centers_m(field.free_logits.device).reshape(1, -1, 3)
    points = points.expand(len(field.free_logits), -1, -1)
    mode = "nearest" if lattice == "nearest" else "bilinear"
    class_logits = sample_volume(field.class_logits[:, : len(ids)], field.grid, points, mode)
    if decision == "argmax":
        free = sample_volume(field.free_logits[:, None], field.grid, points, mode)[:, 0]
        best = class_logits.amax(1) if ids else torch.zeros_like(free)
        occupancy = ((best > free) & inside_grid(field.grid, points)).to(free.dtype)
    else:
        occupancy = sample_volume(field.occupancy()[:, None], field.grid, points, mode)[:, 0]
    if ids:
        classes = torch.tensor(ids, dtype=torch.uint8, device=occupancy.device)[class_logits.argmax(1)]
    else:
        classes = torch.full_like(occupancy, _UNKNOWN_CLASS, dtype=torch.uint8)
    return occupancy.unflatten(1, OCC3D_GRID.shape), classes.unflatten(1, OCC3D_GRID.shape)


def threshold_labels(occupancy: Tensor, classes: Tensor, threshold: float) -> Tensor:
    """Return Occ3D labels: the class where `occupancy` reaches the threshold, free elsewhere."""
    return torch.where(occupancy >= threshold, classes, torch.full_like(classes, FREE))
