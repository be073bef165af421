"""The index of a data set: what training reads instead of its tables.

An index is one npz file of plain columns: names as UTF-8 bytes of fixed width, poses as (w, x, y, z, tx, ty, tz) in
float64. It is built once (`gsocc.datasets.nuscenes_index`, `gsocc.datasets.ddad_index`,
`gsocc.datasets.rig_index`) and knows the tables that it
was built from; opening it beside tables that changed since is refused.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64

from gsocc.errors import DataError
from gsocc.files import read_npz, write_npz

FORMAT = 1
ALL_SCENES = "all"
"""The split that holds every scene of the index, listed in an official split or not."""

Part = Literal["sweeps", "lidar", "poses"]
Names = np.ndarray  # of fixed-width bytes; jaxtyping has no name for these


@dataclass(frozen=True)
class TableSource:
    """A table that an index was built from."""

    size: int  # bytes
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class IndexSource:
    """What an index was built from.

    Attributes:
        dataset: Name of the data set: "nuscenes", "ddad" or "rig".
        version: Its version; of nuScenes also the folder of its tables below the root ("v1.0-trainval").
        devkit: Version of the devkit that read the tables; of ours where there is none.
        skipped: What was left out on request, or is not there: camera sweeps, LiDAR scans, ego poses.
        tables: The tables by file name.
    """

    dataset: str
    version: str
    devkit: str
    skipped: tuple[Part, ...]
    tables: dict[str, TableSource]

    @property
    def folder(self) -> str:
        """The folder of the tables below the root."""
        return self.version if self.dataset == "nuscenes" else "."


@dataclass(frozen=True)
class SurroundIndex:
    """Key frames (S) of scenes (N), their images (I) in V cameras, and the calibrations (C) of those.

    Rows of key frames are ordered by scene and time. A row number of -1 means that there is no such thing.

    Attributes:
        source: What the index was built from.
        cameras: Names of the V cameras.
        splits: Which scenes belong to a split, by its name.
        scene_names: Name of each scene.
        sample_tokens: The data set's id of each key frame.
        sample_scene: Its row in `scene_names`.
        sample_time_us: Its time in microseconds.
        sample_prev: Row of the key frame before it in its scene.
        sample_next: Row of the key frame after it.
        key_image: Row of its image in each camera.
        prev_image: Row of the image that its camera took just before: a sweep, where there are sweeps.
        next_image: Row of the image just after.
        image_file: Path below the root, with forward slashes.
        image_time_us: When the image was taken.
        image_ego_to_global: Ego pose at that time.
        image_size: (H, W) in pixels.
        image_calibration: Row in the two columns below.
        intrinsics: K in pixels of the stored image.
        cam_to_ego: Pose of the camera on the vehicle.
        lidar_file: Path of the key frame's LiDAR scan below the root; empty where there is none.
        lidar_to_ego: Pose of the LiDAR on the vehicle.
        lidar_ego_to_global: Ego pose at the time of the scan, not that of any image.
        prev2_image: Row of the image before `prev_image`; None where the index was built without.
        next2_image: Row of the image after `next_image`.
        lidar_columns: What the columns of a plain DGP scan hold, by name, with commas between ("INTENSITY,X,Y,Z");
            None where x, y, z come first in all scans.
    """

    source: IndexSource
    cameras: tuple[str, ...]
    splits: dict[str, Bool[np.ndarray, " N"]]
    scene_names: Names
    sample_tokens: Names
    sample_scene: Int32[np.ndarray, " S"]
    sample_time_us: Int64[np.ndarray, " S"]
    sample_prev: Int32[np.ndarray, " S"]
    sample_next: Int32[np.ndarray, " S"]
    key_image: Int32[np.ndarray, "S V"]
    prev_image: Int32[np.ndarray, "S V"]
    next_image: Int32[np.ndarray, "S V"]
    image_file: Names
    image_time_us: Int64[np.ndarray, " I"]
    image_ego_to_global: Float64[np.ndarray, "I 7"]
    image_size: Int32[np.ndarray, "I 2"]
    image_calibration: Int32[np.ndarray, " I"]
    intrinsics: Float64[np.ndarray, "C 3 3"]
    cam_to_ego: Float64[np.ndarray, "C 7"]
    lidar_file: Names
    lidar_to_ego: Float64[np.ndarray, "S 7"]
    lidar_ego_to_global: Float64[np.ndarray, "S 7"]
    prev2_image: Int32[np.ndarray, "S V"] | None = None
    next2_image: Int32[np.ndarray, "S V"] | None = None
    lidar_columns: Names | None = None

    def __len__(self) -> int:
        return len(self.sample_tokens)

    def token(self, row: int) -> str:
        """Return the id of a key frame."""
        return self.sample_tokens[row].decode()

    def scene(self, row: int) -> str:
        """Return the name of the scene of a key frame."""
        return self.scene_names[self.sample_scene[row]].decode()

    def scan_columns(self, row: int) -> tuple[str, ...]:
        """Return what the columns of a key frame's scan hold; empty where x, y, z come first."""
        if self.lidar_columns is None or not self.lidar_columns[row]:
            return ()
        return tuple(self.lidar_columns[row].decode().split(","))

    def split_rows(self, split: str) -> Int64[np.ndarray, " rows"]:
        """Return the rows of the key frames of a split.

        Raises:
            DataError: Where there is no such split, or none of its scenes is here.
        """
        counts = {name: int(scenes[self.sample_scene].sum()) for name, scenes in self.splits.items()}
        present = ", ".join(f"{name} ({count})" for name, count in counts.items() if count)
        if split not in counts:
            raise DataError(f"split: expected one of {', '.join(counts)}, got {split!r}; key frames here: {present}")
        if not counts[split]:
            raise DataError(
                f"split {split} has no key frames in {self.source.dataset} {self.source.version}; here are: {present}"
            )
        return self.splits[split][self.sample_scene].nonzero()[0]


