"""PLY files, binary and little-endian: Gaussians as viewers of 3-D Gaussian splatting read them, points and meshes."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gsocc.files import atomic_writer
from gsocc.structures import Gaussians

SH_C0 = 0.28209479177387814
"""The spherical harmonic of degree 0, 1 / (2 sqrt(pi)): a colour is ``0.5 + SH_C0 f_dc``."""

SH_DEGREES = (0, 1, 2, 3)
_ROWS_AT_ONCE = 1 << 16
_ALMOST = 1e-6  # opacities of 0 and 1 have no finite logit
_SMALLEST_M = 1e-9  # nor has a flat Gaussian a logarithm of its thickness
_NUMBERS = {"float": "<f4", "uchar": "u1"}


def splat_properties(sh_degree: int = 3) -> tuple[str, ...]:
    """Return the properties of a Gaussian in the order in which the authors of 3DGS (arXiv:2308.04079) write them."""
    rest = 3 * ((sh_degree + 1) ** 2 - 1)
    return (
        *("x", "y", "z", "nx", "ny", "nz"),
        *(f"f_dc_{i}" for i in range(3)),
        *(f"f_rest_{i}" for i in range(rest)),
        "opacity",
        *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    )


def write_gaussians_ply(
    path: Path | str,
    gaussians: Gaussians,
    colors: Float[Tensor, "N 3"],
    *,
    sh_degree: int = 3,
    comments: Sequence[str] = (),
) -> None:
    """Write Gaussians of one colour each, whole or not at all.

    Stored are, all as float32: centres, normals (zero), ``f_dc = (colour - 0.5) / SH_C0``, higher harmonics (zero), the
    logit of the opacity (of opacities kept 1e-6 away from 0 and 1), the logarithm of the scales, and unit quaternions
    (w, x, y, z).

    Args:
        path: The file.
        gaussians: A batch of one; its features are not written.
        colors: RGB in [0, 1].
        sh_degree: Of the harmonics that the file has room for. Some viewers, that of the authors among them, read files
            of degree 3 alone; files of degree 0 are a quarter as large.
        comments: Lines of the header. They stand behind the properties, where the authors' viewer passes over them.

    Raises:
        ValueError: Where there is more than one batch item, shapes depend on the camera, or the degree is unknown.
        OutputError: Where the file cannot be written.
    """
    if len(gaussians.means) != 1 or gaussians.covariances is not None:
        raise ValueError(
            f"write_gaussians_ply: expected one batch item whose shapes do not depend on the camera, got "
            f"{len(gaussians.means)} items {'with' if gaussians.covariances is not None else 'without'} covariances"
        )
    if sh_degree not in SH_DEGREES:
        raise ValueError(f"write_gaussians_ply: sh_degree must be one of {SH_DEGREES}, got {sh_degree}")
    names = splat_properties(sh_degree)
    count = gaussians.means.shape[1]
    with atomic_writer(path) as temporary, temporary.open("wb") as file:
        _write_header(file, [("vertex", count, [("float", name) for name in names])], comments)
        for start in range(0, count, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            rows = _splat_rows(gaussians, colors, part, len(names))
            file.write(rows.tobytes())


def write_points_ply(
    path: Path | str,
    points: Float[np.ndarray, "N 3"],
    colors: UInt8[np.ndarray, "N 3"],
    labels: UInt8[np.ndarray, " N"],
    *,
    comments: Sequence[str] = (),
) -> None:
    """Write points in metres with colours and, as the property `label`, their classes.

    Raises:
        OutputError: Where the file cannot be written.
    """
    properties = [
        *(("float", axis) for axis in "xyz"),
        *(("uchar", name) for name in ("red", "green", "blue", "label")),
    ]
    rows = _table(properties, len(points))
    for axis, values in zip("xyz", points.T, strict=True):
        rows[axis] = values
    for name, channel in zip(("red", "green", "blue"), colors.T, strict=True):
        rows[name] = channel
    rows["label"] = labels
    with atomic_writer(path) as temporary, temporary.open("wb") as file:
        _write_header(file, [("vertex", len(points), properties)], comments)
        file.write(rows.tobytes())


def write_mesh_ply(
    path: Path | str,
    vertices: Float[np.ndarray, "N 3"],
    triangles: Int[np.ndarray, "M 3"],
    colors: UInt8[np.ndarray, "N 3"],
    *,
    comments: Sequence[str] = (),
) -> None:
    """Write triangles with coloured vertices in metres.

    Raises:
        OutputError: Where the file cannot be written.
    """
    properties = [*(("float", axis) for axis in "xyz"), *(("uchar", name) for name in ("red", "green", "blue"))]
    rows = _table(properties, len(vertices))
    for axis, values in zip("xyz", vertices.T, strict=True):
        rows[axis] = values
    for name, channel in zip(("red", "green", "blue"), colors.T, strict=True):
        rows[name] = channel
    faces = np.empty(len(triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    elements = [("vertex", len(vertices), properties), ("face", len(faces), [("list uchar int", "vertex_indices")])]
    with atomic_writer(path) as temporary, temporary.open("wb") as file:
        _write_header(file, elements, comments)
        file.write(rows.tobytes())
        file.write(faces.tobytes())


def _splat_rows(
    gaussians: Gaussians, colors: Float[Tensor, "N 3"], part: slice, width: int
) -> Float[np.ndarray, "M P"]:
    opacities = gaussians.opacities[0, part].double().clamp(_ALMOST, 1.0 - _ALMOST)
    quats = gaussians.quats[0, part].double()
    tail = [
        torch.logit(opacities)[:, None],
        gaussians.scales[0, part].double().clamp(min=_SMALLEST_M).log(),
        quats / quats.norm(dim=-1, keepdim=True),
    ]
    rows = np.zeros((len(opacities), width), dtype="<f4")
    rows[:, :3] = gaussians.means[0, part].cpu()
    rows[:, 6:9] = ((colors[part].double() - 0.5) / SH_C0).cpu()
    rows[:, -8:] = torch.cat(tail, -1).cpu()
    return rows


def _table(properties: Sequence[tuple[str, str]], count: int) -> np.ndarray:
    return np.empty(count, dtype=[(name, _NUMBERS[kind]) for kind, name in properties])


def _write_header(
    file: BinaryIO, elements: Sequence[tuple[str, int, Sequence[tuple[str, str]]]], comments: Sequence[str]
) -> None:
    lines = ["ply", "format binary_little_endian 1.0"]
    for element, count, properties in elements:
        lines.append(f"element {element} {count}")
        lines += [f"property {kind} {name}" for kind, name in properties]
    lines += [f"comment {' '.join(comment.split())}" for comment in comments]
    file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii", "replace"))
