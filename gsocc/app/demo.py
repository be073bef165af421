"""The demo: from nothing to two trained occupancy networks, scored, drawn and compared."""

import os
import platform
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsocc.app.paths import CONFIGS

if TYPE_CHECKING:
    from rich.console import Console

    from gsocc.engine import FitResult
    from occ_stage.evaluate import Evaluation

SYSTEMS: dict[str, str] = {"splat": "synthetic_splat.yaml", "volume": "synthetic_volume.yaml"}
MIOU, IOU = "occ3d/camera/present:miou", "occ3d/camera:iou"
ABOVE, ABS_REL = "occ3d/camera/16m:above_ground_f1", "depth/nuscenes/80m:abs_rel"

NOTES = (
    "A synthetic street, written and read as nuScenes with Occ3D labels. Training saw images, calibration, exact ego "
    "motion and exact 2-D labels of the training scenes; it saw no LiDAR and no 3-D label. The occupancy threshold of "
    "each system was chosen on training scenes.",
    "The world is moderate: eight classes, nothing taller than the grid (5.4 m), a flat road, static light, perfect "
    "calibration and poses. Training and held-out scenes come from one generator. Numbers on real data will differ.",
    "Both systems train the same network on the same frames in the same order for the same number of steps; only the "
    "renderer differs. The splat's Gaussians are flat: 0.4 voxel across and 0.22 in height (sigma); the volume "
    "renderer integrates the piecewise constant field cell by cell, so a solid voxel starts half a voxel in front of "
    "its centre. What separates the two in voxel scores is also how a correct depth maps to voxels.",
)


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """What the demo writes and trains.

    Attributes:
        scenes: Scenes of the world, held-out ones included.
        val_scenes: Held-out scenes.
        keyframes: Key frames per scene.
        image_size: H, W.
        seed: Of the world.
        steps: Training steps of each system; None takes those of the configuration.
    """

    scenes: int = 18
    val_scenes: int = 3
    keyframes: int = 12
    image_size: tuple[int, int] = (96, 160)
    seed: int = 0
    steps: int | None = None


def run_demo(out: Path, world: Path, plan: DemoPlan, console: "Console") -> dict[str, Any]:
    """Write the world, train, evaluate, draw and report; return what report.json holds.

    Args:
        out: Folder of the report and of one run directory per system.
        world: Folder of the synthetic world; a complete one of the same plan is used as it is.
        plan: Sizes.
        console: Where the table is printed.
    """
    from gsocc.app.report import print_table, write_report

    start = time.perf_counter()
    prepare_world(world, plan)
    world_seconds = time.perf_counter() - start
    results: dict[str, tuple[FitResult, Evaluation]] = {}
    baselines: dict[str, Evaluation] = {}
    for name, file in SYSTEMS.items():
        console.rule(f"training: {name}")
        fitted = _train(file, world, out / name, plan)
        console.rule(f"evaluating: {name}")
        evaluation, scored = _evaluate(out / name, with_baselines=not baselines)
        baselines = baselines or scored
        results[name] = (fitted, evaluation)
    pictures = _draw(out, world)
    report = {
        "title": "gsocc demo: occupancy from six cameras, without 3-D labels",
        "device": device_name(),
        "seconds_total": time.perf_counter() - start,
        "peak_memory_gb": peak_memory_gb(),
        "systems": [_system(name, *result) for name, result in results.items()],
        "baselines": [_baseline(name, evaluation) for name, evaluation in baselines.items()],
        "notes": NOTES,
        "settings": {
            **{key: str(value) for key, value in asdict(plan).items() if value is not None},
            "world_seconds": round(world_seconds, 1),
            "frames_scored": results["splat"][1].frames,
            **{f"threshold_{name}": e.threshold.threshold for name, (_, e) in results.items() if e.threshold},
            "ground_plane_far_cap_m": baselines["ground_plane"].notes["far_cap_m"],
        },
    }
    report["checks"] = demo_checks(report)
    page = write_report(out, report, pictures)
    print_table(console, report)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    return report


def prepare_world(world: Path, plan: DemoPlan) -> None:
    """Write the demo's world and its index, unless they are there."""
    from gsocc.datasets.index import default_index_path
    from gsocc.datasets.nuscenes_index import build_index
    from gsocc.datasets.world import write_nuscenes_world

    write_nuscenes_world(
        world,
        scenes=plan.scenes,
        val_scenes=plan.val_scenes,
        keyframes=plan.keyframes,
        seed=plan.seed,
        image_size=plan.image_size,
        preset="moderate",
    )
    if not default_index_path(world, "v1.0-trainval").is_file():
        build_index(world, "v1.0-trainval")


