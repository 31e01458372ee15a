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
    """An instance of a dataclass from a JSON object. Drops unknown fields, as ``protocol`` does of all lines.

    Raises ProtocolError if a field is missing or has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ProtocolError(f"{where} must be an object, not {values!r:.80}")
    kinds = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    missing = [name for name, f in fields.items() if _is_needed(f) and name not in values]
    if missing:
        raise ProtocolError(f"{where} lacks {', '.join(missing)}")
    return kind(**{name: _value(kinds[name], values[name], f"{where}.{name}") for name in fields if name in values})


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(kind: Any, value: Any, where: str) -> Any:
    """A JSON value as a field of this type. Raises ProtocolError."""
    inner, origin = typing.get_args(kind), typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        for one in inner:
            try:
                return _value(one, value, where)
            except ProtocolError:
                continue
    elif origin is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    elif origin is list and isinstance(value, list):
        return [_value(inner[0], one, f"{where}[{i}]") for i, one in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {name: _value(inner[1], one, f"{where}.{name}") for name, one in value.items()}
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, dict):
            return built(kind, value, where)
    elif kind is Any or (origin is None and _is(kind, value)):
        return value
    elif kind is float and _is(int, value):  # JSON writes 1.0 as 1 in some languages
        return float(value)
    raise ProtocolError(f"{where:.80} must be {getattr(kind, '__name__', kind)}, not {value!r:.80}")


def _is(kind: Any, value: Any) -> bool:
    """Whether a plain value has a type. True and false do not count as numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
