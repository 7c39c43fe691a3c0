"""Reading a JSON object that may come from anyone."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import JsonMapping, JsonObject, JsonValue

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def read_object(path: Path, most_bytes: int, purpose: str, schema: int | None = None) -> JsonObject:
    """Return the JSON object in a file.

    Args:
        path: the file.
        most_bytes: larger ones are refused unread.
        purpose: what it should do, such as "describe a stream"; for the message.
        schema: that its entry of this name must be; None where it has none.

    Raises:
        UserError: it is missing, too large, damaged, no object, or of another schema.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise UserError(f"{path} is too large to {purpose}")
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} does not {purpose}")
    if schema is not None and values.get("schema") != schema:
        raise UserError(f"{path}: schema {values.get('schema')!r} is not known here ({schema} is)")
    return values


def record_from(kind: type[Record], values: JsonMapping, path: Path) -> Record:
    """Return the record whose fields a JSON object holds; what else is in it is left alone.

    A field's type decides what may stand there: int, float (a finite number), str, bool, a tuple of these or of further
    records, or None beside one of them. Numbers are not negative. A field without an entry has its default.

    Written here and not left to a library, since a complaint has to name the file and the field in words that people
    understand, and since every further dependency is one more on the clusters where this runs.

    Args:
        kind: a dataclass.
        values: the object.
        path: the file, for messages.

    Raises:
        UserError: a field is missing, or its value cannot be one.
    """
    hints = typing.get_type_hints(kind)
    kept = {}
    for entry in fields(kind):
        if entry.name not in values and entry.default is not MISSING:
            continue
        kept[entry.name] = _value(hints[entry.name], values.get(entry.name), entry.name, path)
    return kind(**kept)


def _value(kind: Any, value: JsonValue, name: str, path: Path) -> Any:
    """Return a value as its field wants it; raise UserError where it cannot be."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (own,) = (part for part in inner if part is not type(None))
        return None if value is None else _value(own, value, name, path)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise UserError(f"{path}: {name} is {_short(value)} where a list belongs")
        return tuple(_value(inner[0], entry, name, path) for entry in value)
    if kind not in _WORDS:
        if not isinstance(value, dict):
            raise UserError(f"{path}: {name} holds {_short(value)} where an object belongs")
        return record_from(kind, value, path)
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    fits = number and (kind is float or isinstance(value, int)) if kind in (int, float) else type(value) is kind
    if not fits:
        raise UserError(f"{path}: {name} is {_short(value)} where {_WORDS[kind]} belongs")
    return float(value) if kind is float else value


def _short(value: object) -> str:
    return one_line(repr(value))[:60]
