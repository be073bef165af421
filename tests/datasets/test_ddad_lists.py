"""The published lists of DDAD's validation frames, made by rule from an index with the overlaps that DDAD has."""

from collections import Counter

import numpy as np
import pytest

from gsocc.datasets.ddad_lists import published_rows, rows_by_stamp
from gsocc.datasets.index import IndexSource, SurroundIndex
from gsocc.errors import DataError

LONG, SHORT = 100, 50
# Of DDAD, by counting: how many stamps a validation scene shares with another one.
SHARED = {("000165", "000185"): 69, ("000168", "000152"): 47, ("000172", "000151"): 31, ("000180", "000170"): 1}


def _index(scenes: dict[str, list[int]]) -> SurroundIndex:
    """Return an index whose scenes have samples with these stamps; images and scans play no part."""
    tokens = [f"{name}_{stamp}".encode() for name, stamps in scenes.items() for stamp in stamps]
    owners = [number for number, stamps in enumerate(scenes.values()) for _ in stamps]
    count = len(tokens)
    poses = np.tile([1.0, 0, 0, 0, 0, 0, 0], (count, 1))
    images, none = np.zeros((count, 1), np.int32), np.full(count, -1, np.int32)
    return SurroundIndex(
        source=IndexSource("ddad", "ddad", "", (), {}),
        cameras=("CAMERA_01",),
        splits={"val": np.ones(len(scenes), bool)},
        scene_names=np.array([name.encode() for name in scenes]),
        sample_tokens=np.array(tokens),
        sample_scene=np.array(owners, np.int32),
        sample_time_us=np.zeros(count, np.int64),
        sample_prev=none,
        sample_next=none,
        key_image=images,
        prev_image=images - 1,
        next_image=images - 1,
        image_file=np.array([b"a.png"]),
        image_time_us=np.zeros(1, np.int64),
        image_ego_to_global=poses[:1],
        image_size=np.ones((1, 2), np.int32),
        image_calibration=np.zeros(1, np.int32),
        intrinsics=np.eye(3)[None],
        cam_to_ego=poses[:1],
        lidar_file=np.array([b""] * count),
        lidar_to_ego=poses,
        lidar_ego_to_global=poses,
    )


def _ddad() -> SurroundIndex:
    """50 scenes, 29 of them of 100 samples and 21 of 50: 3,950 samples, of whose stamps 148 belong to two scenes."""
    names = [f"{number:06d}" for number in range(150, 200)]
    long = {"000165", "000185", "000168", "000152", "000151", "000180", "000170"}
    long |= set([name for name in names if name not in long | {"000172"}][: 29 - len(long)])
    scenes = {
        name: list(range(1000 * number, 1000 * number + (LONG if name in long else SHORT)))
        for number, name in enumerate(names, 1)
    }
    for (yielding, kept), count in SHARED.items():
        scenes[yielding][:count] = scenes[kept][-count:]
    return _index(scenes)


def test_all_lines_name_every_sample_once_and_148_of_one_scene_twice() -> None:
    """Specification: 69, 47, 31 and 1 frames come twice, and scenes 165, 168, 172, 180 keep 31, 53, 19 and 99."""
    index = _ddad()
    rows = published_rows(index, "all_3950")
    assert len(rows) == 3950 and len(set(rows.tolist())) == 3802
    twice = Counter(index.scene(row) for row, count in Counter(rows.tolist()).items() if count == 2)
    assert twice == {"000185": 69, "000152": 47, "000151": 31, "000170": 1}
    unique = published_rows(index, "unique_3802")
    assert sorted(set(rows.tolist())) == sorted(unique.tolist())
    left = Counter(index.scene(row) for row in unique.tolist())
    assert [left[name] for name in ("000165", "000172", "000168", "000180")] == [31, 19, 53, 99]


def test_a_stamp_of_two_scenes_is_the_frame_of_the_kept_one() -> None:
    """By hand: scene 165 has stamps 1, 2, 3, scene 185 has 3, 4; stamp 3 is scene 185's wherever it is asked for."""
    index = _index({"000165": [1, 2, 3], "000185": [3, 4]})
    assert [index.token(row) for row in rows_by_stamp(index).tolist()] == [
        "000165_1", "000165_2", "000185_3", "000185_3", "000185_4",
    ]  # fmt: skip


def test_another_data_set_and_unknown_overlaps_are_refused() -> None:
    """A name that holds a number has to mean it."""
    with pytest.raises(DataError, match=r"this index gives 5 of 5 validation samples; score all .* --frames split"):
        published_rows(_index({"000165": [1, 2, 3], "000185": [3, 4]}), "all_3950")
    with pytest.raises(DataError, match="scenes 000150, 000151 share the stamp 7"):
        rows_by_stamp(_index({"000150": [6, 7], "000151": [7, 8]}))
