"""Batches for evaluation: every sample once, over workers and ranks. Training draws from the engine's stream."""

from collections.abc import Iterator, Sequence, Sized
from typing import cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from gsocc.errors import UserError
from gsocc.progress import track
from gsocc.structures import SurroundBatch, SurroundSample, collate


class SurroundLoader:
    """Iterates over a rank's share of a data set, in order; made by `make_loader`.

    Errors of the data come out as they are, also from workers, whose tracebacks PyTorch would otherwise put in their
    place.

    Attributes:
        indices: Which samples of the data set are in the share.
    """

    def __init__(self, batches: DataLoader, indices: Sequence[int]) -> None:
        self.indices = indices
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[SurroundBatch]:
        for batch in self._batches:
            if isinstance(batch, UserError):
                raise batch
            yield batch


def make_loader(
    dataset: Dataset[SurroundSample],
    *,
    indices: Sequence[int] | None = None,
    batch_size: int = 1,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> SurroundLoader:
    """Return a loader of a rank's batches.

    Nothing is repeated to give all ranks equally much, so summed metrics do not depend on the number of ranks; a rank
    may hold one sample more than another, or none.

    Args:
        dataset: Of a known length.
        indices: Restrict to these samples, in this order.
        batch_size: Samples in a batch; the last one may hold fewer.
        workers: Processes that read; 0 reads in this one.
        rank: Which of the processes of a distributed run this is.
        world_size: How many there are.

    Raises:
        ValueError: Where there is no such rank.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"make_loader: rank must lie in 0..{world_size - 1}, got {rank}")
    chosen = range(len(cast(Sized, dataset))) if indices is None else indices
    share = list(chosen)[rank::world_size]
    batches: DataLoader = DataLoader(
        cast(Dataset, _ErrorsAsValues(dataset)),
        batch_sampler=[share[i : i + batch_size] for i in range(0, len(share), batch_size)],
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
        # Without one, the loader draws its workers' seeds from the global generator and so moves that of a training.
        generator=torch.Generator().manual_seed(0),
    )
    return SurroundLoader(batches, share)


def evenly_spread(count: int, limit: int | None) -> list[int]:
    """Return at most `limit` indices of `count`, evenly spread, each once."""
    if limit is None or limit >= count:
        return list(range(count))
    return [int(i) for i in (np.arange(limit) + 0.5) * count / limit]


def batches_of_one(dataset: Dataset[SurroundSample], indices: Sequence[int], label: str) -> Iterator[SurroundBatch]:
    """Yield the chosen samples as batches of one, with a progress bar."""
    for index in track(indices, len(indices), label):
        yield collate([dataset[index]])


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
