"""Writing a world: work shared out to processes, a journal that an interrupted run resumes from, an end.

What is written is decided by `gsocc.datasets.world.formats`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from gsocc.datasets.world.formats import FORMATS, Results, Spec
from gsocc.datasets.world.workers import run_tasks
from gsocc.errors import OutputError
from gsocc.files import output_errors, read_json, write_json
from gsocc.progress import ProgressBar

MANIFEST = "world.json"
JOURNAL = ".world-journal.jsonl"


def write_world(spec: Spec, out: Path, workers: int | None) -> Path:
    """Write a world, or return at once where the same one is complete.

    Raises:
        OutputError: Where the folder holds something else, or cannot be written to.
    """
    out, form = Path(out), FORMATS[spec.format]
    if is_complete(spec, out):
        return out
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        results = _open_journal(spec, out)
        tasks = [(s, k) for s in range(spec.scenes) for k in range(spec.moments) if (s, k) not in results]
        with (
            (out / JOURNAL).open("a") as journal,
            ProgressBar(spec.scenes * spec.moments, "writing the world", unit=form.unit) as bar,
        ):
            bar.start_at(len(results))
            for task, result in run_tasks(spec, out, tasks, workers or _worker_count(len(tasks))):
                results[task] = result
                journal.write(json.dumps({"task": task, "objects": result}) + "\n")
                journal.flush()
                bar.advance()
        form.finish(spec, out, results)
        write_json(out / MANIFEST, spec.as_json())
        (out / JOURNAL).unlink()
    return out


def is_complete(spec: Spec, out: Path) -> bool:
    """Return whether `out` holds this very world, finished.

    Raises:
        OutputError: Where it holds another one.
    """
    manifest = out / MANIFEST
    if not manifest.is_file():
        return False
    found = read_json(manifest)
    if found == spec.as_json():
        return True
    raise OutputError(_differs(out, found, spec))


def _open_journal(spec: Spec, out: Path) -> Results:
    """Start a journal, or read that of an interrupted run of the same world; a half-written last line is dropped."""
    journal = out / JOURNAL
    if not journal.is_file():
        strangers = sorted(p.name for p in out.iterdir())
        if strangers:
            raise OutputError(
                f"{out} is not empty (it holds {strangers[0]}) and is no world of ours: choose another folder"
            )
        journal.write_text(json.dumps(spec.as_json()) + "\n")
        return {}
    lines = list(_whole_lines(journal))
    if not lines or lines[0] != spec.as_json():
        raise OutputError(_differs(out, lines[0] if lines else {}, spec))
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {(line["task"][0], line["task"][1]): line["objects"] for line in lines[1:]}


def _whole_lines(journal: Path) -> Iterator[dict]:
    for line in journal.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _differs(out: Path, found: dict, spec: Spec) -> str:
    wanted = spec.as_json()
    names = [k for k in wanted if not isinstance(found, dict) or found.get(k) != wanted[k]]
    pairs = ", ".join(f"{k} {found.get(k)!r} instead of {wanted[k]!r}" for k in names) if found else "unreadable"
    return f"{out} holds another world ({pairs}): choose another folder, or delete it to make this one"


def _worker_count(tasks: int) -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    # A process takes a second or two to start and to load its kernels.
    return max(min(available, tasks // 4, 16), 1)
