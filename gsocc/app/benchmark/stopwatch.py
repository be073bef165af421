"""Time and memory of a piece of work, on the CPU and on CUDA, and the machine that they belong to."""

import ctypes
import gc
import platform
import resource
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numba
import torch

from gsocc.errors import UserError

Key = TypeVar("Key", bound=Hashable)

_MEMORY_SHARE = 0.9  # of what is available may be taken: the rest is the system's


@dataclass(frozen=True)
class Lap:
    """How long something took.

    Attributes:
        wall_s: Elapsed seconds; on CUDA between two events on the device.
        cpu_s: Processor seconds of all threads of this process.
    """

    wall_s: float
    cpu_s: float


def lap(function: Callable[[], object], device: str) -> Lap:
    """Run something once and return how long it took, work that it left to the GPU included."""
    if device != "cuda":
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return Lap(time.perf_counter() - wall, time.process_time() - cpu)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    cpu = time.process_time()
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return Lap(start.elapsed_time(end) / 1e3, time.process_time() - cpu)


def race(runners: Mapping[Key, Callable[[], object]], device: str, repeats: int, enough_s: float) -> dict[Key, Lap]:
    """Run everything in turn, A B C A B C, and return the medians: what disturbs the machine disturbs all alike.

    Args:
        runners: What is measured.
        device: "cpu" or "cuda".
        repeats: Rounds.
        enough_s: A runner that has taken this long in all, once at least, sits out the rounds that are left.
    """
    laps: dict[Key, list[Lap]] = {key: [] for key in runners}
    for _ in range(repeats):
        for key, run in runners.items():
            if not laps[key] or sum(one.wall_s for one in laps[key]) < enough_s:
                laps[key].append(lap(run, device))
    return {
        key: Lap(statistics.median(one.wall_s for one in taken), statistics.median(one.cpu_s for one in taken))
        for key, taken in laps.items()
    }


class PeakMemory:
    """Highest memory above that at the start, in 1e9 bytes: resident on the CPU, allocated by torch on CUDA.

    Attributes:
        gb: The figure, once the block has ended; None where the system does not tell (not Linux).
    """

    gb: float | None = None

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        self._start: int | None = None

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if self._cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
            return self
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier measurements freed would hide what this one takes
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        except OSError:
            return self
        self._start = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        peak = torch.cuda.max_memory_allocated() if self._cuda else _status("VmHWM")
        if self._start is not None and peak is not None:
            self.gb = max(0, peak - self._start) / 1e9


@contextmanager
def bounded_memory(device: str) -> Iterator[None]:
    """Turn running out of main memory into an error that can be reported, instead of the end of the process."""
    available = _available()
    if device == "cuda" or available is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = (_status("VmData") or 0) + int(_MEMORY_SHARE * available)
    hard = before[1]
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory, of either kind, was not enough."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def choose_device(given: str | None) -> str:
    """Return the device to measure on: the one given, or CUDA where there is one.

    Raises:
        UserError: Where it is not known or not there.
    """
    if given not in (None, "cpu", "cuda"):
        raise UserError(f"--device: expected cpu or cuda, got {given!r}")
    if given == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: torch finds no CUDA device here, got 'cuda'; see gsocc doctor env")
    return given or ("cuda" if torch.cuda.is_available() else "cpu")


def choose_threads(given: int | None) -> int:
    """Return the number of threads that kernels use: the one given, or all that numba may.

    Raises:
        UserError: Where numba has fewer.
    """
    most = numba.get_num_threads()
    if given is not None and given > most:
        raise UserError(f"--threads: numba may use {most} here (NUMBA_NUM_THREADS), got {given}")
    return given or most


def use_threads(count: int) -> None:
    """Give torch and the kernels this many threads."""
    numba.set_num_threads(count)
    torch.set_num_threads(count)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Put the numbers of threads back to what they were."""
    before = numba.get_num_threads(), torch.get_num_threads()
    try:
        yield
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])


def machine(device: str) -> dict[str, Any]:
    """Return what the figures depend on."""
    versions = {"torch": torch.__version__, "numba": numba.__version__, "python": platform.python_version()}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        memory_gb = properties.total_memory / 1e9
        return {"device": properties.name, "memory_gb": memory_gb, "cuda": torch.version.cuda, **versions}
    available = _available()
    return {"device": _processor(), "memory_gb": None if available is None else available / 1e9, **versions}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _status(key: str) -> int | None:
    return _kibibytes(Path("/proc/self/status"), key)


def _available() -> int | None:
    return _kibibytes(Path("/proc/meminfo"), "MemAvailable")


def _kibibytes(path: Path, key: str) -> int | None:
    """Return an entry of a file of /proc in bytes; None where there is none."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), None)
