"""`gsocc doctor`: look at a machine or a data set and say what is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gsocc.datasets.health import Finding


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


def rig(
    root: Annotated[Path, typer.Argument(help="Folder that holds rig.yaml.")],
    index: Annotated[Path | None, typer.Option(help="Index file, where it does not lie in ROOT.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Moments whose images are looked at, evenly spread.")] = 24,
    split: Annotated[str, typer.Option(help="Of the rig file; all for every scene.")] = "all",
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for ground.png and overlap.png; ROOT/doctor by default.")
    ] = None,
) -> None:
    """Check a rig: files, axes, lenses, driving direction, what overlapping cameras share. Exits with 1 where wrong."""
    from gsocc.app.rig_check.report import check_rig
    from gsocc.datasets.rig_health import inspect_rig

    findings, path = inspect_rig(root, index)
    if path is not None:
        report = check_rig(root, path, pictures or root / "doctor", split=split, frames=frames)
        findings += report.findings
        for picture in report.pictures:
            typer.echo(f"wrote {picture}")
    _report(root, findings, bad="wrong", mild="unclear")


def _report(root: Path, findings: "list[Finding]", bad: str = "missing", mild: str = "absent") -> None:
    """Show findings; exit with 1 where something required is missing, called `bad`; what is not required is `mild`."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(str(root)))
    for heading in ("what", "state", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        state = "[green]ok[/]" if finding.good else f"[red]{bad}[/]" if finding.required else f"[yellow]{mild}[/]"
        table.add_row(finding.name, state, escape(finding.detail), escape(finding.fix))
    console = Console()
    console.print(table)
    if any(finding.required and not finding.good for finding in findings):
        raise typer.Exit(1)
    console.print("everything that training needs is here")
