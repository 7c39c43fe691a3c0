"""The whole molecules that chains are the backbones of, and their centres of mass.

D is of a molecule's centre of mass, Σ m x / Σ m over all of its atoms. Where a chain is the whole molecule and its
beads are equally heavy that is mode 0; elsewhere it is a sum of its own beside the modes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from mlgle_lammps.records import Float64, Int64

MASS_TOLERANCE = 1e-6
"""Relative difference above which masses are not equal."""
TIED = "chains are bonded to one another through atoms outside the backbones: centres are those of the backbones' beads"


@dataclass(frozen=True)
class SideAtoms:
    """Atoms of the chains' molecules beside the chains' own beads.

    Attributes:
        ids: (side atom,) atom ids, each after the atom that it is bonded to.
        chain: (side atom,) number of its chain.
        parent: (side atom,) the atom that it is bonded to on the way to the backbone: bead · chains + chain, or
            beads · chains + number of a side atom.
        level: (side atom,) bonds between it and the backbone.
        tied: some chains are bonded to one another through such atoms; then none is listed.
    """

    ids: Int64
    chain: Int64
    parent: Int64
    level: Int64
    tied: bool = False


@dataclass(frozen=True)
class Centres:
    """How centres of mass are summed where they are not the means of the chains' beads.

    Attributes:
        side: atoms that count beside the chains' beads.
        weights: (chain, slot) mass over the molecule's mass; a slot is bead · chains + chain, or beads · chains + the
            number of a side atom.
        notes: what is weighted, one line each.
    """

    side: SideAtoms
    weights: csr_matrix
    notes: tuple[str, ...]


def side_atoms(chains: Int64, bonds: Int64) -> SideAtoms:
    """Return the atoms that bonds tie to the chains.

    Args:
        chains: (chain, bead) atom ids.
        bonds: (bond, 2) atom ids, of the whole system.
    """
    n_chains, n_beads = chains.shape
    ids = np.unique(np.concatenate([chains.ravel(), bonds.ravel()]))
    ends = np.searchsorted(ids, bonds)
    pairs = np.concatenate([ends, ends[:, ::-1]])
    graph = csr_matrix((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(ids),) * 2)
    owner, place = np.full(len(ids), -1), np.full(len(ids), -1)
    frontier = np.searchsorted(ids, chains.T.ravel())
    owner[frontier], place[frontier] = np.tile(np.arange(n_chains), n_beads), np.arange(chains.size)
    found: list[tuple[Int64, Int64, Int64]] = []
    counted, level = chains.size, 0
    while len(frontier):
        rows, neighbours = graph[frontier].nonzero()
        new = owner[neighbours] < 0
        atoms, first = np.unique(neighbours[new], return_index=True)
        parents = frontier[rows[new][first]]
        owner[atoms], place[atoms] = owner[parents], counted + np.arange(len(atoms))
        level += 1
        found.append((ids[atoms], place[parents], np.full(len(atoms), level)))
        counted, frontier = counted + len(atoms), atoms
    if np.any(owner[ends[:, 0]] != owner[ends[:, 1]]):
        none = np.empty(0, dtype=np.int64)
        return SideAtoms(none, none, none, none, tied=True)
    atoms, parents, levels = (np.concatenate(column) for column in zip(*found, strict=True))
    return SideAtoms(atoms, owner[np.searchsorted(ids, atoms)], parents, levels)


def centres_of_mass(chains: Int64, bonds: Int64, masses_of: Callable[[Int64], Float64 | None]) -> Centres | None:
    """Return how centres of mass are summed; None where the mean of each chain's beads is it.

    Args:
        chains: (chain, bead) atom ids.
        bonds: (bond, 2) atom ids, of the whole system.
        masses_of: atom ids to their masses; None where masses are not known, and all count alike.
    """
    side = side_atoms(chains, bonds)
    atoms = np.concatenate([chains.T.ravel(), side.ids])
    known = masses_of(atoms)
    masses = np.ones(len(atoms)) if known is None else known
    notes = [TIED] if side.tied else []
    if n_side := len(side.ids):
        notes.append(
            f"centres are those of whole molecules: {n_side} atoms beside the backbones' {chains.size} beads count"
        )
    lightest, heaviest = float(masses.min()), float(masses.max())
    if heaviest - lightest > MASS_TOLERANCE * heaviest:
        notes.append(f"masses in the molecules differ ({lightest:g} to {heaviest:g}): centres are weighted by mass")
    elif not notes:
        return None
    owner = np.concatenate([np.tile(np.arange(len(chains)), chains.shape[1]), side.chain])
    total = np.bincount(owner, weights=masses, minlength=len(chains))
    weights = coo_matrix((masses / total[owner], (owner, np.arange(len(atoms)))), shape=(len(chains), len(atoms)))
    return Centres(side, weights.tocsr(), tuple(notes))
