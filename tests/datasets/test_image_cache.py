"""Resized copies of images: the same samples, sooner."""

import os
from pathlib import Path

import numpy as np
import pytest
from dgp_files import SIZE, write_dgp_root

from gsocc.app.commands import index
from gsocc.datasets.ddad import DdadDataset
from gsocc.datasets.ddad_health import inspect_ddad
from gsocc.datasets.images import BadImageError
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.split import SurroundDataConfig, open_split
from gsocc.errors import DataError, UserError

SMALL = (SIZE[0] // 2, SIZE[1] // 2)


def test_copies_give_the_same_samples_and_are_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lossless, so equal to the last bit; a second call finds all of them, and a newer image is copied again."""
    root = write_dgp_root(tmp_path / "ddad")
    index.ddad(root, cache="4x6")
    assert "36 images written at 4x6" in capsys.readouterr().out
    config = SurroundDataConfig(dataset="ddad", root=root, image_size=SMALL)
    copied = config.model_copy(update={"image_cache": root / "image_cache"})
    a, b = (open_split(c, "train")[1] for c in (config, copied))
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.intrinsics, b.intrinsics)
    index.ddad(root, cache="4x6")
    assert "0 images written" in capsys.readouterr().out
    (root / "000000/rgb/CAMERA_01/15569195901000000.png").touch()
    index.ddad(root, cache="4x6")
    assert "1 images written" in capsys.readouterr().out


def test_a_copy_that_is_older_than_its_image_is_not_read(tmp_path: Path) -> None:
    """The image was replaced after the copies were written; without images, copies are all there is."""
    root = write_dgp_root(tmp_path / "ddad")
    index.ddad(root, cache="4x6")
    cache = root / "image_cache"
    image = root / "000000/rgb/CAMERA_07/15569195900000000.png"
    copy = cache / "4x6" / image.relative_to(root)
    written = copy.stat().st_mtime_ns
    os.utime(image, ns=(written + 1, written + 1))
    data = DdadDataset(root=root, split="train", image_size=SMALL, image_cache=cache, frame_ids=(0,))
    with pytest.raises(DataError, match=r"CAMERA_07.*the copy is older than its image; write them: .*--cache 4x6"):
        data[0]
    index.ddad(root, cache="4x6")
    expected = data[0].images
    image.unlink()
    np.testing.assert_array_equal(data[0].images, expected)


def test_the_doctor_counts_copies(tmp_path: Path) -> None:
    """By the size of the copies: what is missing, and what is older than its image."""
    root = write_dgp_root(tmp_path / "ddad")
    index.ddad(root, cache="4x6")
    assert not [f for f in inspect_ddad(root) if f.name.startswith("copies") and not f.good]
    copies = sorted((root / "image_cache").rglob("*.png"))
    copies[0].unlink()
    os.utime(copies[1], ns=(0, 0))
    (finding,) = (f for f in inspect_ddad(root) if f.name.startswith("copies"))
    assert (finding.name, finding.good, finding.required) == ("copies at 4x6", False, False)
    assert finding.detail == "1 of 36 missing, 1 older than their images"
    assert finding.fix == f"gsocc index ddad {root} --cache 4x6"


def test_copies_that_are_missing_damaged_or_of_another_size_are_named(tmp_path: Path) -> None:
    """With the command that writes them."""
    root = write_dgp_root(tmp_path / "ddad")
    index.ddad(root, cache="4x6")
    cache = root / "image_cache"
    with pytest.raises(DataError, match=r"there is no copy of this image; .*--cache 8x12"):
        DdadDataset(root=root, split="train", image_size=SIZE, image_cache=cache)[0]
    copy = cache / "4x6/000000/rgb/CAMERA_01/15569195900000000.png"
    copy.write_bytes(copy.read_bytes()[:-16])
    with pytest.raises(BadImageError, match=r"15569195900000000\.png"):
        DdadDataset(root=root, split="train", image_size=SMALL, image_cache=cache)[0]
    whole = cache / "4x6/000000/rgb/CAMERA_05/15569195900000000.png"
    copy.write_bytes(whole.read_bytes())
    whole.write_bytes((root / "000000/rgb/CAMERA_05/15569195900000000.png").read_bytes())
    with pytest.raises(DataError, match=r"another size than its folder says; remove and write it again"):
        DdadDataset(root=root, split="train", image_size=SMALL, image_cache=cache)[0]
    with pytest.raises(ValueError, match="expected no crop"):
        DdadDataset(root=root, split="train", image_size=SMALL, image_cache=cache, crop=(0, 0, 4, 6))
    with pytest.raises(UserError, match="--cache: expected HxW"):
        index.ddad(root, cache="small")


def test_copies_of_nuscenes_give_the_same_samples(mini_root: Path, tmp_path: Path) -> None:
    """The same flag for every data set; the message names the data set's own command."""
    index.nuscenes(mini_root, out=tmp_path / "index.npz", cache="12x20", cache_folder=tmp_path / "copies")
    options = {"root": mini_root, "index": tmp_path / "index.npz", "split": "val"}
    plain, copied = (
        NuScenesDataset(**options, image_size=(12, 20), image_cache=cache)[0] for cache in (None, tmp_path / "copies")
    )
    np.testing.assert_array_equal(plain.images, copied.images)
    with pytest.raises(DataError, match=r"write them: gsocc index nuscenes ROOT --cache 6x10"):
        NuScenesDataset(**options, image_size=(6, 10), image_cache=tmp_path / "copies")[0]
