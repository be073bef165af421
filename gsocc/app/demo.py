"""The demo: from nothing to ego motion and occupancy that images alone have taught, scored, drawn and compared."""

import os
import platform
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsocc.app.demo_datasets import NUSCENES, DemoDataset, DemoPlan, prepare_world
from gsocc.app.paths import CONFIGS
from gsocc.app.stage1_runs import rows_of, stage1_config, train_and_score

if TYPE_CHECKING:
    from rich.console import Console

    from gsocc.engine import FitResult
    from occ_stage.evaluate import Evaluation
    from pose_stage.evaluate import Evaluation as Stage1Evaluation

__all__ = ["DemoPlan", "device_name", "peak_memory_gb", "prepare_world", "run_demo", "train_stage1"]
START_M = 4.0
"""The flat depth that stage 1 starts from; a wrong one, so that a right scale is learned and not inherited."""


def run_demo(
    out: Path, world: Path, plan: DemoPlan, console: "Console", dataset: DemoDataset = NUSCENES
) -> dict[str, Any]:
    """Write the world, train both stages, evaluate, draw and report; return what report.json holds.

    Args:
        out: Folder of the report, of one run directory per system, and of those of stage 1 in `stage1`.
        world: Folder of the synthetic world; a complete one of the same plan is used as it is.
        plan: Sizes.
        console: Where the table is printed.
        dataset: In whose format, and with which trainings.
    """
    from gsocc.app.report import print_table, write_report

    start = time.perf_counter()
    prepared = dataset.prepare(world, plan)
    world_seconds = time.perf_counter() - start
    stage1 = train_stage1(out / "stage1", world, plan, console, dataset)
    results: dict[str, tuple[FitResult, Evaluation]] = {}
    baselines: dict[str, Evaluation] = {}
    for name in dataset.systems:
        console.rule(f"training: {name}")
        fitted = _train(name, dataset, world, out, plan)
        console.rule(f"evaluating: {name}")
        evaluation, scored = _evaluate(out / name, with_baselines=not baselines)
        baselines = baselines or scored
        results[name] = (fitted, evaluation)
    pictures = [*_draw(out, world, dataset), *prepared.pictures]
    report = {
        "title": dataset.title,
        "device": device_name(),
        "seconds_total": time.perf_counter() - start,
        "peak_memory_gb": peak_memory_gb(),
        "systems": [_system(name, *result, plan) for name, result in results.items()],
        "baselines": [_baseline(name, evaluation) for name, evaluation in baselines.items()],
        "notes": dataset.notes,
        "stage1": {"rows": stage1.rows},
        "settings": {
            **{key: str(value) for key, value in asdict(plan).items() if value is not None},
            **prepared.settings,
            "world_seconds": round(world_seconds, 1),
            "stage1_seconds": round(stage1.seconds, 1),
            "frames_scored": next(iter(results.values()))[1].frames,
            **{f"threshold_{name}": e.threshold.threshold for name, (_, e) in results.items() if e.threshold},
            "ground_plane_far_cap_m": baselines["ground_plane"].notes["far_cap_m"],
        },
    }
    report["checks"] = dataset.checks(report)
    page = write_report(out, report, pictures, stage1.pictures)
    print_table(console, report)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    return report


@dataclass(frozen=True)
class Stage1Result:
    """What stage 1 came to: rows and pictures of the report, and its wall-clock time."""

    rows: list[dict[str, Any]]
    pictures: list[tuple[str, str, Path]]
    seconds: float


def train_stage1(out: Path, world: Path, plan: DemoPlan, console: "Console", dataset: DemoDataset) -> Stage1Result:
    """Train the method and what its parts are worth from a wrong depth, and score them on held-out scenes.

    Args:
        out: Folder of one run directory per training.
        world: Folder of the synthetic world.
        plan: Its `stage1_steps`.
        console: Told what is going on.
        dataset: Whose trainings.
    """
    start = time.perf_counter()
    rows: list[dict[str, Any]] = []
    pictures: list[tuple[str, str, Path]] = []
    for name in dataset.stage1:
        console.rule(f"stage 1: {name}")
        method = name == "gsp"
        config = stage1_config(name, world, dataset=dataset.name, start_m=START_M, steps=plan.stage1_steps)
        evaluation = train_and_score(config, out / name, with_untrained=method)
        found = rows_of(name, out / name, with_untrained=method)
        rows += found if method else found[:1]
        if method:
            pictures = _draw_stage1(out / name, evaluation)
    if dataset.exact_row is not None:
        rows.append(dataset.exact_row(world))
    return Stage1Result(rows, pictures, time.perf_counter() - start)


