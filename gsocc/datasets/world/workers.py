"""Processes that write the moments of a world side by side.

Plain child processes that are told their work on stdin, not `multiprocessing`: forking is unsafe once torch or
Embree have started threads, and spawning re-runs the user's script.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from gsocc.datasets.world.formats import FORMATS, Result, Spec
from gsocc.errors import OutputError

Task = tuple[int, int]


def run_tasks(spec: Spec, out: Path, tasks: list[Task], workers: int) -> Iterator[tuple[Task, Result]]:
    """Write moments and yield what each returned, in the order in which they finish.

    Args:
        spec: The world.
        out: Its root.
        tasks: Scene and moment of each.
        workers: Number of processes; 1 works in this one.

    Raises:
        OutputError: Where a process could not write.
        RuntimeError: Where a process failed otherwise.
    """
    if workers <= 1:
        for task in tasks:
            yield task, FORMATS[spec.format].write_moment(spec, out, *task)
        return
    share = -(-len(tasks) // workers)
    # Neighbours stay together: a process builds a scene once.
    parts = [tasks[k : k + share] for k in range(0, len(tasks), share)]
    children = [_start(spec, out, part) for part in parts]
    lines: queue.Queue[tuple[int, str | None]] = queue.Queue()
    for number, child in enumerate(children):
        threading.Thread(target=_forward, args=(number, child, lines), daemon=True).start()
    try:
        yield from _collect(children, lines)
    finally:
        for child in children:
            child.kill()
            child.wait()


def _start(spec: Spec, out: Path, tasks: list[Task]) -> subprocess.Popen[str]:
    package_root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    child = subprocess.Popen(
        [sys.executable, "-m", "gsocc.datasets.world.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, **threads, "PYTHONPATH": path},
    )  # fmt: skip
    assert child.stdin is not None
    with child.stdin as pipe:
        pipe.write(
            json.dumps({"format": spec.format, "spec": spec.as_json(), "out": str(out.resolve()), "tasks": tasks})
        )
    return child


def _forward(number: int, child: subprocess.Popen[str], lines: "queue.Queue[tuple[int, str | None]]") -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put((number, line))
    lines.put((number, None))


def _collect(
    children: list[subprocess.Popen[str]], lines: "queue.Queue[tuple[int, str | None]]"
) -> Iterator[tuple[Task, Result]]:
    running = len(children)
    while running:
        number, line = lines.get()
        if line is None:
            running -= 1
            child = children[number]
            if child.wait() != 0:
                assert child.stderr is not None
                raise RuntimeError(f"a process that writes the world ended with {child.wait()}:\n{child.stderr.read()}")
            continue
        answer = json.loads(line)
        if "error" in answer:
            raise OutputError(answer["error"])
        yield (answer["task"][0], answer["task"][1]), answer["objects"]
