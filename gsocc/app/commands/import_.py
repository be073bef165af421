"""`gsocc import`: published checkpoints of other systems as run directories of ours."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gsocc.app.commands.sizes import parse_size
from gsocc.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from gsocc.app.importing import Imported

Folder = Annotated[Path, typer.Argument(help="Published folder: encoder.pth, depth.pth, and the pose network's two.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory to write; `gsocc eval` and `predict` take it.")]
Backbone = Annotated[str | None, typer.Option(help="Such as resnet101; by default what encoder.pth holds.")]
Voxels = Annotated[str | None, typer.Option(help="ZxYxX, such as 24x300x300; by default the recipe's.")]
ImageSize = Annotated[str | None, typer.Option(help="HxW of the network's images; default what encoder.pth says.")]
RenderSize = Annotated[str | None, typer.Option(help="HxW of renderings; by default the recipe's.")]
PoseBackbone = Annotated[str, typer.Option(help="Of the pose network.")]
DatasetName = Annotated[str, typer.Option(help="What it was trained on: nuscenes or ddad.")]
Overrides = Annotated[list[str], typer.Option("--set", help="Change a key of the recipe; repeatable.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier import at --out.")]


def gaussianocc(
    folder: Folder,
    out: Out,
    backbone: Backbone = None,
    voxels: Voxels = None,
    image_size: ImageSize = None,
    render_size: RenderSize = None,
    pose_backbone: PoseBackbone = "resnet34",
    dataset: DatasetName = "nuscenes",
    overrides: Overrides = [],  # noqa: B006  typer copies it
    overwrite: Overwrite = False,
) -> None:
    """Import a published GaussianOcc checkpoint, its stage-1 pose network included."""
    if dataset not in ("nuscenes", "ddad"):
        raise UserError(f"--dataset: expected nuscenes or ddad, got {dataset!r}")
    sizes = (voxels, image_size, render_size)
    trained_on: Literal["nuscenes", "ddad"] = "ddad" if dataset == "ddad" else "nuscenes"
    _import("gaussianocc", folder, out, backbone, sizes, pose_backbone, overrides, overwrite, trained_on)


def occnerf(
    folder: Folder,
    out: Out,
    backbone: Backbone = None,
    voxels: Voxels = None,
    image_size: ImageSize = None,
    render_size: RenderSize = None,
    overrides: Overrides = [],  # noqa: B006
    overwrite: Overwrite = False,
) -> None:
    """Import a published OccNeRF checkpoint, of the semantic or of the depth recipe."""
    sizes = (voxels, image_size, render_size)
    _import("occnerf", folder, out, backbone, sizes, "resnet34", overrides, overwrite)


def _import(
    system: Literal["gaussianocc", "occnerf"],
    folder: Path,
    out: Path,
    backbone: str | None,
    sizes: tuple[str | None, str | None, str | None],
    pose_backbone: str,
    overrides: list[str],
    overwrite: bool,
    dataset: Literal["nuscenes", "ddad"] = "nuscenes",
) -> None:
    from rich.console import Console

    from gsocc.app.importing import REPORT, Choices, import_released

    voxels, image_size, render_size = sizes
    choices = Choices(
        voxels_zyx=None if voxels is None else _parse_voxels(voxels),
        image_size=None if image_size is None else parse_size(image_size),
        render_size=None if render_size is None else parse_size(render_size, "--render-size"),
        backbone=backbone,
        pose_backbone=pose_backbone,
        dataset=dataset,
        overrides=overrides,
    )
    imported = import_released(system, folder, out, choices, overwrite=overwrite)
    console = Console()
    console.print(_table(imported))
    for line in _summary(imported, out / REPORT):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _parse_voxels(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise UserError(f"--voxels: expected ZxYxX like 24x300x300, got {text!r}")
    return int(match[1]), int(match[2]), int(match[3])


def _table(imported: "Imported") -> "Table":
    from rich.table import Table

    table = Table(title="keys", title_justify="left")
    for name in ("file", "used", "derived", "dead", "unknown"):
        table.add_column(name, justify="left" if name == "file" else "right")
    report = imported.report
    for file in report.files:
        counts = (report.count("used", file), report.count("derived", file), report.count("dead", file))
        table.add_row(file, *map(str, counts), str(report.count("unknown", file)))
    return table


def _summary(imported: "Imported", report: Path) -> list[str]:
    config = imported.config
    zyx = "x".join(map(str, config.grid.shape[::-1]))
    height, width = config.data.image_size
    lines = [f"{config.model.backbone}, {zyx} voxels, images {height}x{width}, {len(config.model.classes)} classes"]
    unknown = imported.report.keys("unknown")
    if unknown:
        lines.append(f"not read, because no published file is known to hold them: {', '.join(unknown)}")
    if imported.stage1 is not None:
        lines.append(f"pose network: {imported.stage1}, for pose.checkpoint of pose.source: stage1")
    lines.append(f"every key: {report}")
    lines.append(f"wrote {imported.folder}; score it with `gsocc eval {config.data.dataset} {imported.folder}`")
    return lines
