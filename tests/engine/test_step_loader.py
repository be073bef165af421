"""The stream of training batches."""

from typing import Any

import pytest
from small_training import Points

from gsocc.engine import StepLoader
from gsocc.errors import DataError


class Numbers:
    """The data set 0, 1, ..., count - 1, which also says the epoch it was told."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, -1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.epoch, index

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def first_batches(loader: StepLoader, count: int, step: int = 0) -> list[Any]:
    stream = loader.from_step(step)
    return [next(stream) for _ in range(count)]


def test_every_epoch_is_another_permutation() -> None:
    loader = StepLoader(Numbers(6), batch_size=3, collate=list, seed=1)
    seen = [sample for batch in first_batches(loader, 4) for sample in batch]
    first, second = [i for e, i in seen if e == 0], [i for e, i in seen if e == 1]
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second


def test_a_batch_may_span_two_epochs_and_tells_each_sample_its_own() -> None:
    """Five samples in batches of two: the third batch holds the last of epoch 0 and the first of epoch 1."""
    loader = StepLoader(Numbers(5), batch_size=2, collate=list)
    assert [epoch for epoch, _ in first_batches(loader, 3)[2]] == [0, 1]


def test_starting_at_a_step_gives_what_the_whole_stream_gives_there() -> None:
    loader = StepLoader(Numbers(5), batch_size=2, collate=list, seed=3)
    assert first_batches(loader, 4, step=7) == first_batches(loader, 11)[7:]


def test_two_processes_share_what_one_sees_with_the_doubled_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(batch_size: int, rank: int, world: int) -> list[list[tuple[int, int]]]:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        return first_batches(StepLoader(Numbers(7), batch_size=batch_size, collate=list), 5)

    both = [a + b for a, b in zip(stream(2, 0, 2), stream(2, 1, 2), strict=True)]
    assert both == stream(4, 0, 1)


def test_without_shuffling_the_order_is_that_of_the_data() -> None:
    loader = StepLoader(Numbers(4), batch_size=2, collate=list, shuffle=False)
    assert [[i for _, i in batch] for batch in first_batches(loader, 3)] == [[0, 1], [2, 3], [0, 1]]


def test_what_a_sample_draws_depends_on_epoch_and_index_alone() -> None:
    whole = first_batches(StepLoader(Points(), batch_size=5, collate=list, seed=2), 6)
    late = first_batches(StepLoader(Points(), batch_size=5, collate=list, seed=2), 1, step=5)
    assert [(name, float(xy[1])) for name, xy in whole[5]] == [(name, float(xy[1])) for name, xy in late[0]]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_data_arrives_as_it_was_raised(workers: int) -> None:
    """PyTorch puts the traceback of a worker in place of the message; the user should read the message."""

    class Broken(Numbers):
        def __getitem__(self, index: int) -> tuple[int, int]:
            raise DataError(f"sample {index} is broken; copy it again")

    loader = StepLoader(Broken(1), batch_size=1, collate=list, workers=workers)
    with pytest.raises(DataError, match=r"^sample 0 is broken; copy it again$"):
        first_batches(loader, 1)


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        StepLoader(Numbers(0), batch_size=1, collate=list)
