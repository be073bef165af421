"""`gsocc bench reader`: how fast samples are read, and whether memory stays flat meanwhile."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_ROOT = Path("data/reader_world")


def reader(
    root: Annotated[
        Path | None,
        typer.Argument(
            help="An indexed DDAD root; without, a few images of DDAD's size are drawn in data/reader_world."
        ),
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Index file, where it does not lie in ROOT.")] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="jpeg, png or cache (resized copies); may be repeated; default: all.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples read from each; the same few, over and over.")] = 500,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Size of the samples' images.")] = "384x640",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read; 0 reads in this one.")] = 2,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for recoded images and resized copies.")] = Path(
        "runs/bench_reader"
    ),
    json: Annotated[Path | None, typer.Option(help="Also write the figures to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the table into this page.")] = None,
    place: Annotated[str, typer.Option(help="Marks in the page to write between.")] = "bench reader",
) -> None:
    """Time the reading of six-camera samples from JPEG, PNG and resized copies, and watch the memory."""
    from rich.console import Console

    from gsocc.app.benchmark import tables
    from gsocc.app.benchmark.reader import SOURCES, benchmark_reader, prepare_reader_world, reader_report, reader_sheet
    from gsocc.app.commands.sizes import parse_size
    from gsocc.files import write_json

    size = parse_size(image_size)
    if root is None:
        root = DEFAULT_ROOT
        prepare_reader_world(root)
    chosen = source or tuple(SOURCES)
    readings = benchmark_reader(root, out, chosen, size=size, samples=samples, workers=workers, index=index)
    result, sheet = reader_report(readings, size, workers), reader_sheet(readings, size, workers)
    intro = f"{result['device']}, {os.cpu_count()} cores."
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(tables.rich_table(sheet), highlight=False)
    if json is not None:
        write_json(json, result)
    if markdown is not None:
        tables.write_markdown(markdown, place, f"{intro}\n\n{tables.markdown([sheet])}")
