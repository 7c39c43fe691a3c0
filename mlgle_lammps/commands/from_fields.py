"""Options of a command line, derived from the fields of the records that hold them."""

from __future__ import annotations

import argparse
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import Option, declared, flag
from mlgle_lammps.plain import JsonMapping

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line with exit code 2; -1e-3 is a number to it, as to LAMMPS."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as always, after a look at what no file name can hold."""
        if any("\0" in word for word in args or ()):
            self.error("a word of the command line holds a NUL character")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> typing.NoReturn:
        """Raise UserError."""
        raise UserError(f"{message} (see {self.prog} --help)")


def add_options(
    parser: argparse.ArgumentParser, kind: type[DataclassInstance], changes: Mapping[str, JsonMapping] | None = None
) -> None:
    """Add an argument for every declared field of a record, under the field's name.

    Args:
        parser: to add them to.
        kind: dataclass whose fields are declared by ``options.declaring.option``.
        changes: by field, what ``add_argument`` is to be given otherwise than the field says.
    """
    hints = typing.get_type_hints(kind)
    groups: dict[str, argparse.ArgumentParser | argparse._ArgumentGroup] = {"": parser}
    for entry, told in declared(kind):
        if told.section not in groups:
            groups[told.section] = parser.add_argument_group(told.section)
        how = _argument(hints[entry.name], entry.default, told) | dict((changes or {}).get(entry.name, {}))
        groups[told.section].add_argument(entry.name if told.positional else flag(entry.name), **how)


def _argument(hint: object, default: object, told: Option) -> dict[str, Any]:
    """Return what ``add_argument`` needs for a field of this type."""
    kind = hint
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(hint) if part is not type(None))
    default = None if default is MISSING else default
    if kind is bool:
        return {"action": "store_true", "help": told.meaning}
    how: dict[str, Any] = {"help": _help(told, default)}
    if typing.get_origin(kind) is tuple:
        kind, how["nargs"] = typing.get_args(kind)[0], "+"
    how["type"] = kind
    if told.metavar is not None:
        how["metavar"] = told.metavar
    if told.choices:
        how["choices"] = told.choices
    return how if told.positional else how | {"default": default}


def _help(told: Option, default: object) -> str:
    if told.shown:
        return f"{told.meaning} (default: {told.shown})"
    return told.meaning if default in (None, ()) else f"{told.meaning} (default {default})"


def record(kind: type[Record], values: argparse.Namespace, **others: Any) -> Record:
    """Return the record of parsed values; ``others`` take the place of what was parsed."""
    names = [entry.name for entry in fields(kind)]
    given = {name: getattr(values, name) for name in names if name in values and name not in others}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}, **others)