_OPTIONAL = ("prev2_image", "next2_image", "lidar_columns")
_COLUMNS = tuple(f.name for f in fields(SurroundIndex) if f.name not in ("source", "cameras", "splits", *_OPTIONAL))


def pose_matrix(pose: Float64[np.ndarray, "*N 7"]) -> Float64[np.ndarray, "*N 4 4"]:
    """Return the rigid 4x4 matrix of (w, x, y, z, tx, ty, tz), whose quaternion is normalised first."""
    w, x, y, z = np.moveaxis(pose[..., :4] / np.linalg.norm(pose[..., :4], axis=-1, keepdims=True), -1, 0)
    matrix = np.zeros((*pose.shape[:-1], 4, 4))
    matrix[..., 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1)
    matrix[..., 1, :3] = np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1)
    matrix[..., 2, :3] = np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1)
    matrix[..., :3, 3] = pose[..., 4:]
    matrix[..., 3, 3] = 1.0
    return matrix


def encode_names(names: list[str]) -> Names:
    """Return names as an array of UTF-8 bytes, a quarter of the size of NumPy's Unicode."""
    return np.array([name.encode() for name in names], dtype=np.bytes_)


def save_index(path: Path, index: SurroundIndex) -> None:
    """Write an index, whole or not at all."""
    meta = {
        "format": FORMAT,
        "dataset": index.source.dataset,
        "version": index.source.version,
        "devkit": index.source.devkit,
        "skipped": list(index.source.skipped),
        "tables": {name: vars(table) for name, table in index.source.tables.items()},
        "cameras": list(index.cameras),
    }
    columns = {name: getattr(index, name) for name in _COLUMNS}
    columns |= {name: getattr(index, name) for name in _OPTIONAL if getattr(index, name) is not None}
    splits = {f"split_{name}": scenes for name, scenes in index.splits.items()}
    write_npz(path, meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **columns, **splits)


def open_index(path: Path, root: Path) -> SurroundIndex:
    """Read an index and check that the tables below `root` are still those that it was built from.

    A table of the same size and time is taken to be the same; one of another time (a copied data set) is hashed.

    Raises:
        DataError: Where the index is missing, damaged, of another format, or the tables changed.
    """
    index = read_index(path)
    changes = changed_tables(index.source, root)
    if changes:
        raise DataError(
            f"{path}: the index does not belong to {root / index.source.folder} any more: {'; '.join(changes)}. "
            f"Build it again: {rebuild_command(root, index.source.version, path, index.source.dataset)}"
        )
    return index


