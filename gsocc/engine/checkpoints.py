"""Checkpoints: a folder with weights (safetensors), the run's configuration and a few facts. No pickle."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from gsocc.errors import CheckpointError
from gsocc.files import atomic_folder, read_json, restore_folder, write_json

_WEIGHTS, _CONFIG, _META, _TRAINING = "model.safetensors", "config.yaml", "meta.json", "training_state.pt"
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds.

    Attributes:
        folder: Where it was read.
        state: Weights and buffers by name, on the CPU.
        config_yaml: The resolved configuration of the run that wrote it.
        meta: Facts such as the step and its metrics.
    """

    folder: Path
    state: dict[str, Tensor]
    config_yaml: str
    meta: dict[str, Any]

    def identity(self) -> str:
        """Return name of the run, step and a checksum of the weights: what a result that was made with it records.

        It says nothing of folders, which differ between machines, and changes with every weight.
        """
        config = yaml.safe_load(self.config_yaml) or {}
        checksum = hashlib.sha256((self.folder / _WEIGHTS).read_bytes()).hexdigest()[:8]
        return f"{config.get('name', self.folder.name)}@{self.meta.get('step', '?')}-{checksum}"


def save_checkpoint(
    folder: Path | str,
    model_state: Mapping[str, Tensor],
    config_yaml: str,
    meta: dict[str, Any],
    training_state: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder; an existing one is replaced, and never missing in between.

    Args:
        folder: Where to.
        model_state: Weights and buffers by name.
        config_yaml: The resolved configuration.
        meta: Facts in JSON's types.
        training_state: Optimiser state and counters; tensors and plain values only.

    Raises:
        OutputError: Where the folder cannot be written; what was there before stays.
    """
    # A copy each: safetensors refuses tensors that share memory, as tied weights do.
    state = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model_state.items()}
    with atomic_folder(folder) as temporary:
        (temporary / _WEIGHTS).write_bytes(save_safetensors(state))
        (temporary / _CONFIG).write_text(config_yaml, encoding="utf-8")
        write_json(temporary / _META, meta)
        if training_state is not None:
            # By way of memory: torch's own file writer aborts on a full disk, with an error that names no file.
            buffer = io.BytesIO()
            torch.save(training_state, buffer)
            (temporary / _TRAINING).write_bytes(buffer.getvalue())


def find_checkpoint(path: Path, command: str) -> Path:
    """Return the checkpoint folder of a run directory (`best`, else `last`), or `path` itself.

    Args:
        path: A run directory or a checkpoint folder.
        command: What trains such a run, for the message.

    Raises:
        CheckpointError: Where there is nothing at `path`.
    """
    for folder in (path / "checkpoints" / "best", path / "checkpoints" / "last"):
        restore_folder(folder)
        if folder.is_dir():
            return folder
    if not path.exists():
        raise CheckpointError(f"{path}: no such run or checkpoint; train one with `{command}`")
    return path


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read a checkpoint folder.

    Raises:
        CheckpointError: Where there is none, or it is damaged.
    """
    folder = _existing(folder)
    try:
        state = load_safetensors((folder / _WEIGHTS).read_bytes())
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder / _WEIGHTS}: damaged, expected a whole safetensors file: {error}; copy it again"
        ) from error
    config = folder / _CONFIG
    config_yaml = config.read_text(encoding="utf-8") if config.is_file() else ""
    meta = read_json(folder / _META) if (folder / _META).is_file() else {}
    return Checkpoint(folder, state, config_yaml, meta)


def load_training_state(folder: Path | str) -> dict[str, Any]:
    """Read what `save_checkpoint` was given as `training_state`.

    Raises:
        CheckpointError: Where there is none, or it is damaged.
    """
    path = _existing(folder) / _TRAINING
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; this checkpoint holds weights only and cannot be resumed")
    try:
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind for every sort of damage
        raise CheckpointError(f"{path}: damaged, expected a whole training state: {error}") from error


def load_into(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's weights into a model; every name and shape must agree.

    Raises:
        CheckpointError: Naming the first weights that differ.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in checkpoint.state]
    unexpected = sorted(name for name in checkpoint.state if name not in own)
    shapes = [
        f"{name} (model {tuple(value.shape)}, checkpoint {tuple(checkpoint.state[name].shape)})"
        for name, value in own.items()
        if name in checkpoint.state and checkpoint.state[name].shape != value.shape
    ]
    if missing or unexpected or shapes:
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
        found = "; ".join(f"{what}: {_some(names)}" for what, names in parts if names)
        raise CheckpointError(
            f"{checkpoint.folder}: a checkpoint of another architecture or grid: {found}. Build the model from the "
            f"{_CONFIG} beside the weights, or choose a checkpoint of this configuration"
        )
    model.load_state_dict(checkpoint.state)


def _existing(folder: Path | str) -> Path:
    folder = Path(folder)
    restore_folder(folder)
    if folder.is_file() and folder.name == _WEIGHTS:
        folder = folder.parent
    if not (folder / _WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: expected a checkpoint folder with {_WEIGHTS}, found none{_siblings(folder)}")
    return folder


def _siblings(folder: Path) -> str:
    for parent in (folder / "checkpoints", folder, folder.parent):
        found = sorted(str(path.parent) for path in parent.glob(f"*/{_WEIGHTS}"))
        if found:
            return f"; there is {', '.join(found[:_SHOWN])}"
    return "; train one first, or check the path"


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
