"""Fixes by what they do to a run's production, and those that LAMMPS has at a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlgle_lammps.errors import UserError

ACCELERATED = re.compile(r"/(omp|opt|gpu|kk|intel)$")
BOX_CHANGING = re.compile(r"^(npt|nph|deform|box/relax|press/|msst|nphug|qbmsst|append/atoms)")
BOND_CHANGING = re.compile(r"^bond/(break|swap|react|create(/angle)?)$")
LISTED = re.compile(r"^Fix\[[\s\d]+\]:\s+(\S+),\s+style = (\S+),", re.MULTILINE)
MOLECULES = re.compile(r"^Molecule type\s*=\s*(\S+)", re.MULTILINE)


def plain(style: str) -> str:
    """Return a style without the suffix of an accelerated version."""
    return ACCELERATED.sub("", style)


def changes_bonds(style: str) -> bool:
    """Return whether a fix of that style makes, breaks or swaps bonds."""
    return bool(BOND_CHANGING.match(plain(style)))


@dataclass(frozen=True)
class Setup:
    """What LAMMPS says of itself.

    Attributes:
        molecules: how atoms know their bonds: "atomic", "molecular" or "template".
        fixes: id -> style of those there are.
    """

    molecules: str
    fixes: dict[str, str]


def read_setup(lmp: Any, comm: Any) -> Setup:
    """Return what LAMMPS says of itself by ``info``; collective over the MD ranks.

    Raises:
        UserError: its answer cannot be written.
    """
    text = ""
    with TemporaryDirectory(prefix="mlgle-") as folder:
        path = comm.bcast(str(Path(folder) / "info"), root=0)
        lmp.command(f'info system fixes out overwrite "{path}"')
        if comm.rank == 0:
            try:
                text = Path(path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                text = ""
        text = comm.bcast(text, root=0)
    if not text:
        raise UserError(f"LAMMPS could not write to {path}: set TMPDIR to a folder that it can write to")
    found = MOLECULES.search(text)
    return Setup(found[1] if found else "", dict(LISTED.findall(text)))
