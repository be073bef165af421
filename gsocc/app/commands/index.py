"""`gsocc index`: build what training reads instead of a data set's tables."""

from pathlib import Path
from typing import Annotated

import typer

_Cache = Annotated[
    str | None, typer.Option(metavar="HxW", help="Also write resized copies of all images, for data.image_cache.")
]
_CacheFolder = Annotated[Path | None, typer.Option(help="Where they go; ROOT/image_cache by default.")]


def nuscenes(
    root: Annotated[Path, typer.Argument(help="Folder that holds samples/, sweeps/, maps/ and the tables.")],
    version: Annotated[str, typer.Option(help="Folder of tables below ROOT.")] = "v1.0-trainval",
    out: Annotated[
        Path | None, typer.Option(help="Index file to write; ROOT/gsocc_index_VERSION.npz by default.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Leave out what was not downloaded: sweeps, lidar. May be repeated.")
    ] = None,
    reach: Annotated[
        int, typer.Option(min=1, max=2, help="Images before and after each key frame; 2 for auxiliary views.")
    ] = 1,
    cache: _Cache = None,
    cache_folder: _CacheFolder = None,
) -> None:
    """Read the tables of a nuScenes root with the official devkit and write the index."""
    from gsocc.app.commands.sizes import parse_size
    from gsocc.datasets.nuscenes_index import PARTS, build_index

    parts = [part for part in PARTS if part in (skip or [])]
    unknown = sorted(set(skip or []) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"expected any of {', '.join(PARTS)}, got {', '.join(unknown)}", param_hint="--skip")
    size = None if cache is None else parse_size(cache, "--cache")
    path = build_index(root, version, out, skip=parts, reach=reach)
    _show(path)
    _write_copies(path, root, size, cache_folder)


def ddad(
    root: Annotated[
        Path, typer.Argument(help="Folder that holds ddad.json and the scenes; or the JSON file of a DGP dataset.")
    ],
    out: Annotated[Path | None, typer.Option(help="Index file to write; ROOT/gsocc_index_ddad.npz by default.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out what was not downloaded: lidar.")] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="A camera, instead of DDAD's six; repeat it counter-clockwise from the front."),
    ] = None,
    cache: _Cache = None,
    cache_folder: _CacheFolder = None,
) -> None:
    """Read the scenes of DDAD and write the index; samples that lack a sensor are left out."""
    from gsocc.app.commands.sizes import parse_size
    from gsocc.datasets.ddad_index import CAMERAS, PARTS, build_index

    unknown = sorted(set(skip or []) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"expected {', '.join(PARTS)}, got {', '.join(unknown)}", param_hint="--skip")
    size = None if cache is None else parse_size(cache, "--cache")
    path = build_index(root, out, cameras=camera or CAMERAS, skip=skip or [])
    _show(path)
    _write_copies(path, root if root.is_dir() else root.parent, size, cache_folder)


def rig(
    root: Annotated[Path, typer.Argument(help="Folder that holds rig.yaml and the images that it names.")],
    out: Annotated[Path | None, typer.Option(help="Index file to write; ROOT/gsocc_index_rig.npz by default.")] = None,
    undistort: Annotated[
        bool, typer.Option("--undistort", help="Write straightened copies of images of bent lenses, and index those.")
    ] = False,
    cache: _Cache = None,
    cache_folder: _CacheFolder = None,
) -> None:
    """Read the rig file of a folder of images, match its cameras in time, and write the index."""
    from gsocc.app.commands.sizes import parse_size
    from gsocc.datasets.rig_index import build_index

    size = None if cache is None else parse_size(cache, "--cache")
    path = build_index(root, out, undistort=undistort)
    _show(path)
    _write_copies(path, root, size, cache_folder)


def _write_copies(index: Path, root: Path, size: tuple[int, int] | None, folder: Path | None) -> None:
    """Write resized copies of the images of an index, where a size is given, and say so."""
    if size is None:
        return
    from gsocc.datasets.image_cache import write_image_cache
    from gsocc.datasets.index import read_index

    copies = folder or root / "image_cache"
    count = write_image_cache(read_index(index), root, copies, size)
    typer.echo(f"{copies}: {count} images written at {size[0]}x{size[1]}")


def _show(path: Path) -> None:
    """Say what an index holds."""
    from rich.console import Console

    from gsocc.datasets.index import read_index

    index = read_index(path)
    frames, images = len(index), len(index.image_file)
    summary = f"{path}: {frames} key frames of {len(index.scene_names)} scenes, {images} images"
    Console().print(summary, markup=False, highlight=False, soft_wrap=True)
