"""Batches of samples: over workers and ranks, in an order that the seed determines."""

from collections.abc import Iterator, Sequence, Sized
from typing import cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from gsocc.datasets.skipping import SkipBadSamples
from gsocc.errors import DataError, UserError
from gsocc.structures import SurroundBatch, SurroundSample, collate


class ShardSampler(Sampler[int]):
    """Gives every rank its share of a data set, each sample once.

    Ranks of an evaluation may hold one sample more or less than others: nothing is repeated to even them out, so that
    summed metrics do not depend on the number of ranks. Ranks of a training must take equally many steps: there the
    few samples that do not divide are left out, others in each epoch.

    Args:
        size: Number of samples of the data set.
        shuffle: Draw a new order in every epoch, the same on all ranks.
        even: Leave out what does not divide by the number of ranks.
        seed: Of the order; together with the epoch it determines it.
        rank: Which share.
        world_size: How many shares.
    """

    def __init__(
        self, size: int, *, shuffle: bool, even: bool, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"ShardSampler: rank must lie in 0..{world_size - 1}, got {rank}")
        self.size, self.shuffle, self.even, self.seed = size, shuffle, even, seed
        self.rank, self.world_size, self.epoch = rank, world_size, 0

    def __len__(self) -> int:
        return len(range(self.rank, self._used, self.world_size))

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        return iter(order[: self._used][self.rank :: self.world_size].tolist())

    @property
    def _used(self) -> int:
        return self.size - self.size % self.world_size if self.even else self.size


class SurroundLoader:
    """Iterates over batches; made by `make_loader`.

    Errors of the data come out as they are, also from workers, whose tracebacks PyTorch would otherwise put in their
    place. A data set that skips bad samples is checked after every batch.
    """

    def __init__(self, dataset: Dataset[SurroundSample], batches: DataLoader, sampler: ShardSampler) -> None:
        self.dataset, self.sampler = dataset, sampler
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[SurroundBatch]:
        for batch in self._batches:
            if isinstance(self.dataset, SkipBadSamples):
                self.dataset.check()
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order and colour jitter come next; call it before iterating."""
        self.sampler.epoch = epoch
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


def make_loader(
    dataset: Dataset[SurroundSample],
    *,
    batch_size: int,
    shuffle: bool,
    workers: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = False,
) -> SurroundLoader:
    """Return a loader of a rank's batches.

    Args:
        dataset: Of a known length; `SkipBadSamples` around it in training.
        batch_size: Samples in a batch of one rank.
        shuffle: For training; ranks then hold equally many samples.
        workers: Processes that read; 0 reads in this one.
        seed: Of the order.
        rank: Which of the processes of a distributed run this is.
        world_size: How many there are.
        drop_last: Leave out a last batch that is not full.

    Raises:
        DataError: Where a rank would get no batch at all in training.
    """
    size = len(cast(Sized, dataset))
    even = shuffle or drop_last
    sampler = ShardSampler(size, shuffle=shuffle, even=even, seed=seed, rank=rank, world_size=world_size)
    batches: DataLoader = DataLoader(
        cast(Dataset, _ErrorsAsValues(dataset)),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        drop_last=drop_last,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        # Without one, the loader draws its workers' seeds from the global generator and so moves that of the training.
        generator=torch.Generator().manual_seed(seed),
    )
    if even and len(batches) == 0:
        raise DataError(
            f"{size} samples give no full batch of {batch_size} on each of {world_size} ranks; choose a smaller batch "
            "or a larger split"
        )
    return SurroundLoader(dataset, batches, sampler)


class _ErrorsAsValues(Dataset[SurroundSample | UserError]):
    def __init__(self, dataset: Dataset[SurroundSample]) -> None:
        self.dataset = dataset

    def __getitem__(self, number: int) -> SurroundSample | UserError:
        try:
            return self.dataset[number]
        except UserError as error:
            return error


def _collate(samples: Sequence[SurroundSample | UserError]) -> SurroundBatch | UserError:
    good: list[SurroundSample] = []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        good.append(sample)
    return collate(good)


def _start_worker(_: int) -> None:
    # OpenCV's own threads do not survive the fork, and workers are the parallelism.
    cv2.setNumThreads(0)