def device_name() -> str:
    """Return the processor or GPU that figures come from."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores ({platform.machine()})"


def peak_memory_gb() -> float:
    """Return the highest resident memory of this process or of one of its children, in 1e9 bytes."""
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kib * 1024 / 1e9


def _train(name: str, dataset: DemoDataset, world: Path, out: Path, plan: DemoPlan) -> "FitResult":
    from gsocc.config import load_config
    from occ_stage.config import OccConfig
    from occ_stage.train import train

    recipe = dataset.systems[name]
    overrides = [f"data.root={world}", *recipe.overrides]
    if (steps := plan.steps_of(name)) is not None:
        overrides.append(f"training.steps={steps}")
    if recipe.stage1_motion:
        overrides += ["pose.source=stage1", f"pose.checkpoint={out / 'stage1' / 'gsp'}"]
    return train(load_config(CONFIGS / "occ" / recipe.config, OccConfig, overrides), out / name, "overwrite")


def _evaluate(folder: Path, *, with_baselines: bool) -> tuple["Evaluation", dict[str, "Evaluation"]]:
    from occ_stage.evaluate import evaluate_checkpoint

    return evaluate_checkpoint(folder, predictions=folder / "predictions", with_baselines=with_baselines)


def _system(name: str, fitted: "FitResult", evaluation: "Evaluation", plan: DemoPlan) -> dict[str, Any]:
    fewer = plan.steps_of(name) is not None and plan.steps is None
    return {
        "name": name,
        "renderer": "volume_cpu" if name == "volume" else "splat_cpu",
        "pose": evaluation.pose,
        "steps": fitted.steps,
        "seconds_per_step": fitted.seconds_per_step,
        "render_seconds": evaluation.render_seconds,
        "note": "Fewer steps than the others, to save time." if fewer else "",
        **_scores(evaluation),
    }


def _baseline(name: str, evaluation: "Evaluation") -> dict[str, Any]:
    return {"name": name, **_scores(evaluation)}


def _scores(evaluation: "Evaluation") -> dict[str, Any]:
    return {"metrics": evaluation.metrics, "ground_layers": evaluation.ground_layers}


def _draw(out: Path, world: Path, dataset: DemoDataset) -> list[tuple[str, str, Path]]:
    """Draw one held-out frame of each scene with each system, beside the truth."""
    from gsocc.datasets.occ3d import occ3d_path, read_occ3d
    from gsocc.structures.prediction import load_prediction
    from gsocc.viewer.drawing import save_png
    from gsocc.viewer.panels import frame_picture, read_images

    pictures = []
    for name in dataset.systems:
        scenes = sorted(p for p in (out / name / "predictions").iterdir() if p.is_dir())
        for scene in scenes[:2]:
            predictions = sorted((load_prediction(p) for p in scene.glob("*.npz")), key=lambda p: p.timestamp_s)
            chosen = predictions[len(predictions) // 3]
            truth = read_occ3d(occ3d_path(world / dataset.truth, chosen.scene, chosen.token))
            picture = frame_picture(
                chosen,
                truth,
                images=read_images(world, chosen),
                shows=("prediction", "truth"),
                seen_only=True,
                title=f"{name}: held-out {scene.name}",
            )
            path = out / "pictures" / f"{name}_{scene.name}.png"
            save_png(path, picture)
            caption = "Images, rendered depth and semantics; voxels near what a camera saw (0.8 m), predicted and true."
            pictures.append((f"{name}, held-out {scene.name}", caption, path))
    return pictures


def _draw_stage1(run: Path, evaluation: "Stage1Evaluation") -> list[tuple[str, str, Path]]:
    """Draw the paths of held-out scenes; the evaluation has drawn depth."""
    from gsocc.viewer.trajectory import save_trajectory_picture

    pictures = []
    if evaluation.trajectories:
        path = run / "eval" / "paths.png"
        save_trajectory_picture(path, evaluation.trajectories, evaluation.metrics["trajectory:scale"])
        caption = "Held-out scenes from above: true, as predicted, and predicted times the one best factor."
        pictures.append(("Paths that the predicted motions add up to", caption, path))
    for panel in sorted((run / "eval" / "panels").glob("*.jpg"))[:1]:
        caption = "Images, predicted depth from single images, LiDAR depth; a held-out key frame."
        pictures.append(("Depth of stage 1", caption, panel))
    return pictures
