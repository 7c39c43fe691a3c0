"""The least and the most that options may be."""

from __future__ import annotations

from mlgle_lammps.errors import UserError

LARGEST, MOST_THREADS = 2**62, 1024


def require_at_least(options: object, at_least: dict[str, int]) -> None:
    """Raise UserError naming the first option that is below the least that makes sense."""
    for name, least in at_least.items():
        if getattr(options, name) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; the least that makes sense is {least}"
            )
        most = MOST_THREADS if name == "threads" else LARGEST
        if getattr(options, name) > most:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; the most that is taken is {most}")


def require_bin(width: float) -> None:
    """Raise UserError where a relative width of lengths is none."""
    if not 0 <= width < 1:
        raise UserError(f"--length-bin is {width:g}; give a relative width from 0 (none) to 1, such as 0.1")
