"""Melts written as LAMMPS data files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.random_walks import Array
from mlgle_lammps.records import Int64


@dataclass(frozen=True)
class Molecule:
    """One molecule of a data file.

    Attributes:
        beads: (bead, 3) unwrapped positions.
        bonds: (bond, 2) numbers of its beads.
        angles: (angle, 3) numbers of its beads.
    """

    beads: Array
    bonds: Int64
    angles: Int64


def data_text(chains: Array, box: float, mass: float, angles: bool, title: str) -> str:
    """Return the text of a LAMMPS data file of linear chains (atom_style angle, or bond where ``angles`` is false).

    Args:
        chains: unwrapped positions, (chains, beads, 3); wrapped into the box here, with image flags.
        box: edge of the periodic cube.
        mass: of a bead.
        angles: write an angle for every three consecutive beads.
        title: first line.
    """
    first = np.arange(chains.shape[1])[:, None]
    bonds, triples = first[:-1] + np.arange(2), first[: -2 if angles else 0] + np.arange(3)
    return molecules_text([Molecule(beads, bonds, triples) for beads in chains], box, mass, title)


def molecules_text(molecules: Sequence[Molecule], box: float, mass: float, title: str) -> str:
    """Return the text of a LAMMPS data file (atom_style angle, or bond where there is no angle).

    Args:
        molecules: in their order; positions are wrapped into the box here, with image flags.
        box: edge of the periodic cube.
        mass: of a bead.
        title: first line.
    """
    positions = np.concatenate([molecule.beads for molecule in molecules])
    sizes = [len(molecule.beads) for molecule in molecules]
    first = 1 + np.cumsum([0, *sizes[:-1]])
    number = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    image = np.floor(positions / box).astype(np.int64)
    wrapped = positions - image * box
    sections = {
        name: np.concatenate([start + getattr(own, name) for start, own in zip(first, molecules, strict=True)])
        for name in ("bonds", "angles")
    }
    if not len(sections["angles"]):
        del sections["angles"]
    lines = [title, "", f"{len(positions)} atoms", "1 atom types"]
    for name, rows in sections.items():
        lines += [f"{len(rows)} {name}", f"1 {name[:-1]} types"]
    lines += ["", *(f"0.0 {box:.10g} {axis}lo {axis}hi" for axis in "xyz"), "", "Masses", "", f"1 {mass:g}", ""]
    lines += [f"Atoms # {'angle' if 'angles' in sections else 'bond'}", ""]
    for atom, (r, i) in enumerate(zip(wrapped, image, strict=True)):
        lines.append(f"{atom + 1} {number[atom]} 1 {r[0]:.6f} {r[1]:.6f} {r[2]:.6f} {i[0]} {i[1]} {i[2]}")
    for name, rows in sections.items():
        lines += ["", name.capitalize(), ""]
        lines += [f"{n} 1 " + " ".join(map(str, row)) for n, row in enumerate(rows.tolist(), 1)]
    return "\n".join(lines) + "\n"
