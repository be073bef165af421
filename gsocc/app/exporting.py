"""Files for other programs, from stage-2 runs and prediction files: Gaussians and voxels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gsocc.datasets.loader import batches_of_one, evenly_spread
from gsocc.errors import UserError
from gsocc.interop.ply import write_gaussians_ply, write_mesh_ply, write_points_ply
from gsocc.interop.voxel_files import VoxelFrame, centers_m, edges_m, write_voxels_npz
from gsocc.labels import FREE, PALETTE
from gsocc.structures import OCC3D_GRID, Gaussians, SurroundBatch, VoxelGrid
from gsocc.structures.prediction import find_predictions, load_prediction
from gsocc.viewer.mesh import Mesh, voxel_mesh
from occ_stage.checkpoint import find_run_checkpoint, load_predictor
from occ_stage.data import open_dataset
from occ_stage.export import drawn_gaussians, native_prediction
from occ_stage.model import occ3d_prediction, threshold_labels
from occ_stage.predict import occupancy_threshold
from occ_stage.predictor import Predictor

Shape = Literal["cubes", "points"]
Lattice = Literal["occ3d", "native"]

_VOXEL_SUFFIXES = (".npz", ".ply")
_OTHER_SUFFIXES = (*_VOXEL_SUFFIXES, ".splat", ".spz", ".obj", ".glb", ".gltf", ".pcd", ".npy", ".stl")
_HEIGHTS_M = (-1.0, 5.0)  # what the colours of a network without classes run over
# Turns the ego frame so that viewers made for COLMAP's scenes, whose y axis points down, show it upright.
_EGO_TO_Y_DOWN = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
_EGO_TO_Y_DOWN_QUAT = (0.5, 0.5, -0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class FrameChoice:
    """Which key frames of a run are exported.

    Attributes:
        tokens: These; none for `count` of the split.
        count: So many, evenly spread; None for all.
        split: Of the run's splits.
    """

    tokens: Sequence[str] = ()
    count: int | None = 1
    split: Literal["train", "val"] = "val"


@dataclass(frozen=True, kw_only=True)
class SplatOptions:
    """What of the Gaussians is written, and how.

    Attributes:
        min_opacity: Leave out those below.
        max_distance_m: Leave out those farther from the ego origin.
        sh_degree: See `write_gaussians_ply`.
        axes: "ego" is x forward, y left, z up; "y_down" is x right, y down, z forward, upright in viewers that are
            made for COLMAP's scenes.
    """

    min_opacity: float = 0.05
    max_distance_m: float | None = None
    sh_degree: int = 3
    axes: Literal["ego", "y_down"] = "ego"


def export_gaussians(
    run: Path, out: Path, choice: FrameChoice, options: SplatOptions, overrides: Sequence[str] = ()
) -> list[tuple[Path, int]]:
    """Write the Gaussians of a run's key frames, as its renderer draws them; colours are those of the classes.

    Args:
        run: A run directory or a checkpoint folder of stage 2.
        out: A file that ends with .ply for one key frame, else a folder for <scene>/<token>.ply.
        choice: Which key frames.
        options: What is written of each.
        overrides: Changes to the run's configuration.

    Returns:
        The files, and how many Gaussians each holds.

    Raises:
        UserError: Where one file is named for several key frames, or no Gaussian is left.
    """
    predictor = load_predictor(run, overrides)
    written = []
    for batch, path in _chosen(predictor, choice, out, ".ply", (".ply",)):
        gaussians, classes = drawn_gaussians(predictor, batch)
        colors = _class_colors(classes) if predictor.ids else _height_colors(gaussians.means[0, :, 2])
        kept = _kept(gaussians, options)
        if not len(kept):
            raise UserError(
                f"{batch.scenes[0]}/{batch.tokens[0]}: no Gaussian has an opacity of {options.min_opacity:g}; the "
                f"greatest is {float(gaussians.opacities.max()):.3g}; lower --min-opacity"
            )
        chosen = _turned(_selected(gaussians, kept), options.axes)
        axes = "x forward, y left, z up" if options.axes == "ego" else "x right, y down, z forward"
        comments = [
            f"{batch.scenes[0]} {batch.tokens[0]}",
            f"{axes}, metres, from the ego origin",
            f"checkpoint {find_run_checkpoint(run).resolve().parent.parent.name}",
        ]
        write_gaussians_ply(path, chosen, colors[kept], sh_degree=options.sh_degree, comments=comments)
        written.append((path, len(kept)))
    return written


def export_voxels(
    frames: Iterator[tuple[VoxelFrame, Path]], shape: Shape = "cubes", max_distance_m: float | None = None
) -> list[tuple[Path, int]]:
    """Write voxels; the suffix of each path, .npz or .ply, says how.

    Returns:
        The files, and how many occupied voxels each holds.
    """
    written = []
    for frame, path in frames:
        if path.suffix == ".npz":
            write_voxels_npz(path, frame)
            count = int((frame.semantics != FREE).sum())
        else:
            count = _write_voxels_ply(path, frame, shape, max_distance_m)
        written.append((path, count))
    return written


def voxels_of_run(
    run: Path,
    out: Path,
    choice: FrameChoice,
    *,
    suffix: str = ".npz",
    lattice: Lattice = "occ3d",
    threshold: float | None = None,
    overrides: Sequence[str] = (),
) -> Iterator[tuple[VoxelFrame, Path]]:
    """Yield the voxels of a run's key frames, and where each is to be written.

    Args:
        run: A run directory or a checkpoint folder of stage 2.
        out: A file for one key frame, else a folder.
        choice: Which key frames.
        suffix: Of the files in a folder.
        lattice: "occ3d", what evaluation reads, or "native", the voxels of the network.
        threshold: Occupancy threshold; by default the run's, else the one that `gsocc eval` chose.
        overrides: Changes to the run's configuration.

    Raises:
        UserError: Where one file is named for several key frames, or there is no threshold.
    """
    predictor = load_predictor(run, overrides)
    config = predictor.config
    value = occupancy_threshold(run, config, threshold)
    meta = {"threshold": value, "decision": config.evaluation.decision, "pose": config.pose.label}
    for batch, path in _chosen(predictor, choice, out, suffix, _VOXEL_SUFFIXES):
        yield _voxel_frame(predictor, batch, lattice, value, meta), path


def voxels_of_predictions(paths: Sequence[Path], out: Path, suffix: str = ".npz") -> Iterator[tuple[VoxelFrame, Path]]:
    """Yield the voxels of prediction files, and where each is to be written.

    Raises:
        UserError: Where one file is named for several predictions.
        DataError: Where a file is damaged or no prediction.
    """
    files = find_predictions(paths)
    _check_out(out, len(files), _VOXEL_SUFFIXES)
    for file in files:
        p = load_prediction(file)
        frame = VoxelFrame(p.token, p.scene, p.timestamp_s, p.grid, p.semantics, p.occupancy, dict(p.meta))
        yield frame, _path(out, p.scene, p.token, suffix)


def is_run(path: Path) -> bool:
    """Return whether a path is a run directory or a checkpoint folder, not prediction files."""
    return (path / "checkpoints").is_dir() or (path / "model.safetensors").is_file()


def _chosen(
    predictor: Predictor, choice: FrameChoice, out: Path, suffix: str, suffixes: Sequence[str]
) -> Iterator[tuple[SurroundBatch, Path]]:
    dataset = open_dataset(predictor.config, choice.split, frame_ids=(0,))
    if choice.tokens:
        number_of = {token: number for number, token in enumerate(dataset.tokens)}
        unknown = [token for token in choice.tokens if token not in number_of]
        if unknown:
            raise UserError(
                f"--token: {', '.join(unknown[:3])}: no key frame of the {choice.split} split, whose first one is "
                f"{dataset.tokens[0]}"
            )
        numbers = [number_of[token] for token in dict.fromkeys(choice.tokens)]
    else:
        numbers = evenly_spread(len(dataset), choice.count)
    _check_out(out, len(numbers), suffixes)
    for batch in batches_of_one(dataset, numbers, "exporting"):
        yield batch, _path(out, batch.scenes[0], batch.tokens[0], suffix)


def _check_out(out: Path, count: int, suffixes: Sequence[str]) -> None:
    if out.suffix in _OTHER_SUFFIXES and out.suffix not in suffixes:
        raise UserError(f"{out}: expected a name that ends with {' or '.join(suffixes)}, or a folder")
    if out.suffix in suffixes and count > 1:
        raise UserError(f"{out}: is one file, but {count} key frames are to be written; name a folder")


def _path(out: Path, scene: str, token: str, suffix: str) -> Path:
    return out if out.suffix in _VOXEL_SUFFIXES else out / scene / f"{token}{suffix}"


@torch.no_grad()
def _voxel_frame(
    predictor: Predictor, batch: SurroundBatch, lattice: Lattice, threshold: float, meta: dict[str, Any]
) -> VoxelFrame:
    evaluation, field = predictor.config.evaluation, predictor.field(batch)
    if lattice == "native":
        occupancy, classes = native_prediction(field, predictor.ids, evaluation.decision)
        grid = predictor.grid
    else:
        occupancy, classes = occ3d_prediction(field, predictor.ids, evaluation.lattice, evaluation.decision)
        grid = OCC3D_GRID
    labels = threshold_labels(occupancy, classes, threshold)
    return VoxelFrame(
        token=batch.tokens[0],
        scene=batch.scenes[0],
        timestamp_s=batch.timestamps_s[0],
        grid=grid,
        semantics=labels[0].cpu().numpy(),
        occupancy=occupancy[0].cpu().numpy(),
        meta=meta,
    )


def _class_colors(classes: UInt8[Tensor, " N"]) -> Float[Tensor, "N 3"]:
    return torch.from_numpy(PALETTE).to(classes.device)[classes.long()].float() / 255


def _height_colors(z_m: Float[Tensor, " N"]) -> Float[Tensor, "N 3"]:
    """Colour by height, from violet on the ground to yellow."""
    from matplotlib import colormaps

    low, high = _HEIGHTS_M
    share = ((z_m - low) / (high - low)).clamp(0, 1).cpu().numpy()
    return torch.from_numpy(colormaps["viridis"](share)[:, :3]).to(z_m)


def _kept(gaussians: Gaussians, options: SplatOptions) -> Tensor:
    kept = gaussians.opacities[0] >= options.min_opacity
    if options.max_distance_m is not None:
        kept &= gaussians.means[0].norm(dim=-1) <= options.max_distance_m
    return kept.nonzero()[:, 0]


def _selected(gaussians: Gaussians, kept: Tensor) -> Gaussians:
    return gaussians.map(lambda tensor: tensor[:, kept])


def _turned(gaussians: Gaussians, axes: str) -> Gaussians:
    """Return Gaussians, whose quaternions are those of axis-aligned ones, in other axes."""
    if axes == "ego":
        return gaussians
    rotation, quat = gaussians.means.new_tensor(_EGO_TO_Y_DOWN), gaussians.quats.new_tensor(_EGO_TO_Y_DOWN_QUAT)
    return replace(gaussians, means=gaussians.means @ rotation.T, quats=quat.expand_as(gaussians.quats))


def _write_voxels_ply(path: Path, frame: VoxelFrame, shape: Shape, max_distance_m: float | None) -> int:
    axes, edges = centers_m(frame.grid), edges_m(frame.grid)
    shown = frame.semantics != FREE
    far = np.linalg.norm(np.stack(np.meshgrid(*axes, indexing="ij"), -1), axis=-1)
    if max_distance_m is not None:
        shown = shown & (far <= max_distance_m)
    comments = [f"{frame.scene} {frame.token}", "x forward, y left, z up, metres, from the ego origin"]
    if shape == "points":
        at = np.argwhere(shown)
        points = np.stack([axis[i] for axis, i in zip(axes, at.T, strict=True)], -1)
        labels = frame.semantics[shown]
        write_points_ply(path, points, PALETTE[labels], labels, comments=comments)
        return len(at)
    for axis, edge in enumerate(edges):  # a voxel without an end is no cube
        ends = np.isfinite(edge[:-1]) & np.isfinite(edge[1:])
        shown = shown & np.expand_dims(ends, tuple({0, 1, 2} - {axis}))
    mesh = _cubes(frame, shown, edges)
    write_mesh_ply(path, mesh.vertices, mesh.triangles, mesh.colors, comments=comments)
    return int(shown.sum())


def _cubes(frame: VoxelFrame, shown: np.ndarray, edges: Sequence[np.ndarray]) -> Mesh:
    """Return the outer faces of voxels, whose edges may be of any lengths."""
    mesh = voxel_mesh(PALETTE[frame.semantics], shown, VoxelGrid((0.0, 0.0, 0.0), frame.grid.shape, (1.0, 1.0, 1.0)))
    corners = np.rint(mesh.vertices).astype(np.int64)
    vertices = np.stack([edge[i] for edge, i in zip(edges, corners.T, strict=True)], -1).astype(np.float32)
    return replace(mesh, vertices=vertices.reshape(-1, 3))
