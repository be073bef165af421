"""`gsocc label`: make from the raw data what a data set does not ship."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def depth(
    dataset: Annotated[str, typer.Argument(help="nuscenes or ddad.")],
    root: Annotated[Path, typer.Argument(help="Data root, indexed by `gsocc index`.")],
    index: Annotated[Path | None, typer.Option(help="Index file, where it does not lie in ROOT.")] = None,
    version: Annotated[str | None, typer.Option(help="Which index of nuScenes, where ROOT has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the depth images; ROOT/depth by default.")] = None,
    split: Annotated[str, typer.Option(help="Which key frames: train, val, ..., or all.")] = "all",
    tokens: Annotated[Path | None, typer.Option(help="File with one token per line, to restrict the split.")] = None,
    rounding: Annotated[
        Literal["floor", "round", "truncate"], typer.Option(help="Which pixel a point falls on; floor is right.")
    ] = "floor",
    collisions: Annotated[
        Literal["nearest", "last"], typer.Option(help="Which of several points a pixel keeps: nearest is a z-buffer.")
    ] = "nearest",
    min_depth: Annotated[float, typer.Option(help="Leave out points nearer than this to a camera, in metres.")] = 1.0,
    released: Annotated[
        bool, typer.Option("--released", help="Draw as the published files were; instead of the three above.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw; 0 draws in this one.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of another rule or origin.")] = False,
) -> None:
    """Write the LiDAR depth of key-frame images as npy files. Stopped, it goes on where it was; torchrun shares it."""
    from gsocc.datasets.derived.depth import DepthRule, export_depth, released_rule
    from gsocc.datasets.derived.layout import open_derived_index
    from gsocc.datasets.index import read_token_list, select_rows
    from gsocc.engine.processes import shard

    rule = DepthRule(rounding=rounding, collisions=collisions, min_depth_m=min_depth)
    if released:
        if rule != DepthRule():
            raise typer.BadParameter("stands instead of --rounding, --collisions, --min-depth", param_hint="--released")
        rule = released_rule(dataset)
    opened = open_derived_index(dataset, root, index, version)
    rows = select_rows(opened, split, read_token_list(tokens) if tokens else None)
    folder = out or root / "depth"
    report = export_depth(opened, root, folder, shard(rows.tolist()), rule, workers=workers, overwrite=overwrite)
    typer.echo(f"{folder}: {report.written} depth images written, {report.kept} were there")
