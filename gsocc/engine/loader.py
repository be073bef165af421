"""Batches for training: an endless, seeded stream that can start at any step, the same over any number of processes."""

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from torch.utils.data import BatchSampler, DataLoader, Dataset

from gsocc.engine.processes import process_rank, world_size
from gsocc.engine.seeding import seed_everything
from gsocc.errors import UserError


class StepLoader:
    """Batches by step rather than by epoch.

    The samples form one stream, in which every epoch is a new permutation of the data set, drawn from (seed, epoch). A
    step takes the next `batch_size * processes` of them, each process its own part. So step n sees the same samples
    whether the run was resumed or not, and two processes see what one sees with the doubled batch. Worker processes
    live as long as the stream: a tiny data set does not start them anew each epoch.

    In the process that loads a sample, a data set that has `set_epoch(epoch)` is told the epoch, and the global random
    generators are seeded from (seed, epoch, index).

    Args:
        dataset: Has `__len__` and `__getitem__(index)`.
        batch_size: Samples per step and process.
        collate: Turns a list of samples into a batch.
        seed: Of the order.
        workers: Processes that load; 0 loads in the caller's.
        shuffle: False keeps the order of the data set.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        collate: Callable[[list[Any]], Any],
        seed: int = 0,
        workers: int = 0,
        shuffle: bool = True,
    ) -> None:
        if len(dataset) < 1:
            raise ValueError("StepLoader: expected a data set with at least one sample, got an empty one")
        self.dataset, self.batch_size, self.collate = dataset, batch_size, collate
        self.seed, self.workers, self.shuffle = seed, workers, shuffle
        self._orders: dict[int, np.ndarray] = {}  # of the epochs that a step may touch

    def from_step(self, step: int) -> Iterator[Any]:
        """Yield batches for ever, the first of them that of step `step`, counted from 0."""
        loader = DataLoader(
            _EpochDataset(self.dataset, self.seed),
            batch_sampler=_Stream(self, step),
            num_workers=self.workers,
            collate_fn=_Collate(self.collate),
            worker_init_fn=_start_worker if self.workers else None,
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def __iter__(self) -> Iterator[Any]:
        return self.from_step(0)

    def indices(self, step: int) -> list[tuple[int, int]]:
        """Return (epoch, index) of the samples that this process sees in step `step`."""
        first = (step * world_size() + process_rank()) * self.batch_size
        count = len(self.dataset)
        places = [divmod(position, count) for position in range(first, first + self.batch_size)]
        return [(epoch, int(self._order(epoch)[place])) for epoch, place in places]

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.dataset))
        if epoch not in self._orders:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
            self._orders = {**{e: o for e, o in self._orders.items() if e == epoch - 1}, epoch: order}
        return self._orders[epoch]


class _Stream(BatchSampler):
    """The batches of (epoch, index) from a step on, without end."""

    def __init__(self, loader: StepLoader, step: int) -> None:
        self._loader, self._step = loader, step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:  # type: ignore[override]
        step = self._step
        while True:
            yield self._loader.indices(step)
            step += 1

    def __len__(self) -> int:
        raise TypeError("the stream of training batches has no end")


class _EpochDataset(Dataset[Any]):
    """Tells a data set the epoch, and seeds what it may draw, before it asks for a sample."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self._dataset, self._seed = dataset, seed
        self._epoch: int | None = None

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        if epoch != self._epoch and hasattr(self._dataset, "set_epoch"):
            self._dataset.set_epoch(epoch)
        self._epoch = epoch
        seed_everything(self._seed, epoch, index)
        try:
            return self._dataset[index]
        except UserError as error:
            return error  # raised again in the training process: PyTorch would bury its message in a traceback


class _Collate:
    """Batches samples, or hands on the first error among them."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        errors = [sample for sample in samples if isinstance(sample, UserError)]
        return errors[0] if errors else self._collate(samples)


def _start_worker(worker: int) -> None:
    # A terminal sends Ctrl-C to every process of the group; the training process decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # OpenCV's own threads do not survive the fork, and workers are the parallelism.
    cv2.setNumThreads(0)


def batches_from(loader: Any, step: int, seed: Callable[[int, int], object]) -> Iterator[Any]:
    """Yield batches for ever from any loader, starting with that of step `step`.

    A `StepLoader` starts there at once. Any other loader with a length is walked epoch by epoch, its sampler and data
    set told the epoch where they have `set_epoch`, and the batches before `step` are loaded and dropped.

    Args:
        loader: A `StepLoader`, a DataLoader or a sequence of batches.
        step: Counted from 0.
        seed: Called with (epoch, place in it) before a batch is loaded, so that a shuffling sampler draws the same
            order again, and the data set what it drew.
    """
    if isinstance(loader, StepLoader):
        yield from loader.from_step(step)
        return
    if world_size() > 1:
        raise TypeError(f"fit: several processes need a StepLoader to share the data, got {type(loader).__name__}")
    epoch, passed = divmod(step, len(loader))
    while True:
        for listener in _listeners(loader):
            listener.set_epoch(epoch)
        batches = iter(loader)
        for i in range(len(loader)):
            seed(epoch, i)
            batch = next(batches)
            if i >= passed:
                yield batch
        epoch, passed = epoch + 1, 0


def _listeners(loader: Any) -> Sequence[Any]:
    owners = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
    return [owner for owner in owners if hasattr(owner, "set_epoch")]
