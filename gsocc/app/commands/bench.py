"""`gsocc bench`: measure, on the machine at hand, what the documentation claims."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gsocc.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from gsocc.app.render_benchmark import Row


def render(
    grid: Annotated[list[str] | None, typer.Option(metavar="ZxYxX", help="Voxels; may be repeated.")] = None,
    size: Annotated[list[str] | None, typer.Option(metavar="HxW", help="Images; may be repeated.")] = None,
    scene: Annotated[list[str] | None, typer.Option(help="untrained, early or street; may be repeated.")] = None,
    renderer: Annotated[
        list[str] | None,
        typer.Option(help="splat_cpu_cached, splat_cpu, volume_cpu, volume_cpu_cells, volume; may be repeated."),
    ] = None,
    channels: Annotated[int, typer.Option(min=0, help="Feature channels, beside depth.")] = 18,
    scale: Annotated[float, typer.Option(help="Standard deviation of a splat over the voxel edge.")] = 0.3,
    step_m: Annotated[float, typer.Option(help="Spacing of the volume renderers' samples, in metres.")] = 0.4,
    repeats: Annotated[int, typer.Option(min=1, help="Most repetitions of a measurement.")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default: one per core.")] = None,
    forward_only: Annotated[bool, typer.Option("--forward-only", help="Leave the gradient out.")] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
) -> None:
    """Compare the renderers on the CPU: six cameras, equal grid, images, channels and scene, in one run.

    The default images have half the published height and width (180x320), so that it takes minutes.
    """
    import numba
    import torch
    from rich.console import Console

    from gsocc.app.render_benchmark import SCENES, Settings, benchmark, contenders, machine, report
    from gsocc.files import write_json

    if threads is not None:
        most = numba.get_num_threads()
        if threads > most:
            raise UserError(f"--threads: numba may use {most} here (NUMBA_NUM_THREADS), got {threads}")
        numba.set_num_threads(threads)
        torch.set_num_threads(threads)
    settings = Settings(channels, scale, step_m, repeats, not forward_only)
    rows = benchmark(
        grids=[_three(text) for text in grid or ["16x200x200"]],
        sizes=[_two(text) for text in size or ["90x160"]],
        scenes=scene or SCENES,
        names=renderer or tuple(contenders(settings)),
        settings=settings,
    )
    console = Console()
    about = machine()
    console.print(
        f"{about['device']}, {about['threads']} threads, torch {about['torch']}, numba {about['numba']}; {channels} "
        f"channels + depth, sigma {scale:g} voxel, step {step_m:g} m; ratios are of CPU seconds",
        soft_wrap=True,
        highlight=False,
    )
    for case in dict.fromkeys((row.grid, row.size, row.scene) for row in rows):
        console.print(_table([row for row in rows if (row.grid, row.size, row.scene) == case]))
    if json is not None:
        write_json(json, report(rows, settings))


def _three(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise UserError(f"--grid: expected ZxYxX like 16x200x200, got {text!r}")
    return int(match[1]), int(match[2]), int(match[3])


def _two(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise UserError(f"--size: expected HxW like 180x320, got {text!r}")
    return int(match[1]), int(match[2])


def _table(rows: "list[Row]") -> "Table":
    """Return one case as a table; ratios are of CPU time, which other programs do not stretch, to the first row."""
    from rich import box
    from rich.table import Table

    first = rows[0]
    title = f"grid {first.grid}, images {first.size}, scene {first.scene}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("renderer", no_wrap=True)
    for name in ("fwd s", "CPU s", "ratio", "+ bwd s", "CPU s", "ratio", "first s", "GB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.renderer,
            *_three_cells(row.forward_s, row.forward_cpu_s, first.forward_cpu_s),
            *_three_cells(row.forward_backward_s, row.forward_backward_cpu_s, first.forward_backward_cpu_s),
            f"{row.first_s:.2f}",
            "-" if row.peak_memory_gb is None else f"{row.peak_memory_gb:.2f}",
        )
    return table


def _three_cells(wall_s: float | None, cpu_s: float | None, first_cpu_s: float | None) -> tuple[str, str, str]:
    if wall_s is None or cpu_s is None or first_cpu_s is None:
        return "-", "-", "-"
    return f"{wall_s:.3f}", f"{cpu_s:.3f}", f"{cpu_s / first_cpu_s:.2f}"


def occ(
    ablate: Annotated[bool, typer.Option("--ablate", help="Change one thing of the recipe at a time.")] = False,
    variant: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps; default: the demo's.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs and tables.")] = Path("runs/bench_occ"),
    world: Annotated[Path, typer.Option(help="Folder of the demo's world.")] = Path("data/demo_world"),
) -> None:
    """Train the demo's network with splatting and volume rendering, or with one choice changed at a time."""
    from rich.console import Console

    from gsocc.app.occ_benchmark import ABLATION, VARIANTS, benchmark_occ

    unknown = [name for name in variant or () if name not in VARIANTS]
    if unknown:
        raise UserError(f"--variant: expected one of {', '.join(VARIANTS)}, got {unknown[0]!r}")
    names = tuple(variant) if variant else ABLATION if ablate else ("splat", "volume")
    benchmark_occ(out, world, names, steps, Console())
