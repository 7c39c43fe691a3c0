"""How a field of an options record is declared: its default, meaning and limits once, for library and command line.

A field ``save_every: int = option(1, "keep every n-th step", metavar="STEPS", least=1)`` is what `LearnOptions` takes,
what `require_limits` checks, and what `commands.from_fields` makes ``--save-every STEPS`` of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mlgle_lammps.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LARGEST = 2**62
_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What a field means to whoever sets it.

    Attributes:
        meaning: a few words.
        metavar: placeholder of its value in a usage line.
        choices: values that it may have; empty for any.
        least: smallest number that makes sense; None for any, and nothing is checked.
        most: largest number that is taken.
        shown: the default in words, where its value does not tell.
        positional: named by its place on a command line, without a flag.
        section: headline of the group of options that it stands in; empty for none.
    """

    meaning: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int = LARGEST
    shown: str = ""
    positional: bool = False
    section: str = ""


def option(default: Any = MISSING, meaning: str = "", **details: Any) -> Any:
    """Return a dataclass field with a default (none: the field is required) and what ``Option`` holds."""
    return field(default=default, metadata={_KEY: Option(meaning, **details)})


def declared(kind: DataclassInstance | type[DataclassInstance]) -> Iterator[tuple[Field[Any], Option]]:
    """Yield the fields of a record that are declared as options, in their order."""
    for entry in fields(kind):
        if _KEY in entry.metadata:
            yield entry, entry.metadata[_KEY]


def flag(name: str) -> str:
    """Return a field's name as a command line has it."""
    return "--" + name.replace("_", "-")


def as_flags(text: str) -> str:
    """Return a message as a command line has it: fields stand in it in backticks, and come out as flags."""
    return re.sub(r"`([a-z_]+)`", lambda found: flag(found[1]), text)


def require_limits(options: DataclassInstance) -> None:
    """Raise UserError naming the first option whose number or choice is not among those that make sense."""
    for entry, told in declared(options):
        value = getattr(options, entry.name)
        if value is None:
            continue
        if told.least is not None and value < told.least:
            raise UserError(f"`{entry.name}` is {value}; the least that makes sense is {told.least}")
        if told.least is not None and value > told.most:
            raise UserError(f"`{entry.name}` is {value}; the most that is taken is {told.most}")
        if told.choices and value not in (*told.choices, entry.default):
            raise UserError(f"`{entry.name}` is {value!r}; choose from {', '.join(told.choices)}")
