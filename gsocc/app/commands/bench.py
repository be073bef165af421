"""`gsocc bench`: measure, on the machine at hand, what the documentation claims."""

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gsocc.errors import UserError

if TYPE_CHECKING:
    from gsocc.app.benchmark.tables import Sheet

_BENCH_STEPS = 1000  # of stage 1: three minutes of a CPU core


def render(
    grid: Annotated[list[str] | None, typer.Option(metavar="ZxYxX", help="Voxels; may be repeated.")] = None,
    size: Annotated[list[str] | None, typer.Option(metavar="HxW", help="Images; may be repeated.")] = None,
    scene: Annotated[list[str] | None, typer.Option(help="untrained, early or street; may be repeated.")] = None,
    renderer: Annotated[
        list[str] | None, typer.Option(help="Only these; the first is the reference of the ratios; may be repeated.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Every published grid and size; hours on a CPU.")] = False,
    scale_down: Annotated[
        int | None, typer.Option(min=1, help="Divide image heights and widths; default: 1, but 2 for a plain CPU run.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    channels: Annotated[int, typer.Option(min=0, help="Feature channels, beside depth.")] = 18,
    scale: Annotated[
        list[float] | None, typer.Option(help="Standard deviation of a splat over the voxel edge; may be repeated.")
    ] = None,
    step_m: Annotated[float, typer.Option(help="Spacing of the volume renderers' samples, in metres.")] = 0.4,
    cache_max_gb: Annotated[float, typer.Option(help="What a cached splat may hold, in 1e9 bytes.")] = 2.0,
    repeats: Annotated[int, typer.Option(min=1, help="Most rounds; every renderer runs once in each.")] = 11,
    enough_s: Annotated[float, typer.Option(help="A renderer sits out once it has run this long in a case.")] = 5.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: one per core.")] = None,
    threads_scaling: Annotated[bool, typer.Option("--threads-scaling", help="Measure with one thread too.")] = False,
    forward_only: Annotated[bool, typer.Option("--forward-only", help="Leave the gradient out.")] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables into this page.")] = None,
    place: Annotated[
        str | None, typer.Option(help="Marks in the page to write between; default: bench render cpu (or cuda).")
    ] = None,
) -> None:
    """Compare the renderers: six cameras, equal grid, images, channels and scene, in one run.

    Renderers take turns, so that whatever disturbs the machine disturbs all of them. Without --size a CPU draws images
    of half the published height and width, so that a run takes minutes; tables and JSON say so.
    """
    from gsocc.app.benchmark.contenders import Settings, choose_contenders
    from gsocc.app.benchmark.render import PUBLISHED_GRIDS, PUBLISHED_SIZES, benchmark, cases, report
    from gsocc.app.benchmark.render_tables import compare, sheets
    from gsocc.app.benchmark.scenes import SCENES
    from gsocc.app.benchmark.stopwatch import choose_device, choose_threads

    if full and (grid or size):
        raise UserError("--full: stands for every --grid and --size; leave those out, or --full")
    chosen, most = choose_device(device), choose_threads(threads)
    settings = Settings(
        device=chosen,
        threads=tuple(dict.fromkeys((1, most))) if threads_scaling else (most,),
        channels=channels,
        scales=_scales(scale or [0.3]),
        step_m=step_m,
        cache_max_gb=cache_max_gb,
        backward=not forward_only,
        repeats=repeats,
        enough_s=enough_s,
    )
    divisor = scale_down or (2 if chosen == "cpu" and not full and not size else 1)
    grids = PUBLISHED_GRIDS if full else [_three(text) for text in grid or ["16x200x200"]]
    sizes = PUBLISHED_SIZES if full else [_two("--size", text) for text in size or ["180x320"]]
    todo = cases(grids, sizes, scene or SCENES, divisor)
    rows = benchmark(todo, choose_contenders(renderer, settings), settings)
    result = {**report(rows, settings, divisor), "ratios": [one.as_json() for one in compare(rows)]}
    spacing = f"step {step_m:g} m; medians of up to {repeats} rounds in turn"
    intro = f"{_machine(result)}. Six cameras, {channels} channels + depth, {spacing}."
    _publish(result, sheets(rows, divisor, chosen), intro, place or f"bench render {chosen}", json, markdown)


def train(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Run to step; default: the demo's on a CPU, configs/occ/nuscenes.yaml."),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of it; may be repeated.")
    ] = None,
    renderer: Annotated[
        list[str] | None, typer.Option(help="Only these; the first is the reference of the ratios; may be repeated.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Most rounds; every renderer takes one step in each.")] = 7,
    enough_s: Annotated[float, typer.Option(help="A renderer sits out once it has run this long.")] = 8.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: one per core.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the table into this page.")] = None,
    place: Annotated[
        str | None, typer.Option(help="Marks in the page to write between; default: bench train cpu (or cuda).")
    ] = None,
) -> None:
    """Time whole training steps of stage 2, from images to the optimiser; the renderer is the only difference.

    Needs no data: images and labels are made up, calibration and shapes are those of nuScenes.
    """
    from gsocc.app.benchmark.stopwatch import choose_device, choose_threads, threads_kept, use_threads
    from gsocc.app.benchmark.train import benchmark_training, choose_entrants, training_report, training_sheet
    from gsocc.app.paths import CONFIGS
    from gsocc.config import load_config
    from occ_stage.config import OccConfig

    chosen, count = choose_device(device), choose_threads(threads)
    names = choose_entrants(renderer, chosen)
    file = config or CONFIGS / "occ" / ("nuscenes.yaml" if chosen == "cuda" else "synthetic_splat.yaml")
    fixed = [f"training.device={chosen}", *(["training.precision=32-true"] if chosen == "cpu" else [])]
    run = load_config(file, OccConfig, [*(changes or []), *fixed])
    with threads_kept():
        use_threads(count)
        rows = benchmark_training(run, names, chosen, repeats, enough_s)
        result = training_report(rows, run, chosen)
    intro = (
        f"{_machine(result)}. {run.name}, {run.model.backbone}, {len(run.model.classes)} classes, untrained network."
    )
    _publish(result, [training_sheet(rows, run)], intro, place or f"bench train {chosen}", json, markdown)


def evaluation(
    labels: Annotated[
        Path | None, typer.Option(help="An Occ3D labels.npz to score, over and over; default: made-up streets.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Key frames in a round.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Most rounds; all work is done once in each.")] = 7,
    enough_s: Annotated[float, typer.Option(help="Work that has run this long sits out further rounds.")] = 20.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: one per core.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the table into this page.")] = None,
    place: Annotated[str, typer.Option(help="Marks in the page to write between.")] = "bench eval cpu",
) -> None:
    """Time the scoring of predictions: confusion matrices, in memory and from files, and RayIoU; counts are checked."""
    from gsocc.app.benchmark.evaluation import (
        benchmark_evaluation,
        evaluation_report,
        evaluation_sheet,
        make_frames,
        read_frame,
    )
    from gsocc.app.benchmark.stopwatch import choose_threads, threads_kept, use_threads

    count = choose_threads(threads)
    scored = make_frames(frames) if labels is None else [read_frame(labels)] * frames
    source = "made-up streets" if labels is None else "one real Occ3D label"
    with threads_kept():
        use_threads(count)
        rates = benchmark_evaluation(scored, count, repeats, enough_s)
    result = evaluation_report(rates, count, source)
    intro = f"{_machine(result)}. {frames} frames, {source}; counts equal those of NumPy."
    _publish(result, [evaluation_sheet(rates)], intro, place, json, markdown)


def _publish(
    result: dict[str, Any], tables: "list[Sheet]", intro: str, name: str, json: Path | None, markdown: Path | None
) -> None:
    """Print the tables, and write what was asked for."""
    from rich.console import Console

    from gsocc.app.benchmark import tables as writing
    from gsocc.files import write_json

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(intro, soft_wrap=True, highlight=False)
    for sheet in tables:
        console.print(writing.rich_table(sheet), highlight=False)
    if json is not None:
        write_json(json, result)
    if markdown is not None:
        writing.write_markdown(markdown, name, f"{intro}\n\n{writing.markdown(tables)}")


def _machine(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {result[name]}" for name in ("torch", "numba", "cuda") if name in result)
    return f"{result['device']}, {result['threads']} threads, {versions}"


def _scales(values: list[float]) -> tuple[float, ...]:
    for value in values:
        if not 0.0 < value < math.inf:
            raise UserError(f"--scale: expected a positive number, got {value}")
    return tuple(dict.fromkeys(values))


def _three(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise UserError(f"--grid: expected ZxYxX like 16x200x200, got {text!r}")
    return int(match[1]), int(match[2]), int(match[3])


def _two(flag: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise UserError(f"{flag}: expected HxW like 180x320, got {text!r}")
    return int(match[1]), int(match[2])


def occ(
    ablate: Annotated[bool, typer.Option("--ablate", help="Change one thing of the recipe at a time.")] = False,
    variant: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps; default: the demo's.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")] = Path("runs/bench_occ"),
    world: Annotated[Path, typer.Option(help="Folder of the demo's world.")] = Path("data/demo_world"),
) -> None:
    """Train the demo's network with splatting and volume rendering, or with one choice changed at a time."""
    from rich.console import Console

    from gsocc.app.benchmark.occ import ABLATION, VARIANTS, benchmark_occ

    unknown = [name for name in variant or () if name not in VARIANTS]
    if unknown:
        raise UserError(f"--variant: expected one of {', '.join(VARIANTS)}, got {unknown[0]!r}")
    names = tuple(variant) if variant else ABLATION if ablate else ("splat", "volume")
    benchmark_occ(out, world, names, steps, Console())


def stage1(
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also train the baselines: parts of the method left out.")
    ] = False,
    variant: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each, with seeds 0, 1, ...; default: 2, but 5 for --ablate.")
    ] = None,
    start_m: Annotated[
        list[float] | None,
        typer.Option(
            help="Flat depth to start from, in metres; may be repeated; default: 4 and 20, but 4 for --ablate."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps; default: 1000, but those of configs/pose for --ablate.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")] = Path("runs/bench_stage1"),
    world: Annotated[Path, typer.Option(help="Folder of the demo's world.")] = Path("data/demo_world"),
    markdown: Annotated[Path | None, typer.Option(help="Also put the table into this page, between its marks.")] = None,
) -> None:
    """Train stage 1 with several seeds from depths that are wrong; a run that is finished is not trained again."""
    from rich.console import Console

    from gsocc.app.benchmark.stage1 import benchmark_stage1
    from gsocc.app.benchmark.stage1 import markdown as table
    from gsocc.app.benchmark.tables import write_markdown
    from gsocc.app.stage1_runs import ABLATION, VARIANTS

    unknown = [name for name in variant or () if name not in VARIANTS]
    if unknown:
        raise UserError(f"--variant: expected one of {', '.join(VARIANTS)}, got {unknown[0]!r}")
    wrong = [start for start in start_m or () if not 1.0 < start < 80.0]
    if wrong:
        raise UserError(f"--start-m: expected a depth between 1 and 80, which the network can say, got {wrong[0]:g}")
    names = tuple(variant) if variant else ABLATION if ablate else ("gsp", "gsp_flow_depth")
    starts_m = start_m or ([4.0] if ablate else [4.0, 20.0])
    seeds = seeds or (5 if ablate else 2)
    steps = steps or (None if ablate else _BENCH_STEPS)
    rows = benchmark_stage1(out, world, names, starts_m, seeds, steps, Console())
    if markdown is not None:
        write_markdown(markdown, "bench stage1 ablation" if ablate else "bench stage1", table(rows))


def differences(
    switch: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each network.")] = 120,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, with seeds 0, 1, ...")] = 2,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs.")] = Path("runs/bench_differences"),
    world: Annotated[Path, typer.Option(help="Folder of the demo's world.")] = Path("data/demo_world"),
    ddad_world: Annotated[Path, typer.Option(help="Folder of a small world as DDAD.")] = Path("data/bench_ddad_world"),
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Also write the table into this page; with --switch, these rows of the table in it."),
    ] = None,
) -> None:
    """Measure what each switch of the releases does on the synthetic world: to a gradient, a score, a training.

    A network that is trained already, with the same settings, is not trained again.
    """
    from gsocc.app.benchmark.differences import CASES, MOTION, Bench, motion_differences
    from gsocc.app.benchmark.differences_table import MARKS, as_json, merged, sheet
    from gsocc.app.benchmark.stopwatch import choose_threads, threads_kept, use_threads
    from occ_stage.parity import SWITCHES

    names = list(dict.fromkeys(switch or SWITCHES))
    unknown = [name for name in names if name not in SWITCHES]
    if unknown:
        raise UserError(f"--switch: expected one of {', '.join(SWITCHES)}, got {unknown[0]!r}")
    if switch and markdown is not None:
        merged(sheet([], [], steps, seeds), markdown, list(SWITCHES))  # refuses a page before, not after the trainings
    with threads_kept():
        use_threads(choose_threads(1))
        bench = Bench(out, world, ddad_world, steps, seeds)
        rows = [bench.measure(name) for name in names if name in CASES]
        of_motion = [name for name in names if name in MOTION]
        motion = motion_differences(out, world, steps, of_motion) if of_motion else []
    result = {"steps": steps, "seeds": seeds, **as_json(rows, motion)}
    table = sheet(rows, motion, steps, seeds)
    if switch and markdown is not None:
        table = merged(table, markdown, list(SWITCHES))
    intro = f"`gsocc bench differences --steps {steps} --seeds {seeds}`, on a CPU."
    _publish(result, [table], intro, MARKS, json, markdown)
