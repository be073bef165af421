"""The index of a nuScenes root: what it holds, and what it refuses."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsocc.datasets.index import find_index, open_index, pose_matrix, read_index, read_token_list
from gsocc.datasets.nuscenes_index import CAMERAS, build_index
from gsocc.errors import DataError, MissingExtraError, OutputError
from gsocc.files import read_npz, write_npz

VERSION = "v1.0-trainval"
Edit = Callable[[Path, str, Callable[[list[dict[str, Any]]], None]], None]


def index_path(root: Path) -> Path:
    return root / f"gsocc_index_{VERSION}.npz"


def test_key_frames_are_ordered_by_scene_and_time(mini_root: Path) -> None:
    index = open_index(index_path(mini_root), mini_root)
    assert [index.token(i) for i in range(5)] == [
        "scene-0061-key0",
        "scene-0061-key1",
        "scene-0061-key2",
        "scene-0103-key0",
        "scene-0103-key1",
    ]
    assert [index.scene(i) for i in range(5)] == ["scene-0061"] * 3 + ["scene-0103"] * 2
    assert index.cameras == CAMERAS


def test_neighbours_are_sweeps_of_the_same_camera_and_key_frames_of_the_same_scene(mini_root: Path) -> None:
    index = open_index(index_path(mini_root), mini_root)
    assert index.sample_prev.tolist() == [-1, 0, 1, -1, 3]
    assert index.sample_next.tolist() == [1, 2, -1, 4, -1]
    assert (index.prev_image[[0, 3]] == -1).all() and (index.next_image[[2, 4]] == -1).all()
    for view, camera in enumerate(CAMERAS):
        before = index.image_file[index.prev_image[1, view]].decode()
        assert before == f"sweeps/{camera}/scene-0061__{camera}__{1_000_250_000 + 10_000 * view}.jpg"
        assert index.next_image[0, view] == index.prev_image[1, view]


def test_splits_follow_the_official_scene_names(mini_root: Path) -> None:
    """scene-0061 is an official training scene and in mini_train, scene-0103 a validation scene and in mini_val."""
    index = open_index(index_path(mini_root), mini_root)
    assert index.split_rows("train").tolist() == index.split_rows("mini_train").tolist() == [0, 1, 2]
    assert index.split_rows("val").tolist() == index.split_rows("mini_val").tolist() == [3, 4]
    assert len(index.split_rows("all")) == 5
    with pytest.raises(DataError, match=r"split test has no key frames .* here are: train \(3\), val \(2\)"):
        index.split_rows("test")
    with pytest.raises(DataError, match=r"expected one of .*got 'trian'"):
        index.split_rows("trian")


def test_poses_keep_float64(mini_root: Path) -> None:
    """Global coordinates reach kilometres, where float32 has steps of a tenth of a millimetre."""
    index = open_index(index_path(mini_root), mini_root)
    pose = pose_matrix(index.image_ego_to_global[index.key_image[1, 5]])
    assert pose.dtype == np.float64
    np.testing.assert_allclose(pose[:3, 3], [100.0 + 10.0 * 0.55, 50.0, 0.0], rtol=1e-15)


def test_pose_matrix_turns_x_into_y_for_a_quarter_turn_about_z() -> None:
    half = np.sqrt(0.5)
    matrix = pose_matrix(np.array([half, 0.0, 0.0, half, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(matrix @ [1.0, 0.0, 0.0, 1.0], [1.0, 3.0, 3.0, 1.0], atol=1e-15)


def test_building_twice_gives_the_same_bytes(mini_root: Path, tmp_path: Path) -> None:
    paths = [build_index(mini_root, VERSION, tmp_path / f"{i}.npz") for i in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_changed_table_refuses_the_index_and_names_the_command(mini_root: Path, broken_root: Path) -> None:
    shutil.copy(index_path(mini_root), index_path(broken_root))
    table = broken_root / VERSION / "ego_pose.json"
    text = table.read_text()
    table.write_text(text.replace("100.0", "101.0"))
    with pytest.raises(DataError, match=r"ego_pose.json has other contents.*gsocc index nuscenes .*root --version v1"):
        open_index(index_path(broken_root), broken_root)
    table.write_text(text + " ")
    with pytest.raises(DataError, match=r"ego_pose.json has \d+ bytes, had \d+"):
        open_index(index_path(broken_root), broken_root)
    table.unlink()
    with pytest.raises(DataError, match=r"ego_pose.json is missing"):
        open_index(index_path(broken_root), broken_root)


def test_a_copied_root_keeps_its_index(mini_root: Path, broken_root: Path) -> None:
    """Copying changes times, not contents."""
    os.utime(broken_root / VERSION / "sample.json", (1, 1))
    assert len(open_index(index_path(mini_root), broken_root)) == 5


def test_an_index_elsewhere_is_rebuilt_by_a_command_that_says_where(mini_root: Path, tmp_path: Path) -> None:
    path = build_index(mini_root, VERSION, tmp_path / "sub" / "index.npz")
    with pytest.raises(DataError, match=f"--out {path}"):
        open_index(path, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "whole npz archive"),
        (b"PK\x03\x04 not really", "whole npz archive"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "index.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_index(path)


def test_another_npz_or_format_is_refused(mini_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "index.npz"
    write_npz(path, a=np.zeros(3))
    with pytest.raises(DataError, match="is not an index of gsocc"):
        read_index(path)
    arrays = read_npz(index_path(mini_root))
    meta = json.loads(arrays["meta"].tobytes()) | {"format": 99}
    write_npz(path, **arrays | {"meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)})
    with pytest.raises(DataError, match="format 99, this gsocc reads format 1"):
        read_index(path)
    del arrays["key_image"]
    write_npz(path, **arrays)
    with pytest.raises(DataError, match=r"damaged.*key_image"):
        read_index(path)


def test_a_missing_index_names_the_command(broken_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index; build it: gsocc index nuscenes"):
        find_index(broken_root)
    with pytest.raises(DataError, match="does not exist or is not a folder"):
        find_index(tmp_path / "nowhere")


def test_missing_folders_and_tables_are_named(broken_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: the data root does not exist"):
        build_index(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no folder of tables named v1.0-mini; there is v1.0-trainval: pass --version"):
        build_index(broken_root, "v1.0-mini")
    (broken_root / VERSION / "sensor.json").unlink()
    (broken_root / VERSION / "instance.json").unlink()
    with pytest.raises(DataError, match=r"tables are missing: instance.json, sensor.json"):
        build_index(broken_root)


def test_a_missing_map_is_named(broken_root: Path) -> None:
    (broken_root / "maps" / "map.png").unlink()
    with pytest.raises(DataError, match=r"1 of 1 map files are missing \(maps/map.png\)"):
        build_index(broken_root)


@pytest.mark.parametrize("table", ["map", "ego_pose", "sample_data"])
def test_a_table_cut_short_is_named(broken_root: Path, table: str) -> None:
    path = broken_root / VERSION / f"{table}.json"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"v1.0-trainval.*copy the metadata again|map.json: expected JSON"):
        build_index(broken_root)


def test_absent_files_are_counted_and_named(broken_root: Path) -> None:
    files = sorted((broken_root / "samples" / "CAM_BACK").iterdir())
    for path in files[:4]:
        path.unlink()
    shutil.rmtree(broken_root / "sweeps")
    with pytest.raises(
        DataError, match=r"4 of 30 key-frame images are missing \(samples/CAM_BACK/\S+.jpg, .*, ...\)"
    ) as e:
        build_index(broken_root)
    assert "18 of 18 images of sweeps are missing" in str(e.value)
    assert "--skip sweeps" in str(e.value)
    assert not index_path(broken_root).exists()


def test_sweeps_and_lidar_can_be_left_out(broken_root: Path) -> None:
    shutil.rmtree(broken_root / "sweeps")
    shutil.rmtree(broken_root / "samples" / "LIDAR_TOP")
    with pytest.raises(DataError, match="5 of 5 LiDAR scans are missing"):
        build_index(broken_root, skip=["sweeps"])
    index = read_index(build_index(broken_root, skip=["sweeps", "lidar"]))
    assert (index.prev_image == -1).all()
    assert index.source.skipped == ("sweeps", "lidar")
    with pytest.raises(ValueError, match="got radar"):
        build_index(broken_root, skip=["radar"])


@pytest.mark.parametrize(
    "intrinsic",
    [
        [],
        [[20.0, 0.0, 20.0], [0.0, 0.0, 12.0], [0.0, 0.0, 1.0]],
        [[20.0, 0.0, 20.0], [0.0, 20.0, 12.0], [0.0, 0.0, 0.0]],
        [[float("nan"), 0.0, 20.0], [0.0, 20.0, 12.0], [0.0, 0.0, 1.0]],
    ],
)
def test_singular_intrinsics_are_refused(broken_root: Path, edit_table: Edit, intrinsic: list[list[float]]) -> None:
    edit_table(broken_root, "calibrated_sensor", lambda rows: rows[1].update(camera_intrinsic=intrinsic))
    with pytest.raises(DataError, match="camera_intrinsic of CAM_FRONT_LEFT must be an invertible"):
        build_index(broken_root)


@pytest.mark.parametrize("rotation", [[0.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0], [float("nan")] * 4, [1.0, 0.0, 0.0]])
@pytest.mark.parametrize("table", ["calibrated_sensor", "ego_pose"])
def test_non_rigid_poses_are_refused(broken_root: Path, edit_table: Edit, table: str, rotation: list[float]) -> None:
    edit_table(broken_root, table, lambda rows: rows[0].update(rotation=rotation))
    with pytest.raises(DataError, match=rf"{table}.json: \S+ is not a rigid transform; expected a unit quaternion"):
        build_index(broken_root)


def test_records_that_do_not_fit_together_are_refused(broken_root: Path, edit_table: Edit) -> None:
    edit_table(broken_root, "scene", lambda rows: rows[0].update(nbr_samples=4))
    with pytest.raises(DataError, match="scene-0061 should have 4 key frames, following `next` gives 3"):
        build_index(broken_root)
    edit_table(broken_root, "scene", lambda rows: rows[0].update(nbr_samples=3))
    edit_table(broken_root, "ego_pose", lambda rows: rows.pop(0))
    with pytest.raises(DataError, match="no record 'scene-0061-CAM_FRONT-0', which another table names"):
        build_index(broken_root)


def test_a_missing_camera_is_named(broken_root: Path, edit_table: Edit) -> None:
    def remove(rows: list[dict[str, Any]]) -> None:
        rows[:] = [row for row in rows if "CAM_BACK_LEFT" not in row["filename"]]

    edit_table(broken_root, "sample_data", remove)
    with pytest.raises(DataError, match="key frame scene-0061-key0 has no CAM_BACK_LEFT; it has CAM_BACK, "):
        build_index(broken_root)


def test_an_image_without_a_size_is_refused(broken_root: Path, edit_table: Edit) -> None:
    edit_table(broken_root, "sample_data", lambda rows: rows[0].update(height=0))
    with pytest.raises(DataError, match=r"is said to be 0x40 pixels"):
        build_index(broken_root)


def test_an_output_that_cannot_be_written_is_named(mini_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*index.npz"):
        build_index(mini_root, VERSION, tmp_path / "file" / "index.npz")


def test_a_missing_devkit_names_the_extra(mini_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nuscenes.nuscenes", None)
    with pytest.raises(MissingExtraError, match=r"pip install .* -e .\[nuscenes\]"):
        build_index(mini_root, VERSION, tmp_path / "index.npz")


def test_token_lists_take_the_first_word_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("# a comment\nabc 3\n\n def\n")
    assert read_token_list(path) == ["abc", "def"]
    path.write_text("abc\nabc\n")
    with pytest.raises(DataError, match="abc is listed twice"):
        read_token_list(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="the token list is empty"):
        read_token_list(path)
    with pytest.raises(DataError, match=r"nowhere.txt: cannot be read"):
        read_token_list(tmp_path / "nowhere.txt")
