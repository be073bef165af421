"""The configuration of a stage-1 run; one YAML file describes it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from gsocc.config import Config
from gsocc.datasets.split import Size, SurroundDataConfig
from gsocc.engine.config import TrainConfig
from gsocc.networks.pose_depth_net import PoseDepthConfig


class DataConfig(SurroundDataConfig):
    """What is read. Ego poses in the data are used by the evaluation alone, and by `min_travel_m`."""

    image_size: Size = (224, 352)
    flow_cache: Path | None = None  # folder where optical flow is kept between epochs and runs


class GspConfig(Config):
    """Pixels as Gaussians, splatted into the neighbouring cameras at the same instant (GSP).

    Attributes:
        renderer: The splat that draws them.
        level: How often the image is halved before its pixels become Gaussians.
        max_depth_m: How far rays are followed to find the overlap of cameras.
        scale: Size of a Gaussian: "cap" is `cap_m` everywhere, "focal" a share of a pixel at its depth, "learned" a
            predicted share of `cap_m` (the paper).
        cap_m: Standard deviation in metres; 0.02 in the paper.
        focal_factor: Of "focal": standard deviation in pixels.
        opacity: Of every Gaussian; below 1, so that what lies behind still learns.
        eps2d_px: Variance in px^2 that the splat adds to both axes.
        mask_out: Which side of an overlap gives its pixels up: "none" removes nothing, "fixed" always the same,
            "alternating" by step, "random" by a coin per step and pair of cameras.
        erosion_px: How far the compared region keeps from the border of the overlap.
        divide_by_opacity: Divide accumulated colour by accumulated opacity.
        min_opacity: Below this a pixel is a hole.
        holes: "ignore" leaves them out of the loss, "penalise" compares them as they are.
        exposure: "affine" fits gain and offset per camera and colour before comparing; "none" compares as it is.
    """

    renderer: Literal["splat_gsplat", "splat_cpu", "splat_torch"] = "splat_gsplat"
    level: int = Field(default=0, ge=0, le=4)
    max_depth_m: float = Field(default=80.0, gt=0)
    scale: Literal["cap", "focal", "learned"] = "cap"
    cap_m: float = Field(default=0.02, gt=0)
    focal_factor: float = Field(default=0.3, gt=0)
    opacity: float = Field(default=0.99, gt=0, le=1)
    eps2d_px: float = Field(default=0.1, gt=0)
    mask_out: Literal["none", "fixed", "alternating", "random"] = "random"
    erosion_px: int = Field(default=1, ge=0)
    divide_by_opacity: bool = True
    min_opacity: float = Field(default=0.5, gt=0, lt=1)
    holes: Literal["ignore", "penalise"] = "ignore"
    exposure: Literal["none", "affine"] = "none"


class ObjectiveConfig(Config):
    """Loss terms and their weights; 0 turns a term off.

    Attributes:
        temporal: Weight of the reprojection from the neighbours in time.
        levels: How often images are halved for it, one loss each.
        automask: Leave out pixels that an unwarped neighbour explains better.
        cross_view: What ties cameras together at one instant: "none", "bilinear" warps images of neighbouring cameras
            (FSM, SurroundDepth), "splat" is GSP.
        cross_weight: Its weight.
        ssim_weight: Share of SSIM in both.
        flow: Weight of the distance between measured flow and the one that depth and motion imply; beyond the paper.
        smoothness: Weight of edge-aware smoothness.
        mask_margin_px: How far what is compared keeps from the pixels that show the vehicle, at the size of the images:
            flow and SSIM look at a neighbourhood.
        hidden_plane: Weight of planes behind the vehicle: the disparity of pixels that show it, or lie in their margin,
            shall go on evenly from that around them. Without it nothing says what depth they have.
        motion: What warps images in time: the "network"'s motion, or the "geometric" one from flow and depth, which the
            network then imitates.
        imitation: Of "geometric": weight of the network's distance to it.
        refine_steps: At the end of training: steps with the pose fixed and the cross-view term off.
    """

    temporal: float = Field(default=1.0, ge=0)
    levels: tuple[int, ...] = (0, 1, 2, 3)
    automask: bool = True
    cross_view: Literal["none", "bilinear", "splat"] = "splat"
    cross_weight: float = Field(default=1.0, ge=0)
    ssim_weight: float = Field(default=0.85, ge=0, le=1)
    flow: float = Field(default=0.0, ge=0)
    smoothness: float = Field(default=0.001, ge=0)
    mask_margin_px: int = Field(default=0, ge=0)
    hidden_plane: float = Field(default=0.0, ge=0)
    motion: Literal["network", "geometric"] = "network"
    imitation: float = Field(default=1.0, ge=0)
    refine_steps: int = Field(default=0, ge=0)


class EvaluationConfig(Config):
    """What is measured, and on which frames."""

    max_samples: int | None = None  # of the validation split, evenly spread; all by default
    validation_samples: int = 64  # used while training
    depth_size: Size | None = None  # default: native image size
    max_depth_m: float = 80.0


class PoseRunConfig(Config):
    """A stage-1 run. `model` is all that stage 2 needs to build the network again."""

    name: str
    data: DataConfig
    training: TrainConfig
    model: PoseDepthConfig = PoseDepthConfig()
    gsp: GspConfig = GspConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> "PoseRunConfig":
        if self.gsp.scale == "learned" and not self.model.depth.scale_map:
            raise ValueError("gsp.scale: learned needs the map that model.depth.scale_map: true predicts")
        if self.objective.refine_steps >= self.training.steps:
            raise ValueError(
                f"objective.refine_steps: expected less than training.steps, got {self.objective.refine_steps} of "
                f"{self.training.steps}"
            )
        return self

    @property
    def needs_flow(self) -> bool:
        """Whether samples must carry optical flow."""
        return self.model.needs_flow or self.objective.motion == "geometric" or self.objective.flow > 0