def demo_checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the splatted system has to show on held-out scenes, each with what it got."""
    metrics = {row["name"]: row["metrics"] for row in (*report["systems"], *report["baselines"])}
    splat = next(row for row in report["systems"] if row["name"] == "splat")
    layers = {round(layer["z_m"], 1): layer["occupancy"] for layer in splat["ground_layers"]}
    plane, ours = metrics["ground_plane"], metrics["splat"]
    steps = max(row["seconds_per_step"] for row in report["systems"])

    def at_least(claim: str, got: float, bound: float) -> dict[str, Any]:
        return {"claim": claim, "required": f"at least {bound:.3f}", "got": f"{got:.3f}", "passed": bool(got >= bound)}

    def at_most(claim: str, got: float, bound: float) -> dict[str, Any]:
        return {"claim": claim, "required": f"at most {bound:.3f}", "got": f"{got:.3f}", "passed": bool(got <= bound)}

    return [
        at_least("mIoU over present classes, against 4 times the flat plane's", ours[MIOU], 4 * plane[MIOU]),
        at_least("mIoU over present classes", ours[MIOU], 0.20),
        at_most("depth AbsRel, against 0.7 of the best flat plane's", ours[ABS_REL], 0.7 * plane[ABS_REL]),
        at_least("above-ground F1, against 3 times all-occupied", ours[ABOVE], 3 * metrics["all_occupied"][ABOVE]),
        at_least("occupancy of the true ground layer", layers[0.0], 0.8),
        at_most("occupancy of the layer above the ground", layers[0.4], 0.3),
        at_least("geometry IoU, against 0.9 of the flat plane's", ours[IOU], 0.9 * plane[IOU]),
        at_least("geometry IoU, against the flat plane's (the goal)", ours[IOU], plane[IOU]),
        at_most("seconds per training step, the slower system", steps, 0.45),
        at_most("minutes in all", report["seconds_total"] / 60, 12.0),
        at_most("peak memory in GB", report["peak_memory_gb"], 6.0),
    ]


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


def _train(file: str, world: Path, folder: Path, plan: DemoPlan) -> "FitResult":
    from gsocc.config import load_config
    from occ_stage.config import OccConfig
    from occ_stage.train import train

    overrides = [f"data.root={world}"] + ([f"training.steps={plan.steps}"] if plan.steps else [])
    return train(load_config(CONFIGS / "occ" / file, OccConfig, overrides), folder, "overwrite")


def _evaluate(folder: Path, *, with_baselines: bool) -> tuple["Evaluation", dict[str, "Evaluation"]]:
    from occ_stage.evaluate import evaluate_checkpoint

    return evaluate_checkpoint(folder, predictions=folder / "predictions", with_baselines=with_baselines)


def _system(name: str, fitted: "FitResult", evaluation: "Evaluation") -> dict[str, Any]:
    renderer = {"splat": "splat_cpu", "volume": "volume_cpu"}[name]
    return {
        "name": name,
        "renderer": renderer,
        "pose": "ground truth",
        "steps": fitted.steps,
        "seconds_per_step": fitted.seconds_per_step,
        "render_seconds": evaluation.render_seconds,
        **_scores(evaluation),
    }


def _baseline(name: str, evaluation: "Evaluation") -> dict[str, Any]:
    return {"name": name, **_scores(evaluation)}


def _scores(evaluation: "Evaluation") -> dict[str, Any]:
    return {"metrics": evaluation.metrics, "ground_layers": evaluation.ground_layers}


def _draw(out: Path, world: Path) -> list[tuple[str, str, Path]]:
    """Draw one held-out frame of each scene with each system, beside the truth."""
    from gsocc.datasets.occ3d import occ3d_path, read_occ3d
    from gsocc.structures.prediction import load_prediction
    from gsocc.viewer.drawing import save_png
    from gsocc.viewer.panels import frame_picture, read_images

    pictures = []
    for name in SYSTEMS:
        scenes = sorted(p for p in (out / name / "predictions").iterdir() if p.is_dir())
        for scene in scenes[:2]:
            predictions = sorted((load_prediction(p) for p in scene.glob("*.npz")), key=lambda p: p.timestamp_s)
            chosen = predictions[len(predictions) // 3]
            truth = read_occ3d(occ3d_path(world / "gts", chosen.scene, chosen.token))
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
