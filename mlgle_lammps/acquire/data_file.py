"""A look at a LAMMPS data file before LAMMPS reads it."""

from __future__ import annotations

import re
from pathlib import Path

from mlgle_lammps.errors import UserError

HUGE = re.compile(rb"[\d.][eE]\+?(?!0\d\b)\d{2,}")
"""A number of 10^10 and beyond, as files have it that something went wrong in, or a part of a word."""
WORD = re.compile(rb"\S+")
NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)[eE]\+?\d+")
BLOCK, OVERLAP = 2**22, 64


def refuse_huge_numbers(path: Path, where: str) -> None:
    """Raise UserError where a data file holds a number of 10^10 or more.

    LAMMPS brings atoms into the box one box length at a time: with a coordinate of 1e300 it never comes to an end.

    Args:
        path: the data file; one that cannot be read is left to LAMMPS, and so is a compressed one.
        where: the deck's line that names it, for the message.
    """
    try:
        if not path.is_file():
            return
        with open(path, "rb") as file:
            tail, line = b"", 1
            while block := file.read(BLOCK):
                text = tail + block
                if (start := _huge_number(text)) is not None:
                    line += text.count(b"\n", 0, start)
                    row = text[text.rfind(b"\n", 0, start) + 1 :].split(b"\n")[0]
                    shown = row.decode(errors="replace").strip()[:80]
                    raise UserError(f"{where}: {path}:{line} holds a number beyond 10^10 ('{shown}'): mend that file")
                tail = text[-OVERLAP:]
                line += text.count(b"\n", 0, len(text) - len(tail))
    except OSError:
        return


def _huge_number(text: bytes) -> int | None:
    """Return where the first number of 10^10 or more is in a text; None where there is none."""
    for found in HUGE.finditer(text):
        word = WORD.match(text, max(text.rfind(end, 0, found.start()) for end in (b" ", b"\n", b"\t")) + 1)
        if word and NUMBER.fullmatch(word[0]):
            return found.start()
    return None
