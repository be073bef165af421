"""Open networks of transformers from local folders, and refuse what would run with weights that nobody trained."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gsocc.errors import CheckpointError, DataError
from gsocc.files import read_json

_PAGE = "docs/labels.md says how to get public ones"
_WEIGHTS = (".safetensors", ".bin")


def model_type(folder: Path, key: str, expected: str, known: Collection[str]) -> str:
    """Return which network a folder holds.

    Args:
        folder: As transformers' `save_pretrained` writes it.
        key: Key of the configuration that named it, for messages.
        expected: What it should hold, in words.
        known: Values of `model_type` that are meant by that.

    Raises:
        CheckpointError: Where there is no such folder, or it holds something else.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{key}: no folder {folder}; expected the files of {expected}; {_PAGE}")
    try:
        found = read_json(folder / "config.json").get("model_type")
    except (FileNotFoundError, AttributeError, DataError) as error:
        raise CheckpointError(
            f"{key}: {folder}: expected the files of {expected}, config.json among them, got: {error}; {_PAGE}"
        ) from error
    if found not in known:
        raise CheckpointError(
            f"{key}: {folder} holds a network of type {found}; expected {expected} ({', '.join(sorted(known))})"
        )
    if not any(file.suffix in _WEIGHTS for file in folder.iterdir()):
        raise CheckpointError(f"{key}: {folder} has no weights (model.safetensors); copy the folder again, whole")
    return str(found)


def load_network(kind: Any, folder: Path, key: str) -> Any:
    """Return a network for inference, every weight of which came from the folder.

    Transformers only warns where weights are missing, and draws them at random: labels would be noise.

    Args:
        kind: One of transformers' classes with `from_pretrained`.
        folder: What to load.
        key: Key of the configuration that named it, for messages.

    Raises:
        CheckpointError: Where files are missing or damaged, or weights are missing.
    """
    try:
        with _without_bar():
            network, facts = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # of safetensors, json, zip and torch, which share no base of their own
        raise CheckpointError(
            f"{key}: {folder} cannot be loaded: {_first_line(error)}; copy the folder again, whole"
        ) from error
    missing = sorted(facts["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{key}: {folder} lacks {len(missing)} weights of a {type(network).__name__}, for example {missing[0]}: "
            "it was made for another task"
        )
    return network.eval().requires_grad_(False)


def load_beside(kind: Any, folder: Path, key: str, what: str) -> Any:
    """Return what lies beside a network: its tokenizer or its image processor.

    Args:
        kind: One of transformers' classes with `from_pretrained`.
        folder: What to load it from.
        key: Key of the configuration that named the folder, for messages.
        what: Name of the thing, for messages.

    Raises:
        CheckpointError: Where it is missing or damaged.
    """
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{key}: the {what} in {folder} cannot be loaded: {_first_line(error)}; copy the folder again, whole"
        ) from error


@contextmanager
def _without_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar over a second's work."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
