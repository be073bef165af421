import threading
import time

import pytest

from gsocc.datasets.read_ahead import read_ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_however_long_each_takes(threads: int) -> None:
    def read(number: int) -> int:
        time.sleep(0.004 * (number % 3 == 0))
        return number * number

    assert list(read_ahead(read, range(20), threads, ahead=2)) == [n * n for n in range(20)]


def test_an_error_comes_in_its_turn_and_stops_what_lies_ahead() -> None:
    read: list[int] = []

    def fail_at_three(number: int) -> int:
        read.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    found = []
    with pytest.raises(ValueError, match="three"):
        found.extend(read_ahead(fail_at_three, range(1000), threads=2, ahead=2))
    assert sorted(read) == list(range(len(read)))
    assert len(read) < 12


def test_memory_holds_no_more_than_was_allowed() -> None:
    started = []
    stream = read_ahead(lambda n: started.append(n) or n, range(100), threads=2, ahead=3)
    assert next(stream) == 0
    time.sleep(0.05)
    assert len(started) <= 2 + 3 + 1
    stream.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("read_ahead") for thread in threading.enumerate())


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        read_ahead(str, [1], threads=-1)
