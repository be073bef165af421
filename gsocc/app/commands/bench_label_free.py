"""`gsocc bench label-free`: how well scores without labels rank damaged truth."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_WORLD = Path("data/label_free")


def label_free(
    world: Annotated[
        Path | None,
        typer.Argument(
            help="A synthetic world with its index; without, that of the documentation is written to data/label_free."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Whose scenes; all for every scene.")] = "all",
    damage: Annotated[list[str] | None, typer.Option(help="Only these damages; may be repeated.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write every number to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also put the tables into this page.")] = None,
) -> None:
    """Score the world's truth, damaged in known ways, with labels and without, and correlate the two."""
    from rich.console import Console

    from gsocc.app.benchmark.label_free import DAMAGES, prepare_label_free_world, validate_label_free
    from gsocc.app.benchmark.label_free import markdown as table
    from gsocc.app.benchmark.tables import write_markdown
    from gsocc.files import write_json

    if world is None:
        world = DEFAULT_WORLD
        prepare_label_free_world(world)
    result = validate_label_free(world, split=split, names=damage or tuple(DAMAGES))
    Console().print(table(result), markup=False, highlight=False, soft_wrap=True)
    if json is not None:
        write_json(json, result)
    if markdown is not None:
        write_markdown(markdown, "bench label-free", table(result))
