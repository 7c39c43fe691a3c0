"""How devices are named: ``auto``, ``cpu``, ``cuda``, one by its number, or several that share the work."""

from __future__ import annotations

import re

from mlgle_lammps.errors import UserError

DEVICE = "where networks {}: auto, cpu, cuda, cuda:1, or several that share the modes: cuda:0,cuda:1"
_ONE = re.compile(r"(cpu|cuda)(:\d{1,4})?")


def device_names(text: str) -> tuple[str, ...]:
    """Return the names of one device or several, the first of which leads; whether they are there is another matter.

    Raises:
        UserError: not such a name, one named twice, or several of different kinds or without numbers.
    """
    names = tuple(text.split(","))
    if text == "auto":
        return names
    if not all(_ONE.fullmatch(name) for name in names):
        raise UserError(f"`device` is {text!r}; choose from auto, cpu, cuda, or name some by number: cuda:0,cuda:1")
    if len(names) > 1 and not all(":" in name for name in names):
        raise UserError(f"`device` {text}: several devices are named by their numbers, such as cuda:0,cuda:1")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise UserError(f"`device` {text}: devices that share the work are of one kind")
    if len({_number(name) for name in names}) < len(names):
        raise UserError(f"`device` {text}: one is named twice")
    return names


def _number(name: str) -> int:
    return int(name.partition(":")[2] or 0)
