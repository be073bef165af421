"""What was found in a data root, of whatever data set: lines of a report, and what brings what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gsocc.datasets.index import Names, SurroundIndex, changed_tables, read_index
from gsocc.datasets.listing import missing_files, some
from gsocc.errors import DataError


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        name: What was looked for.
        good: Whether all of it is there.
        detail: What was found.
        required: Whether training is impossible without it.
        fix: What to run or copy; empty where all is well.
    """

    name: str
    good: bool
    detail: str
    required: bool
    fix: str = ""


def inspect_index(root: Path, path: Path, fix: str) -> tuple[SurroundIndex | None, Finding]:
    """Open an index, where that is possible, and say what is wrong with it.

    Args:
        root: The data root, whose tables it has to fit.
        path: The index file.
        fix: The command that builds it.
    """
    if not path.is_file():
        return None, Finding("index", False, f"no {path.name}; files and labels are looked for with it", True, fix)
    try:
        index = read_index(path)
    except DataError as error:
        return None, Finding("index", False, str(error), True, fix)
    if changes := changed_tables(index.source, root):
        return index, Finding("index", False, f"out of date: {'; '.join(changes)}", True, fix)
    counts = {name: int(scenes[index.sample_scene].sum()) for name, scenes in index.splits.items()}
    detail = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    skipped = f"; built without {', '.join(index.source.skipped)}" if index.source.skipped else ""
    return index, Finding("index", True, f"key frames: {detail}{skipped}", True)


def inspect_listed(root: Path, kinds: dict[str, tuple[Names, str]]) -> list[Finding]:
    """Look for the files that an index lists; without them there is no training.

    Args:
        root: The data root.
        kinds: By the name of each kind, its paths as they stand in the index, and the fix; one without any is left out.
    """
    findings = []
    for name, (raw, fix) in kinds.items():
        files = [file.decode() for file in raw.tolist()]
        if files:
            findings.append(count_files(name, files, missing_files(root, files), True, fix))
    return findings


def inspect_derived(root: Path, kinds: dict[str, tuple[Iterable[Path], str]]) -> list[Finding]:
    """Look for files that are made from the data or come beside it; training is possible without them.

    Args:
        root: The data root.
        kinds: By the name of each kind, its paths below the root, and the fix.
    """
    findings = []
    for name, (paths, fix) in kinds.items():
        files = [path.as_posix() for path in paths]
        findings.append(count_files(name, files, missing_files(root, files), False, fix))
    return findings


def count_files(name: str, files: list[str], missing: list[str], required: bool, fix: str) -> Finding:
    """Say how many of `files` are missing."""
    if not missing:
        return Finding(name, True, f"all {len(files)}", required)
    if len(missing) == len(files):
        return Finding(name, False, f"none of {len(files)}", required, fix)
    return Finding(name, False, f"{len(missing)} of {len(files)} missing: {some(missing)}", required, fix)