def read_index(path: Path) -> SurroundIndex:
    """Read an index without looking at the tables.

    Raises:
        DataError: Where the index is missing, damaged or of another format.
    """
    try:
        arrays = read_npz(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no index; build it: gsocc index nuscenes ROOT --out {path}") from error
    try:
        meta = json.loads(arrays["meta"].tobytes())
        found = meta["format"]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: is not an index of gsocc; build one: gsocc index nuscenes ROOT") from error
    if found != FORMAT:
        raise DataError(
            f"{path}: the index has format {found}, this gsocc reads format {FORMAT}; build it again: "
            f"gsocc index {meta.get('dataset', 'nuscenes')} ROOT --out {path}"
        )
    try:
        return SurroundIndex(
            source=_read_source(meta),
            cameras=tuple(meta["cameras"]),
            splits={name[6:]: value for name, value in arrays.items() if name.startswith("split_")},
            **{name: arrays[name] for name in _COLUMNS},
            **{name: arrays[name] for name in _OPTIONAL if name in arrays},
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: the index is damaged ({error!r}); build it again") from error


def table_source(path: Path) -> TableSource:
    """Describe a table as it is now."""
    stat = path.stat()
    return TableSource(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=_sha256(path))


def changed_tables(source: IndexSource, root: Path) -> list[str]:
    """Return one line for each table that is not what the index was built from."""
    changes = []
    for name, then in source.tables.items():
        path = root / source.folder / name
        if not path.is_file():
            changes.append(f"{name} is missing")
            continue
        stat = path.stat()
        if stat.st_size != then.size:
            changes.append(f"{name} has {stat.st_size} bytes, had {then.size}")
        elif stat.st_mtime_ns != then.mtime_ns and _sha256(path) != then.sha256:
            changes.append(f"{name} has other contents")
    return changes


def read_token_list(path: Path) -> list[str]:
    """Read a token list: the first word of each line, empty lines and lines that begin with # aside.

    Raises:
        DataError: Where the file is missing, not text, empty, or lists a token twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a token list ({error})") from error
    tokens = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not tokens:
        raise DataError(f"{path}: the token list is empty; expected one key-frame token per line")
    if len(set(tokens)) != len(tokens):
        twice = next(token for i, token in enumerate(tokens) if token in tokens[:i])
        raise DataError(f"{path}: token {twice} is listed twice; it would count twice in every metric")
    return tokens


def select_rows(index: SurroundIndex, split: str, tokens: Sequence[str] | None) -> Int64[np.ndarray, " rows"]:
    """Return the index rows of a split, or of those of its key frames that `tokens` lists, in that order.

    Raises:
        DataError: Where the split has no key frames, or a token is not among them.
    """
    rows = index.split_rows(split)
    if tokens is None:
        return rows
    row_of = {index.token(row): row for row in rows.tolist()}
    unknown = [token for token in tokens if token not in row_of]
    if unknown:
        elsewhere = set(index.sample_tokens.tolist()).intersection(token.encode() for token in unknown)
        raise DataError(
            f"{len(unknown)} of {len(tokens)} listed tokens are not key frames of split {split} in "
            f"{index.source.dataset} {index.source.version} ({', '.join(unknown[:3])}{', ...' * (len(unknown) > 3)}); "
            f"{len(elsewhere)} of them belong to other splits"
        )
    if not tokens:
        raise DataError(f"split {split}: the list of tokens is empty")
    return np.array([row_of[token] for token in tokens], dtype=np.int64)


def default_index_path(root: Path, version: str) -> Path:
    """Return where an index lies unless told otherwise."""
    return root / f"gsocc_index_{version}.npz"


def find_index(root: Path, version: str | None = None) -> Path:
    """Return the index below a root.

    Raises:
        DataError: Where there is none, or several and no version is given.
    """
    if not root.is_dir():
        raise DataError(f"{root}: the data root does not exist or is not a folder")
    if version is not None:
        found = [default_index_path(root, version)]
    else:
        found = sorted(root.glob(default_index_path(root, "*").name))
    found = [path for path in found if path.is_file()]
    if not found:
        raise DataError(f"{root}: no index; build it: {rebuild_command(root, version or 'v1.0-trainval')}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{root}: several indices ({names}); say which by `index` or `version`")
    return found[0]


def rebuild_command(root: Path, version: str, path: Path | None = None, dataset: str = "nuscenes") -> str:
    """Return the command line that builds an index."""
    elsewhere = path is not None and path != default_index_path(root, version)
    chosen = f" --version {version}" if dataset == "nuscenes" else ""
    return f"gsocc index {dataset} {root}{chosen}" + (f" --out {path}" if elsewhere else "")


def _read_source(meta: dict[str, Any]) -> IndexSource:
    return IndexSource(
        dataset=meta["dataset"],
        version=meta["version"],
        devkit=meta["devkit"],
        skipped=tuple(meta["skipped"]),
        tables={name: TableSource(**table) for name, table in meta["tables"].items()},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
