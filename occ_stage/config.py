"""The configuration of a stage-2 run; one YAML file describes it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from gsocc.config import Config
from gsocc.datasets.split import SurroundDataConfig
from gsocc.engine.config import TrainConfig
from gsocc.labels import OCC3D_CLASSES

Size = tuple[int, int]  # H, W
Vec3 = tuple[float, float, float]


class GridConfig(Config):
    """The voxels, ego frame."""

    min_m: Vec3 = (-40.0, -40.0, -1.0)
    shape: tuple[int, int, int] = (200, 200, 16)
    voxel_m: Vec3 = (0.4, 0.4, 0.4)


class ModelConfig(Config):
    """The network."""

    backbone: str = "resnet50"
    backbone_weights: Path | None = None  # torchvision's ImageNet .pth
    backbone_levels: int = Field(default=3, ge=1, le=4)
    norm: Literal["batch", "group"] = "batch"
    pyramid_width: int = 128
    lift_channels: int = 64
    decoder: Literal["bev_unet", "hourglass3d"] = "hourglass3d"
    initial_occupancy: float = 0.05
    logit_gain: float = 1.0
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
    """How the field is drawn into the cameras."""

    name: Literal["splat_gsplat", "splat_cpu", "splat_torch", "volume", "volume_cpu"] = "splat_gsplat"
    size: Size = (180, 320)
    scale_fraction: Vec3 = (0.5, 0.5, 0.5)  # sigma of a Gaussian over the voxel edge; splats only
    options: dict[str, float | int | str | bool] = Field(default_factory=dict)  # passed to build_renderer


class ObjectiveConfig(Config):
    """Loss terms and their weights; 0 turns a term off."""

    photometric: float = 1.0
    ssim_weight: float = 0.85
    photo_size: Size | None = None  # default: the render size
    photo_levels: int = Field(default=1, ge=1, le=5)  # halved sizes that are compared too: a wider basin
    automask: bool = True
    mask_sky: bool = False  # leave out pixels labelled sky: their depth is not defined
    smoothness: float = 0.001
    semantic: float = 0.05
    class_weight_power: float = 0.5  # weight = frequency ** -power
    sky_logit: float = 10.0  # logit of the sky channel where nothing is hit; scaled by 1 - opacity
    far_m: float = 80.0  # depth of the background behind everything
    total_variation: float = 0.01  # of the occupancy probability
    entropy: float = 0.0  # of the occupancy probability


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
                f"set pose.source: {'stage1' if surplus[0] == 'checkpoint' else 'file'}, or leave it out"
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

    max_samples: int | None = None  # of the validation split, evenly spread; all by default
    validation_samples: int = 64  # used while training
    threshold: float | None = None  # occupancy threshold; chosen on training samples by default
    threshold_samples: int = 32
    threshold_criterion: Literal["iou", "miou"] = "iou"
    lattice: Literal["nearest", "trilinear"] = "nearest"  # how the field is read at Occ3D voxel centres
    depth_size: Size | None = None  # default: native image size
    ground_z_m: float = 0.0  # height whose voxel layer is the ground; -0.8 in the labels of real nuScenes


class OccConfig(Config):
    """A stage-2 run."""

    name: str
    data: SurroundDataConfig
    training: TrainConfig
    grid: GridConfig = GridConfig()
    model: ModelConfig = ModelConfig()
    renderer: RendererConfig = RendererConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    pose: PoseConfig = PoseConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
