"""Read files in threads while the ones before them are being used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], threads: int = 2, ahead: int = 8
) -> Iterator[Result]:
    """Yield `read(item)` for every item, in their order; an error comes out in its item's turn.

    Worth it where reading is spent inflating, which releases the interpreter's lock, as `gsocc.files.read_npz` does.
    Nothing has to be copied between processes.

    Args:
        read: Called in a thread; 0 threads call it in the caller's.
        items: What is read.
        threads: How many read at a time.
        ahead: Most results that wait to be used, beside those being read.

    Raises:
        ValueError: Where a number is out of range.
    """
    if threads < 0 or ahead < 0:
        raise ValueError(f"read_ahead: threads and ahead must not be negative, got {threads} and {ahead}")
    return map(read, items) if threads == 0 else _in_threads(read, iter(items), threads, ahead)


def _in_threads(read: Callable[[Item], Result], items: Iterator[Item], threads: int, ahead: int) -> Iterator[Result]:
    with ThreadPoolExecutor(threads, thread_name_prefix="read_ahead") as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(read, item) for item in islice(items, threads + ahead))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(read, item) for item in islice(items, 1))
                yield result
        finally:  # also where the caller stops half-way
            for future in waiting:
                future.cancel()
