"""Trainings of stage 1 by name, from a chosen flat depth, with a chosen seed: for demo and benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsocc.app.paths import CONFIGS
from gsocc.app.stage1_report import stage1_row
from gsocc.files import read_json

if TYPE_CHECKING:
    from pose_stage.config import PoseRunConfig
    from pose_stage.evaluate import Evaluation

# name -> (configuration, overrides); what each one is: `gsocc.app.stage1_report.ROWS`
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no_cross_view": ("synthetic_no_cross_view.yaml", ()),
    "bilinear": ("synthetic_bilinear.yaml", ()),
    "no_mask_out": ("synthetic_no_mask_out.yaml", ()),
    "mask_out": ("synthetic_mask_out.yaml", ()),
    "gsp": ("synthetic_gsp.yaml", ()),
    "gsp_refined": ("synthetic_gsp_refined.yaml", ()),
    "gsp_flow_depth": ("synthetic_gsp.yaml", ("model.depth.flow=true",)),
}
DDAD_VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no_cross_view": ("ddad_synthetic.yaml", ("name=ddad_synthetic_no_cross_view", "objective.cross_view=none")),
    "no_mask_out": ("ddad_synthetic.yaml", ("name=ddad_synthetic_no_mask_out", "gsp.mask_out=none")),
    "gsp": ("ddad_synthetic.yaml", ()),
}
BY_DATASET = {"nuscenes": VARIANTS, "ddad": DDAD_VARIANTS}
ABLATION: tuple[str, ...] = ("no_cross_view", "bilinear", "no_mask_out", "mask_out", "gsp", "gsp_refined")
_REFINED_SHARE = 5  # one step in so many refines, as 2 of 10 epochs in the paper


def stage1_config(
    variant: str,
    world: Path,
    *,
    dataset: str = "nuscenes",
    start_m: float = 4.0,
    seed: int = 0,
    steps: int | None = None,
) -> "PoseRunConfig":
    """Return the run of a variant.

    Args:
        variant: A key of `VARIANTS`, or of those of another data set.
        world: Root of the synthetic world; optical flow is kept in its folder `flow`.
        dataset: A key of `BY_DATASET`: the format of the world.
        start_m: Flat depth that training starts from.
        seed: Of weights and order.
        steps: Training steps; None takes those of the configuration.
    """
    from gsocc.config import load_config
    from pose_stage.config import PoseRunConfig

    file, changes = BY_DATASET[dataset][variant]
    overrides = [f"data.root={world}", f"data.flow_cache={world / 'flow'}", f"training.seed={seed}"]
    overrides += [f"model.depth.initial_depth_m={start_m}", *changes]
    if steps is not None:
        overrides.append(f"training.steps={steps}")
        if variant == "gsp_refined":
            overrides.append(f"objective.refine_steps={steps // _REFINED_SHARE}")
    return load_config(CONFIGS / "pose" / file, PoseRunConfig, overrides)


def is_done(config: "PoseRunConfig", folder: Path) -> bool:
    """Return whether a folder holds this very run, trained and scored."""
    from gsocc.config import to_yaml
    from gsocc.engine import RunDirectory
    from gsocc.engine.run_directory import differences

    described = folder / "config.yaml"
    if not (described.is_file() and (folder / "eval" / "metrics.json").is_file()):
        return False
    same = not differences(described.read_text(encoding="utf-8"), to_yaml(config))
    return same and RunDirectory(folder, to_yaml(config)).finished()


def train_and_score(config: "PoseRunConfig", folder: Path, *, with_untrained: bool = False) -> "Evaluation":
    """Train a run, in place of whatever run the folder holds, and write its scores to `eval/metrics.json`."""
    from pose_stage.evaluate import evaluate_checkpoint
    from pose_stage.train import train

    train(config, folder, "overwrite")
    return evaluate_checkpoint(folder, with_baselines=with_untrained)["run"]


def rows_of(name: str, folder: Path, *, with_untrained: bool = False) -> list[dict[str, Any]]:
    """Return the report's rows of a scored run: its configured read-out, then the others, then the untrained network.

    Args:
        name: Of the first row; the others are called after their read-out.
        folder: Of the run.
        with_untrained: Whether the untrained network was scored too and is wanted.
    """
    scores, training = read_json(folder / "eval" / "metrics.json"), read_json(folder / "metrics.json")
    protocol = scores["protocol"]
    readout, start_m = protocol["readout"], protocol["initial_depth_m"]
    kept = {key: training[key] for key in ("steps", "seconds_per_step", "cpu_seconds_per_step")}
    rows = [stage1_row(name, start_m, readout, scores["metrics"], **kept)]
    for other, metrics in scores["readouts"].items():
        if other != readout:
            rows.append(stage1_row(f"{name}_{other}_readout", start_m, other, scores["metrics"] | metrics, **kept))
    if with_untrained:
        rows.append(stage1_row("untrained", start_m, readout, scores["baselines"]["untrained"]["metrics"]))
    return rows
