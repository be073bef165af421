"""The configuration of a stage-2 run; one YAML file describes it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from gsocc.config import Config
from gsocc.datasets.split import SurroundDataConfig
from gsocc.engine.config import TrainConfig
from gsocc.labels import NUM_OCC3D_LABELS, OCC3D_CLASSES
from occ_stage.parity import SWITCHES, Parity, Switches

Size = tuple[int, int]  # H, W
Vec3 = tuple[float, float, float]


class GridConfig(Config):
    """The voxels, ego frame.

    Attributes:
        kind: "box" ends at its faces; "contracted" is regular in a box and coarser and coarser beyond, without end.
        min_m: Lower corner of the box.
        shape: Voxels along x, y, z; of "contracted" those beyond the box too.
        voxel_m: Of "box": edge lengths, by default 0.4 m.
        max_m: Of "contracted": upper corner of the regular box.
        inner: Of "contracted": share of each contracted axis that the regular box takes.
        lattice: Of "contracted": see `ContractedGrid`; "ends" is the published one.
    """

    kind: Literal["box", "contracted"] = "box"
    min_m: Vec3 = (-40.0, -40.0, -1.0)
    shape: tuple[int, int, int] = (200, 200, 16)
    voxel_m: Vec3 | None = None
    max_m: Vec3 | None = None
    inner: float = Field(default=2.0 / 3.0, gt=0, lt=1)
    lattice: Literal["cells", "ends"] = "cells"

    @model_validator(mode="after")
    def _keys_fit_kind(self) -> "GridConfig":
        if self.kind == "box" and self.max_m is not None:
            raise ValueError("max_m belongs to grid.kind: contracted; a box follows from min_m, shape and voxel_m")
        if self.kind == "contracted" and (self.max_m is None or self.voxel_m is not None):
            raise ValueError("grid.kind: contracted takes min_m and max_m of its regular box and shape, not voxel_m")
        return self


class ModelConfig(Config):
    """The network.

    Attributes:
        backbone: See `build_backbone`.
        backbone_weights: torchvision's ImageNet weights of a ResNet.
        backbone_levels: Pyramid levels of the backbone that are used, from stride 4 on.
        norm: Normalisation of the backbone.
        neck: "pyramid", or "upsample", that of OccNeRF and GaussianOcc, for three levels.
        pyramid_width: Channels inside the neck; 256 in the releases.
        lift_channels: Channels that are lifted into the voxels.
        voxel_embedding: Multiply what is lifted with a learned number per voxel and channel (OccNeRF).
        decoder: Network on the voxels.
        voxel_precision: Under training.precision 16-mixed or bf16-mixed: "full" keeps the network on the voxels in
            float32, as the releases do.
        recompute_voxels: Compute the activations of the network on the voxels again in the backward pass instead of
            keeping them: less memory, more time.
        initial_occupancy: Of every voxel before training; 0.5 is that of the releases.
        logit_gain: Factor on the free-space logit.
        last_channel: What the logit of the last channel says of a voxel: that it is "free" or "solid". Of "solid"
            the sky has no channel to be drawn from, see `objective.sky`.
        classes: Semantic channels, names of Occ3D; none for a network that knows only free and occupied.
    """

    backbone: str = "resnet50"
    backbone_weights: Path | None = None
    backbone_levels: int = Field(default=3, ge=1, le=4)
    norm: Literal["batch", "group"] = "batch"
    neck: Literal["pyramid", "upsample"] = "pyramid"
    pyramid_width: int = 128
    lift_channels: int = 64
    voxel_embedding: bool = False
    decoder: Literal["bev_unet", "hourglass3d"] = "hourglass3d"
    voxel_precision: Literal["mixed", "full"] = "mixed"
    recompute_voxels: bool = False
    initial_occupancy: float = 0.05
    logit_gain: float = 1.0
    last_channel: Literal["free", "solid"] = "free"
    classes: tuple[str, ...] = tuple(c for c in OCC3D_CLASSES if c not in ("others", "other_flat"))

    @model_validator(mode="after")
    def _classes_exist(self) -> "ModelConfig":
        unknown = [c for c in self.classes if c not in OCC3D_CLASSES]
        if unknown:
            raise ValueError(f"unknown classes {unknown}; the Occ3D classes are {', '.join(OCC3D_CLASSES)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"a class is listed twice in {self.classes}")
        return self


class RendererConfig(Config):
    """How the field is drawn into the cameras.

    Attributes:
        name: See `gsocc.renderers`.
        size: Of the drawn images.
        scale_fraction: Standard deviation of a Gaussian over the voxel edge; splats. Of a contracted grid those of its
            box, unless `scale_tiers` is "voxel".
        scale_m: Standard deviation in metres, the same along all axes; splats. None takes `scale_fraction`.
        scale_tiers: With `scale_m`: pairs (distance from the ego origin in metres, factor); of those whose distance is
            exceeded the last counts. Without: "voxel" makes Gaussians of a contracted grid grow with their voxels.
        floor_m: Height in the ego frame below which voxel centres are free, whatever the network says. A contracted
            grid goes on below the road without end; what light passes the road there reads as far away.
        ray_rule: How volume renderers turn the field into weights: "exponential", or OccNeRF's "saturating_logits"; of
            "saturating_sum" probabilities are interpolated instead of their logits.
        rest_at_last: Of the latter two: the last sample stops what is left of a ray.
        options: Passed to `build_renderer`.
    """

    name: Literal["splat_gsplat", "splat_cpu", "splat_torch", "volume", "volume_cpu"] = "splat_gsplat"
    size: Size = (180, 320)
    scale_fraction: Vec3 = (0.5, 0.5, 0.5)
    scale_m: float | None = Field(default=None, gt=0)
    scale_tiers: tuple[tuple[float, float], ...] | Literal["voxel"] = ()
    floor_m: float | None = None
    ray_rule: Literal["exponential", "saturating_sum", "saturating_logits"] = "exponential"
    rest_at_last: bool = False
    options: dict[str, float | int | str | bool] = Field(default_factory=dict)


class ObjectiveConfig(Config):
    """Loss terms and their weights; 0 turns a term off.

    Attributes:
        photometric: Weight of the reprojection of neighbouring images.
        ssim_weight: Share of SSIM in it.
        photo_size: Size at which images are compared; default: the render size.
        photo_levels: Halved sizes that are compared too: a wider basin.
        automask: Leave out pixels that an unwarped neighbour explains better.
        mask_sky: Leave out pixels labelled sky: their depth is not defined.
        auxiliary_views: Draw the field also into the cameras of the neighbouring times, and compare those images with
            their own neighbours (OccNeRF's depth recipe). Needs an index of reach 2.
        smoothness: Weight of the smoothness of disparity.
        semantic: Weight of the cross-entropy against 2-D labels.
        class_weight_power: Class weight = frequency ** -power.
        class_frequencies: One per Occ3D id and, last, sky; default: counted on training images.
        sky: "opacity": the logit of sky is `sky_logit` (1 - opacity). "free_logit": the free-space logit of the voxels
            is drawn as one more channel, and sky is that (the releases).
        sky_logit: Logit of the sky channel where nothing is hit.
        far_m: Depth of the background behind everything.
        depth_range_m: Least and greatest depth that losses see.
        total_variation: Weight of the total variation.
        total_variation_of: Of the occupancy probability, or of all logits (GaussianOcc).
        entropy: Weight of the entropy of the occupancy probability of voxels.
        entropy_form: "binary", or "half", its first summand alone (GaussianOcc).
        distortion: Weight of the distortion loss along rays; volume renderers with option `weights`.
        ray_entropy: Weight of the binary entropy of a ray's opacity.
        sparsity: Weight of a cross-entropy that pushes voxels towards empty.
    """

    photometric: float = 1.0
    ssim_weight: float = 0.85
    photo_size: Size | None = None
    photo_levels: int = Field(default=1, ge=1, le=5)
    automask: bool = True
    mask_sky: bool = False
    auxiliary_views: bool = False
    smoothness: float = 0.001
    semantic: float = 0.05
    class_weight_power: float = 0.5
    class_frequencies: tuple[float, ...] | None = Field(
        default=None, min_length=NUM_OCC3D_LABELS, max_length=NUM_OCC3D_LABELS
    )
    sky: Literal["opacity", "free_logit"] = "opacity"
    sky_logit: float = 10.0
    far_m: float = 80.0
    depth_range_m: tuple[float, float] | None = None
    total_variation: float = 0.01
    total_variation_of: Literal["occupancy", "logits"] = "occupancy"
    entropy: float = 0.0
    entropy_form: Literal["binary", "half"] = "binary"
    distortion: float = 0.0
    ray_entropy: float = 0.0
    sparsity: float = 0.0

    @property
    def drawn_sky_logit(self) -> float | None:
        """`sky_logit`, or None where the free-space logit is drawn."""
        return None if self.sky == "free_logit" else self.sky_logit


class PoseConfig(Config):
    """Where the motion between neighbouring frames comes from, by which images are compared.

    Attributes:
        source: "ground_truth" is the data set's, "stage1" asks the network of a stage-1 checkpoint, "file" reads what
            `gsocc predict pose` wrote.
        checkpoint: Of "stage1": a run directory or a checkpoint folder.
        file: Of "file".
        readout: Of "stage1": another read-out than the checkpoint's own.
        identity: Which weights and read-out the motion comes from. Filled in when a run starts; where it is given, the
            checkpoint or file must be that one.
    """

    source: Literal["ground_truth", "stage1", "file"] = "ground_truth"
    checkpoint: Path | None = None
    file: Path | None = None
    readout: Literal["network", "geometric"] | None = None
    identity: str | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> "PoseConfig":
        needed = {"stage1": "checkpoint", "file": "file"}.get(self.source)
        given = [name for name in ("checkpoint", "file") if getattr(self, name) is not None]
        if needed and needed not in given:
            what = {
                "checkpoint": "a stage-1 run or checkpoint folder, which `gsocc train pose` makes",
                "file": "a motion file, which `gsocc predict pose` writes",
            }[needed]
            raise ValueError(f"pose.source: {self.source} needs pose.{needed}: {what}")
        surplus = [name for name in given if name != needed]
        if surplus:
            raise ValueError(
                f"pose.{surplus[0]} is given, but pose.source: {self.source} does not read it; "
                f"set pose.source: {'stage1' if surplus[0] == 'checkpoint' else 'file'}, or leave it out "
                f"(pose.{surplus[0]}=null takes back what a file sets)"
            )
        if self.readout is not None and self.source != "stage1":
            raise ValueError(f"pose.readout belongs to pose.source: stage1, got pose.source: {self.source}")
        return self

    @property
    def label(self) -> str:
        """What every score of the run says about its motion."""
        if self.source == "ground_truth":
            return "ground truth"
        read = ", read from a file" if self.source == "file" else ""
        return f"stage1 {self.identity or 'of unknown weights'}{read}"


class EvaluationConfig(Config):
    """What is measured, and on which frames."""

    frames: Literal["split", "all_3950", "unique_3802"] = "split"  # of the validation split; the latter two are DDAD's
    max_samples: int | None = None  # of these, evenly spread; all by default
    validation_samples: int = 64  # used while training
    decision: Literal["threshold", "argmax"] = "threshold"  # argmax over the classes and free: the releases
    threshold: float | None = None  # occupancy threshold; chosen on training samples by default
    threshold_samples: int = 32
    # On training frames: by their 3-D labels (iou drops every object for a cleaner ground), or by their LiDAR.
    threshold_criterion: Literal["iou", "miou", "scan"] | None = None
    lattice: Literal["nearest", "trilinear"] = "nearest"  # how the field is read at Occ3D voxel centres
    depth_size: Size | None = None  # default: native image size
    ground_z_m: float = 0.0  # height whose voxel layer is the ground; -0.8 in the labels of real nuScenes

    @model_validator(mode="before")
    @classmethod
    def _argmax_needs_no_threshold(cls, values: Any) -> Any:
        # Occupancy after an argmax is 0 or 1; one half says so wherever a threshold is asked for.
        if isinstance(values, dict) and values.get("decision") == "argmax" and values.get("threshold") is None:
            return {**values, "threshold": 0.5}
        return values


class OccConfig(Config):
    """A stage-2 run.

    `parity:` is a preset over `switches:`, the behaviours of a release that are off by default.
    """

    name: str
    parity: Parity | None = None
    switches: Switches = Switches()
    data: SurroundDataConfig
    training: TrainConfig
    grid: GridConfig = GridConfig()
    model: ModelConfig = ModelConfig()
    renderer: RendererConfig = RendererConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    pose: PoseConfig = PoseConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def on(self, switch: str) -> bool:
        """Return whether a switch of `occ_stage.parity.SWITCHES` is on."""
        return self.switches.on(switch, self.parity)

    @property
    def switches_on(self) -> frozenset[str]:
        """Names of the switches that are on."""
        return frozenset(name for name in SWITCHES if self.on(name))

    @property
    def threshold_criterion(self) -> Literal["iou", "miou", "scan"]:
        """What the occupancy threshold is chosen by: unless the run says so, "miou", and "iou" without classes."""
        return self.evaluation.threshold_criterion or ("miou" if self.model.classes else "iou")

    @model_validator(mode="after")
    def _sections_agree(self) -> "OccConfig":
        if self.objective.auxiliary_views and self.pose.source != "ground_truth":
            raise ValueError(
                "objective.auxiliary_views needs the motion between all neighbouring images, which only "
                f"pose.source: ground_truth knows, got pose.source: {self.pose.source}"
            )
        if self.evaluation.frames != "split" and self.data.dataset != "ddad":
            raise ValueError(
                f"evaluation.frames: {self.evaluation.frames} is a list of DDAD's, but data.dataset is "
                f"{self.data.dataset}; use split"
            )
        if self.objective.semantic and not self.model.classes:
            raise ValueError("objective.semantic is not 0, but model.classes is empty; name classes, or set it to 0")
        if self.threshold_criterion == "miou" and not self.model.classes:
            raise ValueError(
                "evaluation.threshold_criterion: miou compares classes, but model.classes is empty; name classes, or "
                "leave it out for iou"
            )
        if self.objective.sky == "free_logit" and self.model.last_channel == "solid":
            raise ValueError(
                "objective.sky: free_logit draws the logit of being free, which a network with model.last_channel: "
                "solid does not have; use objective.sky: opacity, or model.last_channel: free"
            )
        if self.objective.distortion and self.renderer.name != "volume":
            raise ValueError(
                "objective.distortion needs the weights along rays, which only renderer.name: volume gives, got "
                f"{self.renderer.name}; use that one, or set objective.distortion to 0"
            )
        return self
