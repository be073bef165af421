"""Read YAML into plain values, remembering which file or flag each key came from."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gsocc.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass
class Source:
    """Plain values with the origin of every key.

    Attributes:
        values: Dicts, lists and scalars.
        origins: For each key path, the file or `--set` flag that wrote it.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> str | None:
        """Return who wrote `path`, or else the nearest parent that somebody wrote."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return None


def read_yaml(path: Path) -> Source:
    """Read one file, without following its `include`.

    Raises:
        ConfigError: Where the file is missing, no YAML mapping, or says a key twice.
    """
    name = display(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file; expected a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: cannot be read as UTF-8 text: {error}") from error
    source = Source()
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return source
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{name}: expected a mapping of keys to values, got a {node.tag.rsplit(':')[-1]}")
        source.values = _construct(loader, node, (), name, source.origins)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {_syntax(error)}") from error
    finally:
        loader.dispose()
    return source


def parse_scalar(text: str, flag: str) -> Any:
    """Parse the right side of an override as YAML: a number, a word, a list or a mapping.

    Raises:
        ConfigError: Where the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{flag}: {_syntax(error)}") from error


def display(path: Path) -> str:
    """Return a path as the user would write it: relative to the working folder where it lies inside."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, except that 1e-4 is a number, which YAML 1.1 takes for a word."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, name: str, origins: dict[KeyPath, str]) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, (*path, i), name, origins) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    written = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    for i, key in enumerate(written):
        if key in written[:i]:
            line = node.value[i][0].start_mark.line + 1
            where = ".".join(str(part) for part in (*path, key))
            raise ConfigError(f"{name}: {where}: expected once, but line {line} says it a second time")
    loader.flatten_mapping(node)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        origins[(*path, key)] = name
        values[key] = _construct(loader, value_node, (*path, key), name, origins)
    return values


def _syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: not valid YAML: {problem}" if mark else f"not valid YAML: {problem}"
