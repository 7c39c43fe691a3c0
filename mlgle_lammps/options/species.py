"""Which molecules are meant: what `run` and `replay` share of it."""

from __future__ import annotations

from mlgle_lammps.errors import UserError

SPECIES = (
    "main species, whose D is at the top of result.json and which is generated, by its name there, such as 'linear 10'"
)
EVERY = "all"
"""In place of a species' name: each of them in turn, where a recorded stream can be read as often."""
LENGTH_BIN = (
    "linear chains whose lengths are that near share one species, such as 0.1 in a polydisperse melt; 0: none do"
)


def require_bin(width: float) -> None:
    """Raise UserError where a relative width of lengths is none."""
    if not 0 <= width < 1:
        raise UserError(f"`length_bin` is {width:g}; give a relative width from 0 (none) to below 1, such as 0.1")
