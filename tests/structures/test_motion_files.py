"""Motion files: what stage 1 writes is what stage 2 reads, and nothing else is taken for one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsocc.errors import DataError
from gsocc.files import read_npz, write_npz
from gsocc.structures.motions import EgoMotions, load_motions, save_motions


def _motions() -> EgoMotions:
    """Return two key frames; the first turns by 0.1 rad about z while it moves 1 m ahead."""
    ego_motion = np.tile(np.eye(4, dtype=np.float32), (2, 2, 1, 1))
    cos, sin = np.cos(0.1), np.sin(0.1)
    ego_motion[0, 0, :2, :2] = [[cos, -sin], [sin, cos]]
    ego_motion[0, 0, 0, 3] = -1.0
    valid = np.array([[True, True], [True, False]])
    return EgoMotions(("3e87", "a1b2"), (0, -1, 1), "sweeps", "gsp@300-1a2b3c4d/geometric", ego_motion, valid)


def test_motions_return_as_they_were_written(tmp_path: Path) -> None:
    """Bit-equal matrices: nothing is rounded on the way."""
    save_motions(tmp_path / "m.npz", _motions())
    read = load_motions(tmp_path / "m.npz")
    assert np.array_equal(read.ego_motion, _motions().ego_motion)
    assert np.array_equal(read.frame_valid, _motions().frame_valid)
    for name in ("tokens", "frame_ids", "neighbours", "identity"):
        assert getattr(read, name) == getattr(_motions(), name)


def test_equal_motions_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_motions(tmp_path / name, _motions())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_missing_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.npz: no such motion file; write one with `gsocc predict pose"):
        load_motions(tmp_path / "m.npz")


def test_key_frames_without_motion_are_counted_and_named() -> None:
    assert _motions().rows(["a1b2", "3e87"]) == [1, 0]
    with pytest.raises(KeyError, match=r"1 of 2 key frames have no motion \(ffff\)"):
        _motions().rows(["3e87", "ffff"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": ("3e87", "3e87")}, "each key frame once"),
        ({"tokens": ("3e87",)}, r"ego_motion: expected shape \(1, 2, 4, 4\)"),
        ({"frame_ids": (-1, 0, 1)}, "expected 0 first"),
        ({"ego_motion": np.zeros((2, 2, 4, 4), np.float32)}, "rigid"),
        ({"ego_motion": np.full((2, 2, 4, 4), np.nan, np.float32)}, "rigid"),
    ],
)
def test_motions_that_contradict_themselves_are_not_written(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save_motions(tmp_path / "m.npz", replace(_motions(), **change))
    assert not (tmp_path / "m.npz").exists()


def test_another_npz_and_another_format_are_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "other.npz", depth=np.zeros(3))
    with pytest.raises(DataError, match="is no motion file: it lacks 'meta'"):
        load_motions(tmp_path / "other.npz")
    save_motions(tmp_path / "m.npz", _motions())
    arrays = read_npz(tmp_path / "m.npz")
    arrays["meta"] = np.array(str(arrays["meta"]).replace("motion/1", "motion/9"))
    write_npz(tmp_path / "m.npz", **arrays)
    with pytest.raises(DataError, match="expected the format gsocc-motion/1, got 'gsocc-motion/9'"):
        load_motions(tmp_path / "m.npz")
