"""Reading published state dicts: tensors only, every key accounted for."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gsocc.errors import CheckpointError
from gsocc.interop.released_keys import LIVE_FAMILY, POSE, POSE_ROWS, PUBLISHED_POSE_ROWS, UNNEEDED

_SHOWN = 5
Status = Literal["used", "derived", "dead", "unknown"]


@dataclass(frozen=True)
class KeyRecord:
    """What became of one key of a published file.

    Attributes:
        file: Its name.
        key: As the file has it.
        shape: Of a tensor; None for a plain value.
        status: "used"; "derived" and "dead" as in `Unneeded`; "unknown" to us, and not read.
        ours: Our name of a used tensor.
        note: Why it is not needed, or how it was changed.
    """

    file: str
    key: str
    shape: tuple[int, ...] | None
    status: Status
    ours: str | None = None
    note: str = ""


@dataclass(frozen=True)
class ImportReport:
    """Every key of every file that was read."""

    records: tuple[KeyRecord, ...]

    def count(self, status: Status, file: str | None = None) -> int:
        """Return how many keys have a status, in one file or in all."""
        return sum(r.status == status and file in (None, r.file) for r in self.records)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files, in the order of reading."""
        return tuple(dict.fromkeys(r.file for r in self.records))

    def keys(self, status: Status) -> tuple[str, ...]:
        """Return `file: key` of those with a status."""
        return tuple(f"{r.file}: {r.key}" for r in self.records if r.status == status)

    def as_records(self) -> list[dict[str, Any]]:
        """Return the records in JSON's types."""
        return [asdict(record) for record in self.records]


def read_released(path: Path) -> dict[str, Any]:
    """Read a `.pth` file of tensors and plain values; prefixes that DDP adds are taken off.

    Nothing but tensors is ever built from the file: what it would run is refused, not run.

    Raises:
        CheckpointError: Where there is no such file, it is damaged, it holds more than tensors and plain values, or it
            is not a state dict.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a folder with the published {path.name}")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind for every sort of damage
        raise CheckpointError(f"{path}: {_refusal(str(error))}") from error
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise CheckpointError(f"{path}: expected a state dict (names and tensors), got {type(loaded).__name__}")
    state: dict[str, Any] = {}
    for key, value in loaded.items():
        plain = key.removeprefix("module.")
        if plain in state:
            raise CheckpointError(f"{path}: holds {plain} twice, with and without the prefix `module.`; keep one")
        state[plain] = value
    return state


def _refusal(message: str) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", message)
    if named:
        return (
            f"refused: the file asks for {named.group(1)}, and a file that may run code is not loaded; nothing in it "
            "was run. Expected a state dict of tensors; save it again as one where you trust its origin"
        )
    if "weights_only" in message.lower() or "weights only" in message.lower():
        return (
            "refused: not a plain state dict of tensors, or damaged; nothing in it was run. "
            "Download it again, or save it again as a state dict where you trust its origin"
        )
    return (
        f"damaged, expected a state dict that torch saved ({message.partition(chr(10))[0] or 'empty'}); copy it again"
    )


def take_tensors(
    folder: Path,
    states: Mapping[str, Mapping[str, Any]],
    wanted: Mapping[tuple[str, str], str],
    own: Mapping[str, Tensor],
    hint: str = "",
) -> tuple[dict[str, Tensor], ImportReport]:
    """Collect what a network needs from published files.

    Args:
        folder: Where they lie, for messages.
        states: Content of each file, by its name.
        wanted: (file, published key) -> our name.
        own: Our tensors by name: shapes and dtypes.
        hint: What to do about keys or shapes that do not fit.

    Returns:
        state: A state dict of ours, complete.
        report: What became of each key.

    Raises:
        CheckpointError: Where a live key is missing, has another shape, is no tensor or not finite, or where live
            keys are left over: the files are those of another architecture. All of them are named.
    """
    state: dict[str, Tensor] = {}
    records: list[KeyRecord] = []
    missing = [f"{file}: {key}" for file, key in wanted if key not in states[file]]
    wrong: list[str] = []
    surplus: list[str] = []
    for file, content in states.items():
        for key, value in content.items():
            shape = tuple(value.shape) if isinstance(value, Tensor) else None
            ours = wanted.get((file, key))
            if ours is not None:
                problem = _problem(file, key, value, own[ours])
                if problem:
                    wrong.append(f"{file}: {key} ({problem})")
                else:
                    state[ours] = _taken(file, key, value).to(own[ours].dtype)
                records.append(KeyRecord(file, key, shape, "used", ours))
                continue
            record = _unneeded(file, key, shape)
            if record.status == "unknown" and re.fullmatch(LIVE_FAMILY[file], key):
                surplus.append(f"{file}: {key}")
            records.append(record)
    parts = [("missing", missing), ("wrong", wrong), ("left over", surplus)]
    found = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in parts if names)
    if found:
        raise CheckpointError(f"{folder}: does not hold the expected network: {found}{'. ' + hint if hint else ''}")
    return state, ImportReport(tuple(records))


def _problem(file: str, key: str, value: Any, own: Tensor) -> str:
    if not isinstance(value, Tensor):
        return f"expected a tensor, got {type(value).__name__}"
    expected = tuple(own.shape)
    if _is_pose_output(file, key):
        expected = (PUBLISHED_POSE_ROWS, *expected[1:])
    if tuple(value.shape) != expected:
        return f"expected shape {expected}, got {tuple(value.shape)}"
    if value.is_floating_point() != own.is_floating_point():
        return f"expected {own.dtype}, got {value.dtype}"
    return "" if bool(torch.isfinite(value).all()) else "not finite"


def _taken(file: str, key: str, value: Tensor) -> Tensor:
    return value[list(POSE_ROWS)] if _is_pose_output(file, key) else value


def _is_pose_output(file: str, key: str) -> bool:
    return file == POSE and key.startswith("net.3.")


def _unneeded(file: str, key: str, shape: tuple[int, ...] | None) -> KeyRecord:
    for known in UNNEEDED[file]:
        if re.fullmatch(known.pattern, key):
            return KeyRecord(file, key, shape, known.status, note=known.why)
    return KeyRecord(file, key, shape, "unknown", note="no published file is known to hold it")


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
