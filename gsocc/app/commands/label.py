"""`gsocc label`: make from the raw data what a data set does not ship."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def depth(
    dataset: Annotated[str, typer.Argument(help="nuscenes, ddad or rig.")],
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


def masks(
    dataset: Annotated[str, typer.Argument(help="nuscenes, ddad or rig.")],
    root: Annotated[Path, typer.Argument(help="Data root, indexed by `gsocc index`.")],
    index: Annotated[Path | None, typer.Option(help="Index file, where it does not lie in ROOT.")] = None,
    version: Annotated[str | None, typer.Option(help="Which index of nuScenes, where ROOT has several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the masks; where the reader looks by default.")] = None,
    scene: Annotated[list[str] | None, typer.Option(help="A scene, instead of all. May be repeated.")] = None,
    like: Annotated[
        str | None, typer.Option(help="Give the scenes of --scene the masks of this one, instead of estimating them.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Images of each camera that a scene is judged by, at most.")] = 48,
    least_frames: Annotated[int, typer.Option(help="A scene with fewer from places that differ says nothing.")] = 8,
    step: Annotated[float, typer.Option(help="How far the vehicle moves between two of them, in metres.")] = 0.25,
    steadiness: Annotated[
        float,
        typer.Option(min=0, max=1, help="Largest share of what the world varies by that is steady; paint mirrors it."),
    ] = 0.35,
    margin: Annotated[int, typer.Option(min=0, help="Widen the vehicle by so many pixels.")] = 0,
    pictures: Annotated[Path | None, typer.Option(help="Folder of the pictures; MASKS_pictures by default.")] = None,
    against: Annotated[Path | None, typer.Option(help="Folder of masks to compare with, laid out alike.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that estimate; 0 estimates in this one.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks that are there.")] = False,
) -> None:
    """Estimate self-occlusion masks from the video, and draw pictures to accept or edit them by.

    Masks that are there are kept: edit one, run the command again, and the picture shows it as training will see it.
    """
    from gsocc.app.mask_tables import show_overlap
    from gsocc.datasets.derived.layout import layout_of, open_derived_index
    from gsocc.datasets.derived.mask_pictures import write_mask_pictures
    from gsocc.datasets.derived.masks import MaskOptions, copy_masks, make_masks, pick_scenes
    from gsocc.datasets.derived.static_pixels import StaticRule

    options = MaskOptions(
        frames=frames,
        least_frames=least_frames,
        step_m=step,
        margin_px=margin,
        rule=StaticRule(share_of_world=steadiness),
    )
    opened = open_derived_index(dataset, root, index, version)
    scenes = pick_scenes(opened, scene)
    folder = out or root / layout_of(dataset).mask_folder
    if like is not None:
        if not scene:
            raise typer.BadParameter("say by --scene which scenes get its masks", param_hint="--like")
        report = copy_masks(opened, folder, pick_scenes(opened, [like])[0], scenes)
    else:
        report = make_masks(opened, root, folder, scenes, options, workers=workers, overwrite=overwrite)
    sheets = write_mask_pictures(opened, root, folder, scenes, pictures or folder.with_name(f"{folder.name}_pictures"))
    typer.echo(f"{folder}: {report.written} masks written, {report.kept} were there")
    if report.silent:
        typer.echo(f"{len(report.silent)} scenes move too little and have the others' mask: {', '.join(report.silent)}")
    typer.echo(f"look at {sheets[0].parent}/*.png: red is what training will not see; edit a mask and run this again")
    if against is not None:
        show_overlap(opened, folder, against, scenes)
