"""Which labeller made the files of a folder, so that a run that goes on does not mix two."""

from pathlib import Path
from typing import Any

from gsocc.config import to_yaml
from gsocc.errors import OutputError
from gsocc.files import atomic_write_text
from gsocc.labelling.config import LabelConfig

ORIGIN_FILE = "labeller.yaml"


def check_origin(labels_root: Path, config: LabelConfig) -> None:
    """Refuse a folder whose label files another labeller made; one that says nothing of its labeller is taken.

    Raises:
        OutputError: Where its files were made by other networks or with other words.
    """
    path = labels_root / ORIGIN_FILE
    if path.is_file() and path.read_text(encoding="utf-8") != _text(config):
        raise OutputError(
            f"{path}: the label files here were made otherwise than this configuration says; choose another folder "
            "with --out, or write all of them again, of every split, with --overwrite"
        )


def write_origin(labels_root: Path, config: LabelConfig) -> None:
    """Write what makes the label files of a folder beside them."""
    atomic_write_text(labels_root / ORIGIN_FILE, _text(config))


def _text(config: LabelConfig) -> str:
    """Return the labeller as YAML: folders by their names, since a copy elsewhere labels alike."""
    section = config.labeller
    folders: dict[str, Any] = {key: Path(value.name) for key, value in section if isinstance(value, Path)}
    return to_yaml(section.model_copy(update=folders))
