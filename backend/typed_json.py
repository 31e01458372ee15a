"""Lines of JSON as dataclasses, checked field by field. Standard library only; ``protocol`` builds on it."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any


class ProtocolError(ValueError):
    """A line is not a message of this protocol. The text says why."""


def recognised(line: str, kinds: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class of the message that a line holds, and its fields as JSON has them. Raises ProtocolError."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {line[:80]!r}") from error
    name = values.pop("type", None) if isinstance(values, dict) else None
    if not isinstance(name, str) or name not in kinds:
        raise ProtocolError(f"not a message of this protocol: {line[:80]!r}")
    return kinds[name], values


def tuples(value: Any) -> Any:
    """A JSON value with a list as a tuple, and the lists in it, too. Nothing deeper is a list in a message."""
    if not isinstance(value, list):
        return value
    return tuple(tuple(one) if isinstance(one, list) else one for one in value)


def built(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """An instance of a dataclass from a JSON object. Drops unknown fields, as ``protocol`` does of all lines."""
    kinds = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    missing = [name for name, f in fields.items() if f.default is dataclasses.MISSING and name not in values]
    if missing:
        raise ProtocolError(f"{where} lacks {', '.join(missing)}")
    return kind(**{name: _value(kinds[name], values[name], f"{where}.{name}") for name in fields if name in values})


def _value(kind: Any, value: Any, where: str) -> Any:
    """A JSON value as a field of this type. Raises ProtocolError."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        length = len(value) if isinstance(value, list) else -1
        kinds = inner[:1] * length if inner[-1] is Ellipsis else inner
        if len(kinds) == length:
            return tuple(_value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    elif isinstance(kind, types.UnionType):
        if any(_is(one, value) for one in inner):
            return value
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, dict):
            return built(kind, value, where)
    elif _is(kind, value):
        return value
    raise ProtocolError(f"{where} must be {getattr(kind, '__name__', kind)}, not {value!r:.80}")


def _is(kind: Any, value: Any) -> bool:
    """Whether a plain value has a type. True and false do not count as numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
