"""Stage 1 over seeds and starts: the method, and with `--ablate` each of its parts left out."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsocc.app.demo import DemoPlan, device_name, prepare_world
from gsocc.app.stage1_report import COLUMNS
from gsocc.app.stage1_runs import is_done, rows_of, stage1_config, train_and_score
from gsocc.files import atomic_write_text, write_json

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = (
    "scale_ratio_median",
    "scale_ratio_iqr",
    "speed_correlation",
    "translation_error_m",
    "constant_speed_error_m",
    "direction_error_deg",
    "rotation_error_deg",
    "no_rotation_error_deg",
    "depth_abs_rel",
    "depth_ratio",
)
METHOD, WEAKER = "gsp", ("no_mask_out", "no_cross_view")
Row = dict[str, Any]


def benchmark_stage1(
    out: Path,
    world: Path,
    names: Sequence[str],
    starts_m: Sequence[float],
    seeds: int,
    steps: int | None,
    console: "Console",
) -> list[Row]:
    """Train and score every variant from every start with every seed; write stage1.json and stage1.md as they grow.

    A run that is finished is read, not trained again; one that was cut off or differs starts anew.

    Args:
        out: Folder of the runs and tables.
        world: Folder of the demo's world, written where it is missing.
        names: Keys of `gsocc.app.stage1_runs.VARIANTS`.
        starts_m: Flat depths that training starts from.
        seeds: Seeds 0, 1, ... of each.
        steps: Training steps of each; None takes those of the configuration.
        console: Where the table is printed.

    Returns:
        One row per run and read-out.
    """
    prepare_world(world, DemoPlan())
    rows: list[Row] = []
    # Seeds in the outer loop: a benchmark that is stopped has compared all variants on fewer seeds.
    for seed in range(seeds):
        for start_m in starts_m:
            for name in names:
                config = stage1_config(name, world, start_m=start_m, seed=seed, steps=steps)
                folder = out / f"{name}_from_{start_m:g}m_seed{seed}"
                if is_done(config, folder):
                    console.print(f"{folder}: finished before", highlight=False, soft_wrap=True)
                else:
                    console.rule(folder.name)
                    train_and_score(config, folder)
                rows += [{**row, "name": name, "seed": seed} for row in rows_of(name, folder)]
                write_json(out / "stage1.json", _record(rows))
                atomic_write_text(out / "stage1.md", markdown(rows))
    console.print(markdown(rows), markup=False, highlight=False, soft_wrap=True)
    return rows


def summaries(rows: Sequence[Row]) -> list[Row]:
    """Return mean and range over seeds of every figure, per variant, start and read-out, in the order of the rows."""
    found: list[Row] = []
    for key, group in _groups(rows):
        name, start_m, readout = key
        line: Row = {"name": name, "initial_depth_m": start_m, "readout": readout, "seeds": len(group)}
        for column in COLUMNS:
            values = [row[column.key] for row in group if row.get(column.key) is not None]
            line[column.key] = (
                {"mean": sum(values) / len(values), "min": min(values), "max": max(values)} if values else None
            )
        for cost in ("steps", "cpu_seconds_per_step"):
            costs = [row[cost] for row in group if row.get(cost) is not None]
            line[cost] = sum(costs) / len(costs) if costs else None
        found.append(line)
    return found


def orderings(rows: Sequence[Row]) -> list[Row]:
    """Return in how many seeds the method's scale is nearer to metric than that of each weaker variant.

    Nearer is a smaller |log(ratio)|: half and twice the truth are equally far.
    """
    found: list[Row] = []
    groups = dict(_groups(rows))
    for (name, start_m, readout), ours in groups.items():
        for weaker in WEAKER if name == METHOD else ():
            theirs = {row["seed"]: row for row in groups.get((weaker, start_m, readout), [])}
            pairs = [(row, theirs[row["seed"]]) for row in ours if row["seed"] in theirs]
            if pairs:
                better = sum(_off(mine) < _off(other) for mine, other in pairs)
                found.append(
                    {
                        "initial_depth_m": start_m,
                        "readout": readout,
                        "than": weaker,
                        "better": better,
                        "seeds": len(pairs),
                    }
                )
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return the summaries as a table for the documentation: mean, and the range where there are several seeds."""
    columns = [column for column in COLUMNS if column.key in _SHOWN]
    heads = [
        "variant",
        "start, m",
        "read-out",
        "seeds",
        *(c.heading.replace("|", "\\|") for c in columns),
        "motions (moving)",
        "CPU s/step",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for line in summaries(rows):
        cells = [line["name"], f"{line['initial_depth_m']:g}", line["readout"], str(line["seeds"])]
        cells += [_cell(line[column.key], column.digits, line["seeds"]) for column in columns]
        counts = [_cell(line[key], 0, 1) for key in ("motions", "moving")]
        cost = line["cpu_seconds_per_step"]
        cells += [f"{counts[0]} ({counts[1]})", "–" if cost is None else f"{cost:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    steps = sorted({row["steps"] for row in rows})
    notes = [
        f"Means over seeds (range in brackets), {', '.join(map(str, steps))} steps, held-out scenes; {device_name()}."
    ]
    notes += [
        f"From {o['initial_depth_m']:g} m, {o['readout']} read-out: {METHOD} is nearer to metric scale than "
        f"{o['than']} in {o['better']} of {o['seeds']} seeds."
        for o in orderings(rows)
    ]
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


def _record(rows: list[Row]) -> dict[str, Any]:
    return {"device": device_name(), "summaries": summaries(rows), "orderings": orderings(rows), "runs": rows}


def _groups(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, float, str], list[Row]]]:
    keys = dict.fromkeys((row["name"], row["initial_depth_m"], row["readout"]) for row in rows)
    for key in keys:
        yield key, [row for row in rows if (row["name"], row["initial_depth_m"], row["readout"]) == key]


def _off(row: Row) -> float:
    ratio = row["scale_ratio_median"]
    return abs(math.log(ratio)) if ratio is not None and ratio > 0 else math.inf


def _cell(value: Row | None, digits: int, seeds: int) -> str:
    if value is None:
        return "–"
    mean = f"{value['mean']:.{digits}f}"
    return mean if seeds == 1 else f"{mean} ({value['min']:.{digits}f}–{value['max']:.{digits}f})"
