"""Batches over workers and ranks, and training past bad images."""

import logging
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from gsocc.datasets.images import BadImageError
from gsocc.datasets.loader import make_loader
from gsocc.datasets.nuscenes import NuScenesDataset
from gsocc.datasets.skipping import SkipBadSamples
from gsocc.errors import DataError
from gsocc.structures import SurroundSample


class Numbered(Dataset[SurroundSample]):
    """Samples named by their number; those in `bad` have bad images."""

    def __init__(self, size: int, bad: tuple[int, ...] = (), wrong: tuple[int, ...] = ()) -> None:
        self.size, self.bad, self.wrong, self.epoch = size, bad, wrong, 0

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, number: int) -> SurroundSample:
        if number in self.bad:
            raise BadImageError(f"image{number}.jpg: is cut short")
        if number in self.wrong:
            raise DataError(f"labels{number}.npz: of another format")
        return SurroundSample(
            token=str(number),
            scene="scene",
            timestamp_s=0.0,
            frame_ids=(0,),
            images=torch.zeros(1, 1, 3, 2, 2),
            network_images=torch.zeros(1, 3, 2, 2),
            intrinsics=torch.eye(3)[None],
            cam_to_ego=torch.eye(4)[None],
            cam_motion=torch.eye(4)[None, None],
            frame_valid=torch.ones(1, 1, dtype=torch.bool),
        )


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("indices", [None, [5, 0, 3]])
def test_an_evaluation_sees_every_sample_once_on_any_number_of_ranks(
    world_size: int, indices: list[int] | None
) -> None:
    seen: list[int] = []
    for rank in range(world_size):
        loader = make_loader(Numbered(7), indices=indices, batch_size=2, rank=rank, world_size=world_size)
        batches = list(loader)
        assert len(batches) == len(loader)
        tokens = [int(token) for batch in batches for token in batch.tokens]
        assert tokens == list(loader.indices)
        seen += tokens
    assert sorted(seen) == (list(range(7)) if indices is None else [0, 3, 5])
    with pytest.raises(ValueError, match=r"rank must lie in 0\.\.1, got 2"):
        make_loader(Numbered(3), rank=2, world_size=2)


def test_a_loader_leaves_the_global_generator_alone() -> None:
    """Otherwise a validation would change what a training draws next."""
    before = torch.random.get_rng_state()
    list(make_loader(Numbered(4), batch_size=2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_skipping_passes_the_epoch_on() -> None:
    numbered = Numbered(4)
    SkipBadSamples(numbered).set_epoch(7)
    assert numbered.epoch == 7


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_replaced_by_the_next_good_sample_and_counted(
    workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of 200 samples are 1 %, which is allowed; workers count into the same record."""
    data = SkipBadSamples(Numbered(200, bad=(3, 4)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            tokens = [token for batch in make_loader(data, batch_size=4, workers=workers) for token in batch.tokens]
            data.check()
            assert tokens[:6] == ["0", "1", "2", "5", "5", "5"]
            assert data.skipped == 2
    assert [record.getMessage() for record in caplog.records] == [
        "skipped a sample, 2 of 200 so far: image3.jpg: is cut short",
        "skipped a sample, 2 of 200 so far: image4.jpg: is cut short",
    ]


def test_more_than_one_percent_of_bad_samples_stops_the_run_and_names_files() -> None:
    data = SkipBadSamples(Numbered(100, bad=(0, 50)))
    data[0]
    data.check()
    data[50]
    with pytest.raises(DataError, match=r"2 of 100 samples have bad images, more than the 1 %.*: image0.jpg: is cut"):
        data.check()


def test_nothing_but_bad_images_is_an_error() -> None:
    data = SkipBadSamples(Numbered(3, bad=(0, 1, 2)), limit_share=1.0)
    with pytest.raises(DataError, match=r"none of the 3 samples has good images; image1.jpg"):
        data[2]
    with pytest.raises(ValueError, match=r"limit_share must lie in \[0, 1\], got 2"):
        SkipBadSamples(Numbered(3), limit_share=2.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_other_mistakes_in_the_data_are_not_skipped_and_keep_their_message(workers: int) -> None:
    data = SkipBadSamples(Numbered(300, wrong=(1,)))
    with pytest.raises(DataError) as e:
        list(make_loader(data, batch_size=2, workers=workers))
    assert str(e.value) == "labels1.npz: of another format"


def test_an_evaluation_stops_at_a_bad_image() -> None:
    with pytest.raises(BadImageError, match=r"image3.jpg"):
        list(make_loader(Numbered(5, bad=(3,))))


def test_workers_read_what_the_main_process_reads(mini_root: Path) -> None:
    """Colour jitter included: it follows from seed, epoch and index, not from the process."""
    data = NuScenesDataset(root=mini_root, split="train", image_size=(24, 40), color_jitter=1.0)
    data.set_epoch(3)
    for alone, shared in zip(make_loader(data), make_loader(data, workers=2), strict=True):
        assert alone.tokens == shared.tokens
        assert torch.equal(alone.network_images, shared.network_images)
        assert not torch.equal(alone.network_images, alone.images[:, 0])
