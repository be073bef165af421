"""`gsocc doctor`: look at a machine or a data set and say what is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gsocc.datasets.nuscenes_health import Finding


def env() -> None:
    """Show versions, devices, threads and extras. Exits with 1 where something does not work."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gsocc.app.environment import inspect_environment

    findings = inspect_environment()
    table = Table(title="environment")
    for heading in ("what", "state", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        state = "[green]ok[/]" if finding.good else "[red]wrong[/]" if finding.required else "[yellow]absent[/]"
        table.add_row(finding.name, state, escape(finding.detail), escape(finding.fix))
    Console().print(table)
    if not all(finding.good for finding in findings if finding.required):
        raise typer.Exit(1)


def nuscenes(
    root: Annotated[Path, typer.Argument(help="Folder that holds samples/, sweeps/, maps/ and the tables.")],
    version: Annotated[str | None, typer.Option(help="Folder of tables below ROOT; the only one by default.")] = None,
    index: Annotated[Path | None, typer.Option(help="Index file, where it does not lie in ROOT.")] = None,
) -> None:
    """Check a nuScenes root: tables, index, files, labels. Exits with 1 where something required is missing."""
    from gsocc.datasets.nuscenes_health import inspect_nuscenes

    _report(root, inspect_nuscenes(root, version, index))


def ddad(
    root: Annotated[Path, typer.Argument(help="Folder that holds ddad.json and the scenes.")],
    index: Annotated[Path | None, typer.Option(help="Index file, where it does not lie in ROOT.")] = None,
    frames: Annotated[int, typer.Option(min=0, help="Key frames to read whole, evenly spread over ROOT.")] = 4,
) -> None:
    """Check a DDAD root: scenes, index, files, masks, labels. Exits with 1 where something required is missing."""
    from gsocc.datasets.ddad_health import inspect_ddad

    _report(root, inspect_ddad(root, index, frames=frames))


def _report(root: Path, findings: "list[Finding]") -> None:
    """Show findings; exit with 1 where something required is missing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(str(root)))
    for heading in ("what", "state", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        state = "[green]ok[/]" if finding.good else "[red]missing[/]" if finding.required else "[yellow]absent[/]"
        table.add_row(finding.name, state, escape(finding.detail), escape(finding.fix))
    console = Console()
    console.print(table)
    if any(finding.required and not finding.good for finding in findings):
        raise typer.Exit(1)
    console.print("everything that training needs is here")
