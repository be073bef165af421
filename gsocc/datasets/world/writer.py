"""Writing a world: work shared out to processes, a journal that an interrupted run resumes from, tables at the end."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from gsocc.datasets.world.frames import build_scene
from gsocc.datasets.world.spec import WorldSpec
from gsocc.datasets.world.tables import Counts, Tables
from gsocc.datasets.world.workers import run_tasks
from gsocc.errors import DataError, OutputError
from gsocc.files import output_errors, read_json, write_json
from gsocc.kernels.world_ground import map_mask
from gsocc.progress import ProgressBar

MANIFEST = "world.json"
JOURNAL = ".world-journal.jsonl"
MAP_CELL_M = 0.1  # what the devkit expects
MAP_COARSENESS = 5  # pixels of the map per sample of the ground

Task = tuple[int, int]  # scene, key frame


def write_world(spec: WorldSpec, out: Path, workers: int | None) -> Path:
    """Write a world, or return at once where the same one is complete.

    Raises:
        OutputError: Where the folder holds something else, or cannot be written to.
    """
    out = Path(out)
    if is_complete(spec, out):
        return out
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        counts = _open_journal(spec, out)
        tasks = [(s, k) for s in range(spec.scenes) for k in range(spec.keyframes) if (s, k) not in counts]
        with (
            (out / JOURNAL).open("a") as journal,
            ProgressBar(spec.scenes * spec.keyframes, "writing the world", unit="key frame") as bar,
        ):
            bar.start_at(len(counts))
            for task, result in run_tasks(spec, out, tasks, workers or _worker_count(len(tasks))):
                counts[task] = result
                journal.write(json.dumps({"task": task, "objects": result}) + "\n")
                journal.flush()
                bar.advance()
        _write_tables(spec, out, counts)
        write_json(out / MANIFEST, spec.as_json())
        (out / JOURNAL).unlink()
    return out


def is_complete(spec: WorldSpec, out: Path) -> bool:
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


def _open_journal(spec: WorldSpec, out: Path) -> Counts:
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


def _differs(out: Path, found: dict, spec: WorldSpec) -> str:
    wanted = spec.as_json()
    names = [k for k in wanted if not isinstance(found, dict) or found.get(k) != wanted[k]]
    pairs = ", ".join(f"{k} {found.get(k)!r} instead of {wanted[k]!r}" for k in names) if found else "unreadable"
    return f"{out} holds another world ({pairs}): choose another folder, or delete it to make this one"


def _write_tables(spec: WorldSpec, out: Path, counts: Counts) -> None:
    tables = Tables(spec)
    tables.add_fixed()
    for scene in range(spec.scenes):
        world = build_scene(spec, scene)
        map_file = f"maps/{spec.scene_name(scene)}.png"
        _write_map(out / map_file, map_mask(world.bare_ground, MAP_CELL_M * MAP_COARSENESS))
        tables.add_scene(scene, world, counts, map_file)
    folder = out / spec.version
    folder.mkdir(exist_ok=True)
    for name, rows in tables.rows.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0, allow_nan=False) + "\n")


def _write_map(path: Path, mask: np.ndarray) -> None:
    """Write a mask whose first axis is x and second y as a PNG with y upwards."""
    path.parent.mkdir(exist_ok=True)
    image = np.ascontiguousarray(mask.T[::-1]).repeat(MAP_COARSENESS, 0).repeat(MAP_COARSENESS, 1)
    done, data = cv2.imencode(".png", image)
    if not done:
        raise DataError(f"{path}: could not encode the map")
    path.write_bytes(data.tobytes())


def _worker_count(tasks: int) -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    # A process takes a second or two to start and to load its kernels.
    return max(min(available, tasks // 4, 16), 1)
