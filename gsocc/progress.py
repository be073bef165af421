"""Progress with rate and remaining time: a bar on a terminal, plain lines elsewhere. Written to stderr."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")

PLAIN_PERIOD_S = 5.0  # between two lines where there is no terminal


class ProgressBar:
    """Counts steps of something that takes a while; a context manager.

    Bars may be nested (a validation inside a training); they then share one display.
    """

    def __init__(self, total: int | None, label: str, *, unit: str = "", enabled: bool = True) -> None:
        self.total, self.label, self.unit = total, label, unit
        # torchrun numbers its processes; one of them talks to the user.
        self.enabled = enabled and os.environ.get("RANK", "0") == "0"
        self.done = 0
        self.detail = ""
        self._initial = 0
        self._start = self._last_line = time.monotonic()
        self._task: TaskID | None = None

    def __enter__(self) -> "ProgressBar":
        self._start = self._last_line = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            self._task = _DISPLAY.add(self.label, self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            _DISPLAY.remove(self._task, keep=kind is None)
        elif self.enabled and kind is None and self._last_line > self._start:
            self._line(f"{self.done} done in {_clock(time.monotonic() - self._start)} {self.detail}")

    def start_at(self, done: int) -> None:
        """Say how much was done before this process began, so that the rate leaves it out."""
        self.done = self._initial = done

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Count `count` more steps; `detail` is shown behind the numbers, for example the loss."""
        self.done += count
        self.detail = detail or self.detail
        now = time.monotonic()
        if self._task is not None:
            _DISPLAY.update(self._task, self.done, f"{self._rate(now)} {self.detail}")
        elif self.enabled and now - self._last_line >= PLAIN_PERIOD_S:
            self._last_line = now
            self._line(f"{self._count()} {self._rate(now)}{self._remaining(now)} {self.detail}")

    def _count(self) -> str:
        if not self.total:
            return str(self.done)
        return f"{self.done}/{self.total} ({100 * self.done // self.total}%)"

    def _rate(self, now: float) -> str:
        rate = (self.done - self._initial) / max(now - self._start, 1e-9)
        unit = self.unit or "it"
        return f"{rate:.1f} {unit}/s" if rate >= 1 or rate == 0 else f"{1 / rate:.2f} s/{unit}"

    def _remaining(self, now: float) -> str:
        fresh = self.done - self._initial
        if not self.total or fresh <= 0:
            return ""
        return f", {_clock((now - self._start) / fresh * max(self.total - self.done, 0))} left"

    def _line(self, text: str) -> None:
        note(f"{self.label}: {text}".rstrip())


def track(iterable: Iterable[T], total: int | None = None, label: str = "working", unit: str = "") -> Iterator[T]:
    """Yield the items of `iterable` and show how far along they are.

    Args:
        iterable: What is done.
        total: Number of items; taken from `len()` where there is one.
        label: What is being done, in a word or two.
        unit: What one item is, for the rate ("frames").
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with ProgressBar(total, label, unit=unit) as bar:
        for item in iterable:
            yield item
            bar.advance()


def note(message: str) -> None:
    """Write a line for the user to stderr, outside of any bar."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Display:
    """The one live region of the terminal, made when the first bar opens and closed with the last."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._open: set[TaskID] = set()

    def add(self, label: str, total: int | None) -> TaskID:
        """Open a bar and return its number."""
        if self._progress is None:
            self._progress = _make_progress()
            self._progress.start()
        task = self._progress.add_task(label, total=total, detail="")
        self._open.add(task)
        return task

    def update(self, task: TaskID, done: int, detail: str) -> None:
        """Move a bar."""
        if self._progress is not None:
            self._progress.update(task, completed=done, detail=detail)

    def remove(self, task: TaskID, keep: bool) -> None:
        """Close a bar; an inner one disappears, the outermost stays where it ended."""
        self._open.discard(task)
        if self._progress is None:
            return
        if self._open or not keep:
            self._progress.remove_task(task)
        if not self._open:
            self._progress.stop()
            self._progress = None


def _make_progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[detail]}"),
        console=Console(stderr=True),
    )


_DISPLAY = _Display()
