"""How many images around a key frame an index lists."""

from pathlib import Path

import numpy as np
import pytest

from gsocc.datasets.index import find_index, read_index
from gsocc.datasets.nuscenes import NuScenesDataset, build_index


def test_an_index_of_reach_two_lists_five_images_in_their_order(tiny_world: Path, tmp_path: Path) -> None:
    """Times ascend from two before to two after, where a drive has them; the inner columns are the short one's."""
    near, wide = (read_index(build_index(tiny_world, out=tmp_path / f"{r}.npz", reach=r)) for r in (1, 2))
    assert near.prev2_image is None
    assert wide.prev2_image is not None
    assert wide.next2_image is not None
    columns = (wide.prev2_image, wide.prev_image, wide.key_image, wide.next_image, wide.next2_image)
    images = np.stack(columns, -1)  # (S, V, 5)
    pairs = np.stack([images[..., :-1], images[..., 1:]], -1)  # (S, V, 4, 2)
    known = (pairs >= 0).all(-1)
    assert known.any((0, 1)).all()
    assert (np.diff(wide.image_time_us[pairs[known]], axis=-1) > 0).all()
    both = wide.next_image >= 0
    assert np.array_equal(wide.image_file[wide.next_image][both], near.image_file[near.next_image][both])


def test_key_frames_two_apart_need_no_longer_index(tiny_world: Path) -> None:
    """Their chain is in every index; where it ends the key frame's own image stands in, marked as such."""
    wide = NuScenesDataset(
        root=tiny_world, split="all", image_size=(48, 80), frame_ids=(0, 1, 2), neighbours="keyframes"
    )
    first = wide[0]
    assert first.frame_valid[:, 0].tolist() == [True, True, False]  # drives of two key frames
    assert (first.images[2] == first.images[0]).all()


def test_a_reach_that_is_not_offered_is_refused(tiny_world: Path, tmp_path: Path) -> None:
    """Nothing is written."""
    with pytest.raises(ValueError, match="reach must be 1 or 2, got 3"):
        build_index(tiny_world, out=tmp_path / "index.npz", reach=3)
    assert not (tmp_path / "index.npz").exists()
    assert find_index(tiny_world).is_file()
