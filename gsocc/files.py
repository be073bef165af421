"""Files that are either whole or absent: atomic writes, and readers that name the file which is damaged."""

import errno
import io
import json
import math
import os
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gsocc.errors import DataError, OutputError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another output folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another output folder",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another output folder",
    errno.EEXIST: "a file is in the way of a folder; choose another output folder",
    errno.EISDIR: "a folder of that name is in the way; move it or choose another name",
}


@contextmanager
def atomic_writer(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block succeeds and vanishes when it fails.

    It lies beside `path`, in a folder made where needed, and keeps the suffix that some writers look at.

    Raises:
        OutputError: Where the disk is full, read-only or refuses the name.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        with output_errors(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder, which replaces the folder `path` when the block succeeds.

    At every moment either the old or the new folder exists. A process that is killed between the two renames
    leaves the old one under a hidden name, from which `restore_folder` brings it back.

    Raises:
        OutputError: Where the disk is full, read-only or refuses the name.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    backup = _backup(path)
    try:
        with output_errors(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            restore_folder(path)
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                _sync(file)
            if path.exists():
                path.rename(backup)
            temporary.rename(path)
            _sync(path.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        if path.parent.is_dir():
            restore_folder(path)


def restore_folder(path: Path | str) -> None:
    """Finish or undo a replacement by `atomic_folder` that was killed half-way; do nothing otherwise."""
    path, backup = Path(path), _backup(Path(path))
    if not backup.exists():
        return
    if path.exists():
        shutil.rmtree(backup, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):  # another process of the same run was quicker
            backup.rename(path)


@contextmanager
def output_errors(path: Path | str, temporary: Path | None = None) -> Iterator[None]:
    """Turn the system's write errors inside the block into an `OutputError` that names `path` and what to do.

    Errors that name another file than `path`, its parents or `temporary` pass: they come from reading.
    """
    path = Path(path)
    try:
        yield
    except OSError as error:
        ours = {str(p) for p in (path, *path.parents, temporary) if p is not None}
        named = error.filename is None or os.fsdecode(error.filename) in ours
        inside = temporary is not None and str(error.filename).startswith(str(temporary))
        if not (named or inside or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)):
            raise
        reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}") from error


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_writer(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path | str, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    atomic_write_bytes(path, text.encode())


def write_npz(path: Path | str, /, **arrays: np.ndarray) -> None:
    """Write named arrays as a compressed npz; equal arrays give equal bytes.

    Raises:
        TypeError: Where an array holds Python objects, which only pickle could store.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"write_npz: {name} holds Python objects; expected numbers, booleans or strings")
    with atomic_writer(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """Read every array of an npz file.

    Raises:
        FileNotFoundError: Where there is no such file.
        DataError: Where the file is damaged, no npz, or holds pickled objects.
    """
    path = Path(path)
    data = path.read_bytes()
    if data.startswith(np.lib.format.MAGIC_PREFIX):
        raise DataError(f"{path}: expected an npz archive, got a single npy array")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): _member(data, archive, info) for info in archive.infolist()}
        return {name: _array(content) for name, content in members.items()}
    except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: expected a whole npz archive without pickled objects, got: {error}") from error


def _member(data: bytes, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the contents of a member of an archive.

    zipfile, and so NumPy, inflates in steps of a few kilobytes under the interpreter's lock: label files then take five
    times as long, and threads that read them wait for each other. A deflated member is inflated here in one step.

    Raises:
        zipfile.BadZipFile: Where the member is damaged.
    """
    start = info.header_offset
    if info.compress_type != zipfile.ZIP_DEFLATED or info.flag_bits & 1 or data[start : start + 4] != b"PK\3\4":
        return archive.read(info)
    names = int.from_bytes(data[start + 26 : start + 28], "little") + int.from_bytes(
        data[start + 28 : start + 30], "little"
    )
    start += 30 + names
    packed = memoryview(data)[start : start + info.compress_size]
    # The size in the table may be damaged too; no deflated byte stands for more than 1032.
    content = zlib.decompress(packed, -zlib.MAX_WBITS, max(1, min(info.file_size, 1032 * len(packed))))
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile(f"member {info.filename} is damaged")
    return content


def _array(content: bytes) -> np.ndarray:
    """Return the array of a npy file; large plain ones are copied once, where NumPy joins chunks.

    Raises:
        ValueError: Where the file is damaged or holds Python objects.
    """
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) == (1, 0):
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(stream)
        count = math.prod(shape)
        if count and dtype.itemsize and not dtype.hasobject:
            flat = np.frombuffer(content, dtype, count, stream.tell()).copy()
            return flat.reshape(shape[::-1]).T if columns_first else flat.reshape(shape)
    stream.seek(0)
    array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON, indented; NumPy scalars and arrays become numbers and lists, NaN and infinities null."""
    atomic_write_text(path, json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: Where there is no such file.
        DataError: Where it is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got: {error}") from error


def jsonable(value: Any) -> Any:
    """Return a value made of what JSON knows; JSON knows no NaN and no infinity, so they become null."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _backup(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
