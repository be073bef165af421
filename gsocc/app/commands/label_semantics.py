"""`gsocc label semantics`: 2-D class labels of images, by networks that the user has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gsocc.command_line import ConfigFile, Overrides, PrintConfig

if TYPE_CHECKING:
    from gsocc.labelling.writing import LabelReport


def semantics(
    dataset: Annotated[str, typer.Argument(help="nuscenes, ddad or rig.")],
    root: Annotated[Path, typer.Argument(help="Data root, indexed by `gsocc index`.")],
    config: ConfigFile,
    index: Annotated[Path | None, typer.Option(help="Index file, where it does not lie in ROOT.")] = None,
    version: Annotated[str | None, typer.Option(help="Which index of nuScenes, where ROOT has several.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the labels; by default where training reads them.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which key frames: train, val, ..., or all.")] = "all",
    tokens: Annotated[Path | None, typer.Option(help="File with one token per line, to restrict the split.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many images, to try a labeller.")] = None,
    pictures: Annotated[
        int, typer.Option(min=0, help="Also draw so many labelled images, evenly spread, into LABELS/pictures.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the files that are there, and write them again.")
    ] = False,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    print_config: PrintConfig = False,
) -> None:
    """Label every key-frame image; what is labelled already is kept, so a run that was stopped goes on.

    Under torchrun the images are shared among the processes, each with a GPU of its own.
    """
    from gsocc.app.label_pictures import draw_labels
    from gsocc.config import load_config, to_yaml
    from gsocc.datasets.derived.label_targets import label_targets, labels_folder
    from gsocc.datasets.derived.layout import open_derived_index
    from gsocc.datasets.index import read_token_list
    from gsocc.engine.processes import is_main_process, local_rank, process_rank, world_size
    from gsocc.labelling import build_labeller
    from gsocc.labelling.config import LabelConfig
    from gsocc.labelling.origin import check_origin, write_origin
    from gsocc.labelling.running import choose_runner
    from gsocc.labelling.writing import LabelReport, discard, unfinished, write_labels

    run = load_config(config, LabelConfig, overrides)
    if print_config:
        typer.echo(to_yaml(run), nl=False)
        return
    labels_root = out or labels_folder(dataset, root)
    opened = open_derived_index(dataset, root, index, version)
    listed = read_token_list(tokens) if tokens else None
    targets = label_targets(opened, root, split, labels_root, listed)[:limit]
    if not overwrite or limit is not None or tokens is not None or split != "all":
        check_origin(labels_root, run)
    shard = (process_rank(), world_size())
    wanted, kept = unfinished(targets, shard=shard, overwrite=overwrite)
    report = LabelReport()
    if wanted:
        labeller = build_labeller(run, choose_runner(run, local_rank()))
        if is_main_process():
            write_origin(labels_root, run)
        if overwrite:
            discard(wanted)
        report = write_labels(labeller, wanted, batch_size=run.batch_size)
    if pictures and is_main_process():
        draw_labels(targets, labels_root / "pictures", pictures)
    _show(report, kept, labels_root)


def _show(report: "LabelReport", kept: int, labels_root: Path) -> None:
    """Say what was written.

    Raises:
        DataError: Where images could not be read.
    """
    from gsocc.errors import DataError

    typer.echo(f"{labels_root}: {report.written} label files written, {kept} were there")
    shares = sorted(report.shares().items(), key=lambda item: -item[1])
    if shares:
        typer.echo("pixels: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares))
    if report.bad_images:
        raise DataError("\n".join([f"{len(report.bad_images)} images got no labels:", *report.bad_images]))
