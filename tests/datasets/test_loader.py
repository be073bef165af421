"""Batches over workers and ranks, and training past bad images."""

import logging
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from gsocc.datasets.images import BadImageError
from gsocc.datasets.loader import ShardSampler, make_loader
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
def test_an_evaluation_sees_every_sample_once_on_any_number_of_ranks(world_size: int) -> None:
    seen: list[str] = []
    for rank in range(world_size):
        loader = make_loader(Numbered(7), batch_size=2, shuffle=False, rank=rank, world_size=world_size)
        batches = list(loader)
        assert len(batches) == len(loader)
        seen += [token for batch in batches for token in batch.tokens]
    assert sorted(seen) == [str(i) for i in range(7)]


@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_of_a_training_take_equally_many_steps_and_share_nothing(drop_last: bool) -> None:
    loaders = [
        make_loader(Numbered(11), batch_size=2, shuffle=True, seed=5, rank=r, world_size=2, drop_last=drop_last)
        for r in range(2)
    ]
    tokens = [[token for batch in loader for token in batch.tokens] for loader in loaders]
    assert len(loaders[0]) == len(loaders[1]) == (2 if drop_last else 3)
    assert len(tokens[0]) == len(tokens[1])
    assert not set(tokens[0]) & set(tokens[1])


def test_the_order_follows_from_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ShardSampler(50, shuffle=True, even=True, seed=seed)
        sampler.epoch = epoch
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) and order(1, 2) != order(2, 1)
    assert sorted(order(1, 2)) == list(range(50))


def test_a_loader_leaves_the_global_generator_alone() -> None:
    """Otherwise the number of epochs or workers would change a network's initialisation."""
    before = torch.random.get_rng_state()
    list(make_loader(Numbered(4), batch_size=2, shuffle=True))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_epoch_reaches_sampler_and_data_set() -> None:
    numbered = Numbered(4)
    loader = make_loader(SkipBadSamples(numbered), batch_size=1, shuffle=True)
    loader.set_epoch(7)
    assert loader.sampler.epoch == numbered.epoch == 7


def test_a_split_without_a_full_batch_is_refused_in_training() -> None:
    with pytest.raises(DataError, match="3 samples give no full batch of 2 on each of 2 ranks"):
        make_loader(Numbered(3), batch_size=2, shuffle=True, world_size=2, drop_last=True)
    with pytest.raises(ValueError, match=r"rank must lie in 0\.\.1, got 2"):
        make_loader(Numbered(3), batch_size=2, shuffle=True, rank=2, world_size=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_replaced_by_the_next_good_sample_and_counted(
    workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of 200 samples are 1 %, which is allowed; workers count into the same record."""
    data = SkipBadSamples(Numbered(200, bad=(3, 4)))
    loader = make_loader(data, batch_size=4, shuffle=False, workers=workers)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            tokens = [token for batch in loader for token in batch.tokens]
        assert tokens[:6] == ["0", "1", "2", "5", "5", "5"]
        assert data.skipped == 2
    assert [record.getMessage() for record in caplog.records] == [
        "skipped a sample, 2 of 200 so far: image3.jpg: is cut short",
        "skipped a sample, 2 of 200 so far: image4.jpg: is cut short",
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_more_than_one_percent_of_bad_samples_stops_the_run_and_names_files(workers: int) -> None:
    data = SkipBadSamples(Numbered(100, bad=(0, 50)))
    with pytest.raises(
        DataError, match=r"2 of 100 samples have bad images, more than the 1 %.*: image0.jpg: is cut"
    ) as e:
        list(make_loader(data, batch_size=1, shuffle=False, workers=workers))
    assert "Traceback" not in str(e.value)


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
        list(make_loader(data, batch_size=2, shuffle=False, workers=workers))
    assert str(e.value) == "labels1.npz: of another format"


def test_an_evaluation_stops_at_a_bad_image() -> None:
    with pytest.raises(BadImageError, match=r"image3.jpg"):
        list(make_loader(Numbered(5, bad=(3,)), batch_size=1, shuffle=False))


def test_workers_read_what_the_main_process_reads(mini_root: Path) -> None:
    """Colour jitter included, in every epoch: workers that live on see the epoch change."""
    data = NuScenesDataset(root=mini_root, split="train", image_size=(24, 40), color_jitter=1.0)
    epochs = []
    for workers in (0, 2):
        loader = make_loader(data, batch_size=1, shuffle=True, workers=workers, seed=1)
        batches = []
        for epoch in range(2):
            loader.set_epoch(epoch)
            batches += list(loader)
        epochs.append(batches)
    for alone, shared in zip(*epochs, strict=True):
        assert alone.tokens == shared.tokens
        assert torch.equal(alone.network_images, shared.network_images)
    assert not torch.equal(epochs[0][0].network_images, epochs[0][3].network_images)
