"""What each choice of the demo's recipe is worth: the same training with one thing changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsocc.app.demo import DemoPlan, device_name, prepare_world
from gsocc.app.demo_checks import ABOVE, ABS_REL, IOU, MIOU
from gsocc.app.paths import CONFIGS
from gsocc.files import atomic_write_text, write_json

if TYPE_CHECKING:
    from rich.console import Console

# name -> (configuration, overrides, what it changes)
VARIANTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "splat": ("synthetic_splat.yaml", (), "the demo's recipe"),
    "volume": ("synthetic_volume.yaml", (), "drawn by volume rendering"),
    "no_photometric": ("synthetic_splat.yaml", ("objective.photometric=0",), "2-D labels alone"),
    "no_semantic": ("synthetic_splat.yaml", ("objective.semantic=0",), "neighbouring images alone"),
    "one_level": ("synthetic_splat.yaml", ("objective.photo_levels=1",), "images compared at one size only"),
    "automask": ("synthetic_splat.yaml", ("objective.automask=true",), "pixels that fit unwarped carry no gradient"),
    "parked": ("synthetic_splat.yaml", ("data.min_travel_m=0",), "parked key frames take part"),
    "narrow": ("synthetic_splat.yaml", ("renderer.scale_fraction=[0.3, 0.3, 0.3]",), "narrower Gaussians"),
}
ABLATION = ("splat", "no_photometric", "one_level", "automask", "parked", "narrow")
COLUMNS = {"mIoU": MIOU, "IoU": IOU, "above-ground F1": ABOVE, "AbsRel": ABS_REL}


def benchmark_occ(
    out: Path, world: Path, names: tuple[str, ...], steps: int | None, console: "Console"
) -> list[dict[str, Any]]:
    """Train and score each variant; write ablation.json and ablation.md, and print the table as it grows.

    Args:
        out: Folder of the runs and tables.
        world: Folder of the demo's world, written where it is missing.
        names: Keys of `VARIANTS`.
        steps: Training steps of each; None takes those of the configuration.
        console: Where the table is printed.
    """
    from gsocc.config import load_config
    from occ_stage.config import OccConfig
    from occ_stage.evaluate import evaluate_checkpoint
    from occ_stage.train import train

    prepare_world(world, DemoPlan())
    rows: list[dict[str, Any]] = []
    for name in names:
        file, changes, meaning = VARIANTS[name]
        overrides = [f"data.root={world}", *changes, *([f"training.steps={steps}"] if steps else [])]
        console.rule(name)
        config = load_config(CONFIGS / "occ" / file, OccConfig, overrides)
        fitted = train(config, out / name, "overwrite")
        result, _ = evaluate_checkpoint(out / name, with_baselines=False)
        layers = {round(layer["z_m"], 1): layer["occupancy"] for layer in result.ground_layers}
        rows.append(
            {
                "name": name,
                "change": meaning,
                "steps": fitted.steps,
                "cpu_seconds_per_step": fitted.cpu_seconds_per_step,
                "seconds_per_step": fitted.seconds_per_step,
                "threshold": result.threshold.threshold if result.threshold else None,
                "metrics": result.metrics,
                "ground_layer": layers[0.0],
                "layer_above": layers[0.4],
            }
        )
        write_json(out / "ablation.json", {"device": device_name(), "rows": rows})
        atomic_write_text(out / "ablation.md", markdown(rows))
    console.print(markdown(rows), markup=False, highlight=False, soft_wrap=True)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table for the documentation."""
    heads = ["variant", "change", "steps", *COLUMNS, "ground layer", "layer above", "CPU s/step"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        scores = [f"{row['metrics'][name]:.3f}" for name in COLUMNS.values()]
        layers = [f"{row['ground_layer']:.2f}", f"{row['layer_above']:.2f}"]
        cells = [row["name"], row["change"], str(row["steps"]), *scores, *layers, f"{row['cpu_seconds_per_step']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    protocols = ", ".join(f"{head} is `{name}`" for head, name in COLUMNS.items())
    return "\n".join(lines) + f"\n\n{protocols}.\n"
