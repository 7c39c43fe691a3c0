"""Molecules to be built: linear chains, stars, rings, and blends of chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.random_walks import Array, ChainModel, grow_chains, grow_rings, grow_stars
from mlgle_lammps.records import Int64


@dataclass(frozen=True)
class Blueprint:
    """Molecules of one kind.

    Attributes:
        words: what they are, such as "4 chains x 10 beads".
        n_molecules: how many.
        edges: (bond, 2) numbers of beads.
        n_beads: of each.
        grow: makes their positions, (molecule, bead, 3).
    """

    words: str
    n_molecules: int
    n_beads: int
    edges: Int64
    grow: Callable[[ChainModel, np.random.Generator], Array]

    @property
    def angles(self) -> Int64:
        """(angle, 3) beads in line: all that have two bonds, with their neighbours."""
        degree = np.bincount(self.edges.ravel(), minlength=self.n_beads)
        found = []
        for bead in np.flatnonzero(degree == 2).tolist():
            one, other = sorted(set(self.edges[(self.edges == bead).any(axis=1)].ravel().tolist()) - {bead})
            found.append((one, bead, other))
        return np.array(found, dtype=np.int64).reshape(-1, 3)


def linear(n_chains: int, n_beads: int) -> Blueprint:
    """Return chains."""
    return Blueprint(
        f"{n_chains} chains x {n_beads} beads", n_chains, n_beads, _line(n_beads),
        lambda model, rng: grow_chains(model, n_chains, n_beads, rng),
    )  # fmt: skip


def star(n_stars: int, n_arms: int, arm_beads: int) -> Blueprint:
    """Return stars of a core and ``n_arms`` arms: bead 0 is the core, arms follow one another from the core out."""
    bead = np.arange(1, n_arms * arm_beads + 1)
    before = np.where((bead - 1) % arm_beads == 0, 0, bead - 1)
    return Blueprint(
        f"{n_stars} stars of {n_arms} arms x {arm_beads} beads and a core", n_stars, len(bead) + 1,
        np.stack([before, bead], axis=1), lambda model, rng: grow_stars(model, n_stars, n_arms, arm_beads, rng),
    )  # fmt: skip


def ring(n_rings: int, n_beads: int) -> Blueprint:
    """Return rings."""
    return Blueprint(
        f"{n_rings} rings x {n_beads} beads", n_rings, n_beads, np.concatenate([_line(n_beads), [[0, n_beads - 1]]]),
        lambda model, rng: grow_rings(model, n_rings, n_beads, rng),
    )  # fmt: skip


def _line(n_beads: int) -> Int64:
    return np.stack([np.arange(n_beads - 1), np.arange(1, n_beads)], axis=1)
