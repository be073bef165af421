"""Which files are written, which are kept, and what is in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gsocc.datasets import build_dataset
from gsocc.datasets.derived.label_targets import LabelTarget, label_targets, labels_folder
from gsocc.datasets.index import default_index_path, read_index
from gsocc.datasets.semantic_labels import read_semantic_labels
from gsocc.errors import DataError, OutputError
from gsocc.labelling.config import LabelConfig
from gsocc.labelling.origin import check_origin, write_origin
from gsocc.labelling.writing import unfinished, write_labels
from gsocc.labels import IGNORE, OCC3D_ID


class BrightIsSky:
    """A labeller that can be solved by hand: sky (16) where green is above 128, a sedan (1) elsewhere."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def label(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.batches.append(len(images))
        assert len({image.shape for image in images}) == 1
        return [np.where(image[..., 1] > 128, 16, 1).astype(np.int8) for image in images]


@pytest.fixture
def targets(tiny_world: Path, tmp_path: Path) -> list[LabelTarget]:
    index = read_index(default_index_path(tiny_world, "v1.0-trainval"))
    return label_targets(index, tiny_world, labels_root=tmp_path)


def test_nuscenes_labels_lie_where_its_reader_looks(tiny_world: Path) -> None:
    """The world's own label files are the reader's: the targets must be exactly those."""
    index = read_index(default_index_path(tiny_world, "v1.0-trainval"))
    found = label_targets(index, tiny_world)
    assert len(found) == 3 * 2 * 6 and all(target.is_labelled for target in found)
    assert {target.labels for target in found} == set((tiny_world / "nuscenes_semantic").rglob("*.bin"))
    val = label_targets(index, tiny_world, "val")
    assert len(val) == 12 and set(val) < set(found)


def test_what_is_written_is_what_training_reads(tiny_world: Path, targets: list[LabelTarget], tmp_path: Path) -> None:
    """Through the reader of a run: sky becomes 17, a sedan becomes Occ3D's car."""
    write_labels(BrightIsSky(), targets, batch_size=4)
    data = build_dataset(
        "nuscenes", root=tiny_world, split="all", image_size=(48, 80), frame_ids=(0,), parts=("semantics",),
        semantics_root=tmp_path,
    )  # fmt: skip
    for sample in (data[0], data[5]):
        assert sample.semantic_labels is not None
        green = sample.images[0, :, 1].numpy() * 255
        expected = np.where(green > 128, 17, OCC3D_ID["car"])
        np.testing.assert_array_equal(sample.semantic_labels.numpy(), expected)


def test_files_are_one_signed_byte_per_pixel_row_by_row(targets: list[LabelTarget]) -> None:
    class Corners:
        def label(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
            labels = np.full((48, 80), -1, dtype=np.int8)
            labels[0, 79], labels[47, 0] = 3, 11
            return [labels for _ in images]

    write_labels(Corners(), targets[:1])
    content = targets[0].labels.read_bytes()
    assert len(content) == 48 * 80
    assert (content[0], content[79], content[47 * 80]) == (255, 3, 11)
    assert (read_semantic_labels(targets[0].labels, (48, 80)) == IGNORE).sum() == 48 * 80 - 2


def test_a_run_that_was_stopped_goes_on(targets: list[LabelTarget]) -> None:
    """A whole file is kept, even with other contents; one that was cut short is written again."""
    write_labels(BrightIsSky(), targets[:7])
    kept, cut = targets[0].labels, targets[1].labels
    kept.write_bytes(bytes([5]) * (48 * 80))
    cut.write_bytes(b"\1\2\3")
    wanted, there = unfinished(targets)
    assert (len(wanted), there) == (len(targets) - 6, 6)
    report = write_labels(BrightIsSky(), wanted, batch_size=4)
    assert report.written == len(wanted)
    assert kept.read_bytes()[:2] == b"\5\5" and cut.stat().st_size == 48 * 80
    assert unfinished(targets) == ([], 36)
    assert len(unfinished(targets, overwrite=True)[0]) == 36


@pytest.mark.parametrize("count", [1, 2, 5])
def test_processes_share_the_images_whenever_they_start(targets: list[LabelTarget], count: int) -> None:
    """Each process writes before the next one looks: the worst case for a list that depends on what is done."""
    seen: list[LabelTarget] = []
    for rank in range(count):
        wanted, there = unfinished(targets, shard=(rank, count))
        assert there == 0
        write_labels(BrightIsSky(), wanted[:1])
        seen += wanted
    assert sorted(map(str, seen)) == sorted(map(str, targets))


def test_images_come_in_batches_of_one_size(targets: list[LabelTarget], tmp_path: Path) -> None:
    labeller = BrightIsSky()
    write_labels(labeller, targets[:10], batch_size=4)
    assert labeller.batches == [4, 4, 2]


def test_a_bad_image_is_named_and_the_others_are_labelled(targets: list[LabelTarget], tmp_path: Path) -> None:
    bad = tmp_path / "cut.jpg"
    bad.write_bytes(targets[0].image.read_bytes()[:200])
    report = write_labels(BrightIsSky(), [LabelTarget(bad, tmp_path / "cut_mask.bin", (48, 80)), *targets[1:3]])
    assert report.written == 2 and not (tmp_path / "cut_mask.bin").exists()
    assert len(report.bad_images) == 1 and "cut short" in report.bad_images[0]


def test_the_report_counts_pixels(targets: list[LabelTarget]) -> None:
    report = write_labels(BrightIsSky(), targets[:6])
    shares = report.shares()
    assert set(shares) <= {"sedan", "sky"} and sum(shares.values()) == pytest.approx(1)
    stored = np.concatenate([np.fromfile(t.labels, dtype=np.int8) for t in targets[:6]])
    assert shares.get("sky", 0) == pytest.approx((stored == 16).mean())


@pytest.mark.parametrize("value", [0, 17, -2])
def test_ids_that_no_reader_knows_are_never_written(targets: list[LabelTarget], value: int) -> None:
    class Wrong:
        def label(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [np.full((48, 80), value, dtype=np.int8) for _ in images]

    with pytest.raises(ValueError, match=rf"expected \(48, 80\) .* ids -1 or 1..16 .* with ids \[{value}\]"):
        write_labels(Wrong(), targets[:1])
    assert not targets[0].labels.exists()


def test_labels_of_another_size_are_never_written(targets: list[LabelTarget]) -> None:
    class Small:
        def label(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [np.ones((24, 40), dtype=np.int8) for _ in images]

    with pytest.raises(ValueError, match=r"got \(24, 40\)"):
        write_labels(Small(), targets[:1])


def test_a_data_set_without_a_layout_of_labels_is_refused() -> None:
    with pytest.raises(DataError, match=r"data set: expected one of nuscenes, ddad.*, got 'kitti'"):
        labels_folder("kitti", Path("data"))


def config(**options: object) -> LabelConfig:
    labeller = {"name": "segmentation", "model": "ckpts/a", "classes": {"sedan": ["car"]}, **options}
    return LabelConfig.model_validate({"labeller": labeller})


def test_files_of_two_labellers_are_not_mixed(tmp_path: Path) -> None:
    """A copy of the networks elsewhere, or another batch size, labels alike; other words do not."""
    check_origin(tmp_path, config())
    write_origin(tmp_path, config())
    check_origin(tmp_path, config(model="elsewhere/a").model_copy(update={"batch_size": 4}))
    with pytest.raises(OutputError, match=r"made otherwise.*--out.*--overwrite"):
        check_origin(tmp_path, config(classes={"truck": ["car"]}))
