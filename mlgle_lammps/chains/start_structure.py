"""Where the molecules of a start structure are placed: whole, at random, where the melt is thinnest so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgle_lammps.chains.random_walks import Array

BOLTZMANN = {"real": 0.0019872067, "lj": 1.0}  # energy per kelvin (kcal/mol) or per unit temperature
PLACEMENT_TRIALS = 20


def box_length(n_total: int, density: float, mass: float, units: str) -> float:
    """Return the edge of the cubic box: angstrom from g/cm³ (real), or from a number density (lj)."""
    number_density = density * 0.602214076 / mass if units == "real" else density
    return float((n_total / number_density) ** (1.0 / 3.0))


def place_molecules(molecules: Sequence[Array], box: float, rng: np.random.Generator) -> list[Array]:
    """Return the molecules shifted as wholes, each to the best of a few random places.

    The best place is that where its beads meet fewest beads already there, counted in cells of about two beads:
    this evens out the density, which a push-off otherwise pays for by stretching chains (Auhl et al. 2003).

    Args:
        molecules: of each its beads, (bead, 3).
        box: edge of the periodic cube.
        rng: random numbers.
    """
    n_cells = max(1, int((sum(map(len, molecules)) / 2.0) ** (1.0 / 3.0)))
    occupied = np.zeros((n_cells,) * 3, dtype=np.int64)
    placed = []
    for beads in molecules:
        trials = beads - beads.mean(axis=0) + rng.uniform(0.0, box, size=(PLACEMENT_TRIALS, 1, 3))
        cells = np.floor((trials % box) * (n_cells / box)).astype(np.int64) % n_cells
        x, y, z = np.moveaxis(cells, -1, 0)
        best = int(np.argmin(occupied[x, y, z].sum(axis=1)))
        np.add.at(occupied, (x[best], y[best], z[best]), 1)
        placed.append(trials[best])
    return placed
