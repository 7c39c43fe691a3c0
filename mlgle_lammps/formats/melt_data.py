"""Melts of linear chains written as LAMMPS data files."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.chains.random_walks import Array


def data_text(chains: Array, box: float, mass: float, angles: bool, title: str) -> str:
    """Return the text of a LAMMPS data file (atom_style angle, or bond where ``angles`` is false).

    Args:
        chains: unwrapped positions, (chains, beads, 3); wrapped into the box here, with image flags.
        box: edge of the periodic cube.
        mass: of a bead.
        angles: write an angle for every three consecutive beads.
        title: first line.
    """
    n_chains, n_beads, _ = chains.shape
    image = np.floor(chains / box).astype(np.int64)
    wrapped = chains - image * box
    first = np.arange(n_chains)[:, None] * n_beads + 1
    sections = {"bonds": (first + np.arange(n_beads - 1)).ravel()}
    if angles and n_beads > 2:
        sections["angles"] = (first + np.arange(n_beads - 2)).ravel()
    lines = [title, "", f"{n_chains * n_beads} atoms", "1 atom types"]
    for name, starts in sections.items():
        lines += [f"{len(starts)} {name}", f"1 {name[:-1]} types"]
    lines += ["", *(f"0.0 {box:.10g} {axis}lo {axis}hi" for axis in "xyz"), "", "Masses", "", f"1 {mass:g}", ""]
    lines += [f"Atoms # {'angle' if 'angles' in sections else 'bond'}", ""]
    for atom, (r, i) in enumerate(zip(wrapped.reshape(-1, 3), image.reshape(-1, 3), strict=True)):
        lines.append(f"{atom + 1} {atom // n_beads + 1} 1 {r[0]:.6f} {r[1]:.6f} {r[2]:.6f} {i[0]} {i[1]} {i[2]}")
    for name, starts in sections.items():
        width = 2 if name == "bonds" else 3
        lines += ["", name.capitalize(), ""]
        lines += [f"{n} 1 " + " ".join(str(s + j) for j in range(width)) for n, s in enumerate(starts, 1)]
    return "\n".join(lines) + "\n"
