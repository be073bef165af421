"""From a YAML file and overrides to a validated model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from gsocc.config.messages import dotted, explain, models_at
from gsocc.config.source import KeyPath, Source, display, parse_scalar, read_yaml
from gsocc.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def load_config(path: Path | str, model_cls: type[M], overrides: Sequence[str] = ()) -> M:
    """Read a YAML file, follow its `include`, apply overrides and validate.

    `include:` names one file or a list, relative to the file that says it. Later files win over earlier ones,
    the including file over all of them, overrides over everything. Mappings are merged key by key; lists and
    scalars are replaced. Where a key chooses an implementation by `name` and the winner names another one,
    the whole block is replaced, because the options of the loser mean nothing to it.

    Args:
        path: The YAML file.
        model_cls: The model that describes it.
        overrides: `a.b=c` each, the right side in YAML.

    Raises:
        ConfigError: Naming file (or override), key path, what was expected and the nearest valid key.
    """
    path = Path(path)
    source = _read_with_includes(path, model_cls, ())
    source = _merge(source, _parse_overrides(overrides, source.values), model_cls)
    try:
        return model_cls.model_validate(source.values)
    except ValidationError as error:
        raise ConfigError(explain(error, source, model_cls, display(path))) from None


def to_yaml(model: BaseModel) -> str:
    """Return a model as YAML that `load_config` reads back to an equal one."""
    return yaml.dump(_plain(model.model_dump()), Dumper=_Dumper, sort_keys=False, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes mappings line by line, and lists of scalars on one line."""


def _write_list(dumper: _Dumper, values: list[Any]) -> yaml.SequenceNode:
    short = not any(isinstance(value, dict | list) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=short)


_Dumper.add_representer(list, _write_list)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return getattr(value, "value", value)  # an Enum stands for its value


def _read_with_includes(path: Path, model_cls: type[BaseModel], parents: tuple[Path, ...]) -> Source:
    path = path.resolve()
    if path in parents:
        chain = " -> ".join(display(p) for p in (*parents[parents.index(path) :], path))
        raise ConfigError(f"{display(path)}: include: files include each other in a circle: {chain}")
    own = read_yaml(path)
    includes = own.values.pop("include", [])
    includes = [includes] if isinstance(includes, str) else includes
    if not isinstance(includes, list) or not all(isinstance(item, str) for item in includes):
        raise ConfigError(f"{display(path)}: include: expected a path or a list of paths, got {includes!r}")
    merged = Source()
    for item in includes:
        target = path.parent / item
        if not target.is_file():
            raise ConfigError(
                f"{display(path)}: include: expected a YAML file relative to this one, got {item!r}, "
                f"and there is no {display(target)}"
            )
        merged = _merge(merged, _read_with_includes(target, model_cls, (*parents, path)), model_cls)
    return _merge(merged, own, model_cls)


def _parse_overrides(overrides: Sequence[str], base: dict[str, Any]) -> Source:
    source = Source()
    for text in overrides:
        flag = f"--set {text}"
        key, separator, value = text.partition("=")
        parts = key.strip().split(".")
        if not separator or not all(parts):
            raise ConfigError(f"{flag}: expected key.path=value, for example training.steps=100")
        node, existing = source.values, cast(Any, base)
        path: KeyPath = ()
        for part in parts[:-1]:
            path = (*path, part)
            existing = existing.get(part) if isinstance(existing, dict) else None
            if isinstance(existing, list):
                raise ConfigError(f"{flag}: {dotted(path)} is a list; give it whole: {dotted(path)}=[...]")
            source.origins[path] = flag
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{flag}: {dotted(path)} was set to a value by an earlier --set")
        node[parts[-1]] = parse_scalar(value, flag)
        _mark(node[parts[-1]], tuple(parts), flag, source.origins)
    return source


def _mark(value: Any, path: KeyPath, origin: str, origins: dict[KeyPath, str]) -> None:
    origins[path] = origin
    if isinstance(value, dict):
        for key, item in value.items():
            _mark(item, (*path, key), origin, origins)


def _merge(base: Source, winner: Source, model_cls: type[BaseModel]) -> Source:
    origins = dict(base.origins)

    def merge(low: Any, high: Any, path: KeyPath) -> Any:
        if not (isinstance(low, dict) and isinstance(high, dict)) or _switches(low, high, path, model_cls):
            for stale in [p for p in origins if p[: len(path)] == path and len(p) > len(path)]:
                del origins[stale]
            return high
        merged = dict(low)
        for key, value in high.items():
            merged[key] = merge(low[key], value, (*path, key)) if key in low else value
        return merged

    values = merge(base.values, winner.values, ())
    return Source(values, {**origins, **winner.origins})


def _switches(low: dict[str, Any], high: dict[str, Any], path: KeyPath, model_cls: type[BaseModel]) -> bool:
    if "name" not in low or "name" not in high or low["name"] == high["name"]:
        return False
    return models_at(model_cls, path, low) != models_at(model_cls, path, high)
