"""Files are whole or absent, and a refusal names the path and what to do."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gsocc.errors import DataError, OutputError
from gsocc.files import (
    atomic_folder,
    atomic_write_text,
    atomic_writer,
    read_json,
    read_npz,
    restore_folder,
    write_json,
    write_npz,
)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_writer(path) as temporary:
        temporary.write_text("half of the ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_name_keeps_the_suffix_and_the_folder(tmp_path: Path) -> None:
    with atomic_writer(tmp_path / "new" / "a.npz") as temporary:
        assert (temporary.suffix, temporary.parent) == (".npz", tmp_path / "new")
        temporary.write_bytes(b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is always full")
def test_a_full_disk_names_the_path(tmp_path: Path) -> None:
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    message = pytest.raises(OutputError, match=r"cannot write .*a\.txt: the disk is full; free some space")
    with full, message, atomic_writer(tmp_path / "a.txt"):
        full.write(b"x")


@pytest.mark.parametrize(
    ("code", "words"), [(errno.EROFS, "file system is read-only"), (errno.EACCES, "permission denied")]
)
def test_a_read_only_place_names_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    """Tests may run as root, whom permissions do not stop: the system's answer is played."""

    def refuse(path: Path, *args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=rf"cannot write .*run/a\.txt: .*{words}"):
        atomic_write_text(tmp_path / "run" / "a.txt", "x")


def test_an_error_of_reading_inside_the_block_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"), atomic_writer(tmp_path / "a.txt") as temporary:
        temporary.write_bytes((tmp_path / "elsewhere" / "missing").read_bytes())


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    for text in ("one", "two"):
        with atomic_folder(folder) as temporary:
            (temporary / f"{text}.txt").write_text(text)
    assert [p.name for p in folder.iterdir()] == ["two.txt"]
    with pytest.raises(RuntimeError), atomic_folder(folder) as temporary:
        (temporary / "three.txt").write_text("three")
        raise RuntimeError
    assert [p.name for p in tmp_path.rglob("*")] == ["last", "two.txt"]


@pytest.mark.parametrize("new_arrived", [False, True])
def test_a_replacement_that_was_killed_is_undone_or_finished(tmp_path: Path, new_arrived: bool) -> None:
    (tmp_path / ".last.replaced").mkdir()
    (tmp_path / ".last.replaced" / "old").write_text("")
    if new_arrived:
        (tmp_path / "last").mkdir()
        (tmp_path / "last" / "new").write_text("")
    restore_folder(tmp_path / "last")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["last", "new" if new_arrived else "old"]


def test_arrays_come_back_and_equal_ones_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {"path": np.arange(6).reshape(2, 3), "names": np.array(["a", "bc"])}
    write_npz(tmp_path / "a.npz", **arrays)
    write_npz(tmp_path / "b.npz", **arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = read_npz(tmp_path / "a.npz")
    assert set(back) == set(arrays)
    np.testing.assert_array_equal(back["path"], arrays["path"])


def test_objects_are_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="holds Python objects"):
        write_npz(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    np.savez(tmp_path / "b.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"b\.npz: expected a whole npz archive"):
        read_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("keep_bytes", [0, 10, 150])
def test_a_truncated_archive_is_named(tmp_path: Path, keep_bytes: int) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, a=np.arange(100))
    path.write_bytes(path.read_bytes()[:keep_bytes])
    with pytest.raises(DataError, match=r"a\.npz: expected"):
        read_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_every_layout_come_back_as_numpy_reads_them(tmp_path: Path, save: Callable[..., None]) -> None:
    """NumPy's own reader is the reference; arrays are writable, as PyTorch wants them."""
    rng = np.random.default_rng(0)
    arrays = {
        "columns_first": np.asfortranarray(rng.normal(size=(3, 4, 5))),
        "empty": np.zeros((0, 3), np.int16),
        "scalar": np.array(2.5),
        "big_endian": np.arange(5, dtype=">i4"),
        "no_width": np.array(["", ""]),
        "fields": np.zeros(2, dtype=[("a", np.uint8), ("b", np.float32)]),
        "strided": np.arange(20)[::3],
    }
    save(tmp_path / "a.npz", **arrays)
    back = read_npz(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as expected:
        assert list(back) == expected.files
        for name in back:
            assert (back[name].dtype, back[name].shape) == (expected[name].dtype, expected[name].shape)
            assert back[name].tobytes() == expected[name].tobytes()
            assert back[name].flags.writeable


def test_a_damaged_member_is_named_and_not_returned(tmp_path: Path) -> None:
    """Every byte of the packed array is flipped in turn; most still unpack, to something else."""
    path = tmp_path / "a.npz"
    write_npz(path, a=np.random.default_rng(0).integers(0, 18, 400).astype(np.uint8))
    whole = path.read_bytes()
    for place in range(60, 300, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a\.npz: expected a whole npz archive"):
            read_npz(path)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(DataError, match="expected an npz archive"):
        read_npz(tmp_path / "a.npz")


def test_json_knows_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": np.float32(0.5), "b": [float("nan"), np.arange(2)], 3: Path("x")})
    assert read_json(tmp_path / "a.json") == {"a": 0.5, "b": [None, [0, 1]], "3": "x"}


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(DataError, match=r"a\.json: expected JSON"):
        read_json(tmp_path / "a.json")
