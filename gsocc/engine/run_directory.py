"""The folder of a run: what it was asked, with which versions, what came of it."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from gsocc.engine.processes import is_main_process
from gsocc.errors import OutputError
from gsocc.files import atomic_write_text, jsonable, output_errors, read_json, restore_folder, write_json

_CONFIG, _VERSIONS, _SUMMARY, _HISTORY = "config.yaml", "versions.json", "metrics.json", "metrics.jsonl"

Policy = Literal["new", "resume", "overwrite"]


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder.

    It holds config.yaml (resolved), versions.json, metrics.jsonl (a line per log entry), metrics.json (the end's
    summary), tensorboard/, panels/ and checkpoints/{last,best}.

    Attributes:
        path: The folder.
        config_yaml: The resolved configuration.
    """

    path: Path
    config_yaml: str

    @classmethod
    def create(
        cls, path: Path | str, config_yaml: str, policy: Policy = "new", may_change: Sequence[str] = ()
    ) -> "RunDirectory":
        """Make the folder and write configuration and versions; only the main process touches the disk.

        Args:
            path: Where to; an empty folder will do.
            config_yaml: The resolved configuration.
            policy: "new" refuses a folder that holds a run with anything to lose; "resume" goes on with a run of the
                same configuration, or starts one; "overwrite" deletes the run that is there.
            may_change: Key paths such as "training.steps" in which a resumed run may differ.

        Raises:
            OutputError: Where the folder holds something else, or cannot be written.
        """
        run = cls(Path(path), config_yaml)
        if not is_main_process():
            return run
        with output_errors(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
        run._clear(policy, may_change)
        atomic_write_text(run.path / _CONFIG, config_yaml)
        write_json(run.path / _VERSIONS, versions())
        return run

    @property
    def last(self) -> Path:
        """Checkpoint folder from which the run resumes."""
        return self.path / "checkpoints" / "last"

    @property
    def best(self) -> Path:
        """Checkpoint folder of the best validation."""
        return self.path / "checkpoints" / "best"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def panels(self) -> Path:
        """Folder of pictures drawn while training."""
        return self.path / "panels"

    def can_resume(self) -> bool:
        """Return whether there is a checkpoint to go on from."""
        restore_folder(self.last)
        return self.last.is_dir()

    def finished(self) -> bool:
        """Return whether the run came to its last step."""
        return bool(self.summary().get("finished", False))

    def summary(self) -> dict[str, Any]:
        """Return metrics.json, empty where there is none yet."""
        path = self.path / _SUMMARY
        return read_json(path) if path.is_file() else {}

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to the history."""
        with output_errors(self.path / _HISTORY), (self.path / _HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(jsonable(record), allow_nan=False) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of the history; a last line that a crash cut off is left out."""
        path = self.path / _HISTORY
        if not path.is_file():
            return []
        records = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Drop what the history says about steps after `step`, which will be done again; return the rest."""
        records = [record for record in self.history() if record["step"] <= step]
        atomic_write_text(self.path / _HISTORY, "".join(json.dumps(record) + "\n" for record in records))
        return records

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write metrics.json."""
        write_json(self.path / _SUMMARY, summary)

    def _clear(self, policy: Policy, may_change: Sequence[str]) -> None:
        contents = [p for p in self.path.iterdir() if not p.name.startswith(".")]
        if not contents:
            return
        if not (self.path / _CONFIG).is_file():
            raise OutputError(
                f"{self.path}: expected an empty folder or a run, found {contents[0].name} and no {_CONFIG}; "
                "choose another output folder"
            )
        changes = differences((self.path / _CONFIG).read_text(encoding="utf-8"), self.config_yaml)
        changes = [change for change in changes if change.split(":")[0] not in may_change]
        if policy == "resume":
            if changes:
                raise OutputError(
                    f"{self.path}: cannot resume, because the configuration differs in {'; '.join(changes[:5])}. "
                    "Use the configuration of the run (its config.yaml), or start in another folder"
                )
            return
        if policy == "new" and (self.finished() or self.can_resume()):
            state = "a finished run" if self.finished() else "an unfinished run"
            which = "the same configuration" if not changes else f"another configuration ({'; '.join(changes[:2])})"
            raise OutputError(
                f"{self.path}: holds {state} of {which}; go on with it (--resume), delete it (--overwrite) or choose "
                "another output folder"
            )
        with output_errors(self.path):
            for item in self.path.iterdir():
                shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()


def differences(old_yaml: str, new_yaml: str) -> list[str]:
    """Return the keys in which two configurations differ, as "a.b: old -> new"."""
    old, new = _flat(yaml.safe_load(old_yaml)), _flat(yaml.safe_load(new_yaml))
    keys = [key for key in {**old, **new} if old.get(key, "(absent)") != new.get(key, "(absent)")]
    return [f"{key}: {old.get(key, '(absent)')} -> {new.get(key, '(absent)')}" for key in keys]


def versions() -> dict[str, Any]:
    """Return what a run's numbers may depend on besides its configuration."""
    names = ("gsocc", "torch", "numpy", "lightning", "transformers", "numba", "gsplat")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in names},
        "git": git_revision(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cpu_threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def git_revision() -> str | None:
    """Return the commit of the clone that this package runs from, with "+changes" where files differ from it."""
    root = Path(__file__).resolve().parents[2]
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return revision + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {
        key: item
        for name, child in value.items()
        for key, item in _flat(child, f"{prefix}.{name}" if prefix else str(name)).items()
    }
