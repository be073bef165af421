"""Say what is wrong with a configuration: file, key path, what was expected, the nearest valid key."""

import difflib
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from gsocc.config.source import KeyPath, Source

_SHOWN = 10


def explain(error: ValidationError, source: Source, model_cls: type[BaseModel], file: str) -> str:
    """Return one line per mistake, each naming where the wrong key stands."""
    lines: list[str] = []
    for item in error.errors(include_url=False):
        path = _data_path(item["loc"], source.values, item["type"])
        if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            path = (*path, str(item["ctx"]["discriminator"]).strip("'"))
        line = f"{source.origin(path) or file}: {dotted(path)}: {_reason(item, path, source, model_cls)}"
        if line not in lines:
            lines.append(line)
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more"]
    return "\n".join(lines)


def models_at(model_cls: type[BaseModel], path: KeyPath, values: Any = None) -> list[type[BaseModel]]:
    """Return the models that may stand at a key path.

    Args:
        model_cls: The root.
        path: Keys below the root.
        values: What stands there; a `name` in it drops the models that do not allow that name.
    """
    models = [model_cls]
    for key in path:
        if isinstance(key, int):
            continue  # an item of a list: `_models_in` has looked through the list already
        annotations = [m.model_fields[key].annotation for m in models if key in m.model_fields]
        models = [found for annotation in annotations for found in _models_in(annotation)]
    if isinstance(values, dict) and "name" in values:
        named = [m for m in models if values["name"] in _literals(m)]
        models = named or models
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for argument in typing.get_args(annotation) for found in _models_in(argument)]


def _literals(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("name")
    return typing.get_args(field.annotation) if field is not None else ()


def _data_path(location: Sequence[str | int], values: Any, kind: str) -> KeyPath:
    """Drop from pydantic's location what is not in the data: the tags of unions."""
    path: list[str | int] = []
    for i, part in enumerate(location):
        inside = isinstance(values, dict) and part in values
        inside |= isinstance(values, list) and isinstance(part, int) and part < len(values)
        if inside:
            values = values[part]
            path.append(part)
        elif kind == "missing" and i == len(location) - 1:
            path.append(part)
    return tuple(path)


def _reason(item: Any, path: KeyPath, source: Source, model_cls: type[BaseModel]) -> str:
    kind, context, got = item["type"], item.get("ctx", {}), item["input"]
    if kind == "extra_forbidden":
        models = models_at(model_cls, path[:-1], _value(source.values, path[:-1]))
        keys = list(dict.fromkeys(key for model in models for key in model.model_fields))
        return f"unknown key, expected one of {', '.join(keys)}{_nearest(path[-1], keys)}"
    if kind == "missing":
        return "expected a value, but the key is missing"
    if kind == "union_tag_not_found":
        return "expected the name of an implementation, but the key is missing"
    if kind == "union_tag_invalid":
        return _choice(context["expected_tags"], context["tag"])
    if kind in ("literal_error", "enum"):
        return _choice(context["expected"].replace(" or ", ", "), got)
    if kind in ("value_error", "assertion_error"):
        return f"{context['error']}"
    message = item["msg"]
    for prefix in ("Input should be ", "Input should "):
        if message.startswith(prefix):
            message = message.removeprefix(prefix)
            break
    message = message.split(", unable to parse")[0].split(", got a number with")[0]
    return f"expected {message}, got {got!r}"


def _choice(expected: str, got: Any) -> str:
    options = [option.strip().strip("'") for option in expected.split(",")]
    return f"expected one of {', '.join(options)}, got {got!r}{_nearest(got, options)}"


def _nearest(word: Any, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word), options, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _value(values: Any, path: KeyPath) -> Any:
    for part in path:
        values = values[part]
    return values


def dotted(path: KeyPath) -> str:
    """Return a key path as the user writes it."""
    return ".".join(str(part) for part in path) or "(top level)"
