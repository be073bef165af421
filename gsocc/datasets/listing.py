"""Which of many files are there, found by listing folders instead of asking file by file."""

from collections.abc import Iterable
from pathlib import Path


def missing_files(root: Path, names: Iterable[str]) -> list[str]:
    """Return those of `names` (paths below `root`, with forward slashes) that do not exist, in their order."""
    folders: dict[str, set[str]] = {}
    missing = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in folders:
            path = root / folder
            folders[folder] = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
        if base not in folders[folder]:
            missing.append(name)
    return missing


def some(names: list[str], count: int = 3) -> str:
    """Return the first few names, for a message."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
