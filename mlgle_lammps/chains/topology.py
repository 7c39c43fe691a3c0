"""Find linear chains in a bond graph, ordered along their backbones; refuse what is not linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mlgle_lammps.chains.main_species import choose_main, kinds_of, what_is_left_out
from mlgle_lammps.chains.molecules import Centres
from mlgle_lammps.chains.spectrum import ends_alike
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Int64

NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Chains:
    """The chains whose modes are streamed.

    Attributes:
        ids: (chain, bead) atom ids; each chain from its lower end id, chains by that id.
        notes: what is worth knowing, one line each.
        left_out: what was chosen and what was left out, one line; empty where all molecules are alike.
        centres: how their molecules' centres of mass are summed; None where those are the means of their beads.
        ends_alike: turning a chain end for end gives the same chain, by the types along it.
    """

    ids: Int64
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    centres: Centres | None = None
    ends_alike: bool = True


def find_chains(
    bonds: Int64,
    *,
    molecule_of: Callable[[int], int] | None = None,
    strict: bool = False,
    option: str = "--chain-group",
    types_of: Callable[[Int64], Sequence[str]] | None = None,
) -> Chains:
    """Return the linear chains of the main species (`main_species.choose_main`).

    Neither the order of ids nor molecule ids are trusted: chains are the connected components of the bonds.

    Args:
        bonds: (bond, 2) atom ids.
        molecule_of: atom id -> molecule id, only to name molecules in messages.
        strict: refuse molecules that are not alike instead of leaving some out.
        option: that names the backbone's atoms, for messages.
        types_of: (atom,) ids -> types, by which molecules of one length are told apart; None where they are not known.

    Raises:
        UserError: no bonds, rings, branched molecules, or molecules that differ where strict.
    """
    bonds = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
    if len(bonds) == 0:
        raise UserError("the system has no bonds, so there are no chains: give bonds in the data file or in the deck")
    graph = _Graph(np.unique(np.sort(bonds, axis=1), axis=0))
    graph.refuse_non_linear(molecule_of, option)
    lengths = np.unique(graph.sizes).tolist()
    walked = [graph.walk(np.flatnonzero(graph.sizes == length), length) for length in lengths]
    rows = sorted((row for chains in walked for row in chains), key=lambda row: int(row[0]))
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    sequences = None if types_of is None else _sequences(rows, types_of)
    kinds = kinds_of(sizes, sequences)
    main = choose_main(kinds)
    left_out = what_is_left_out(main, kinds, strict)
    alike = ends_alike([] if sequences is None else [sequences[i] for i in main.members])
    return Chains(np.stack([rows[i] for i in main.members]), left_out=left_out, ends_alike=alike)


def _sequences(rows: Sequence[Int64], types_of: Callable[[Int64], Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the types along each molecule."""
    types = tuple(types_of(np.concatenate(rows)))
    ends = np.cumsum([len(row) for row in rows]).tolist()
    return [types[end - len(row) : end] for row, end in zip(rows, ends, strict=True)]


def keep_group(bonds: Int64, members: Int64, group: str, option: str = "--chain-group") -> Int64:
    """Return the bonds whose atoms are both in a group.

    Args:
        bonds: (bond, 2) atom ids.
        members: (member,) atom ids of the group.
        group: its name, for the message.
        option: that named it, for the message.

    Raises:
        UserError: no bond is left.
    """
    kept = bonds[np.isin(bonds, members).all(axis=1)]
    if len(kept) == 0:
        raise UserError(f"no bond joins two atoms of group '{group}' ({len(members)} atoms): check {option}")
    return kept


def limit_modes(wanted: int, n_beads: int) -> tuple[int, tuple[str, ...]]:
    """Return k for chains of N beads, at most N-1, with a note where it was lowered."""
    if wanted <= n_beads - 1:
        return wanted, ()
    return n_beads - 1, (f"--modes lowered from {wanted} to {n_beads - 1}: chains of {n_beads} beads have no more",)


class _Graph:
    """A bond graph with its components."""

    def __init__(self, bonds: Int64) -> None:
        self.ids, ends = np.unique(bonds, return_inverse=True)
        self._ends = ends.reshape(-1, 2)
        n_atoms = len(self.ids)
        weights = np.ones(len(bonds), dtype=np.int8)
        adjacency = coo_matrix((weights, (self._ends[:, 0], self._ends[:, 1])), shape=(n_atoms, n_atoms))
        self.n_components, self._component = connected_components(adjacency, directed=False)
        self._degree = np.bincount(self._ends.ravel(), minlength=n_atoms)
        self.sizes = np.bincount(self._component, minlength=self.n_components)

    def refuse_non_linear(self, molecule_of: Callable[[int], int] | None, option: str) -> None:
        """Raise UserError that names rings and branched molecules, if there are any."""
        most = np.zeros(self.n_components, dtype=np.int64)
        np.maximum.at(most, self._component, self._degree)
        n_bonds = np.bincount(self._component[self._ends[:, 0]], minlength=self.n_components)
        branched = most > 2
        ring = ~branched & (n_bonds >= self.sizes)
        complaints = [
            self._name(kind, np.flatnonzero(found), molecule_of)
            for kind, found in (("a ring", ring), ("branched", branched))
            if found.any()
        ]
        if complaints:
            raise UserError(
                "; ".join(complaints) + ": only linear chains have these modes; "
                f"if the chains' backbone is linear, name its atoms with {option}"
            )

    def _name(self, kind: str, found: Int64, molecule_of: Callable[[int], int] | None) -> str:
        names = []
        for component in found[:NAMED_AT_MOST]:
            lowest = int(self.ids[self._component == component].min())
            molecule = f"molecule {molecule_of(lowest)}, " if molecule_of else ""
            names.append(f"{molecule}with atom {lowest} and {self.sizes[component]} beads")
        more = f" and {len(found) - NAMED_AT_MOST} more" if len(found) > NAMED_AT_MOST else ""
        count = "1 molecule is" if len(found) == 1 else f"{len(found)} molecules are"
        return f"{count} {kind} ({'; '.join(names)}{more})"

    def walk(self, components: Int64, length: int) -> Int64:
        """Return (chain, bead) atom ids of linear components of one length, ordered along each chain."""
        neighbours = self._neighbours()
        ends = np.flatnonzero((self._degree == 1) & np.isin(self._component, components))
        # ids are sorted, so the first end met in a component is the one with the lower id
        _, first = np.unique(self._component[ends], return_index=True)
        current = np.sort(ends[first])
        previous = np.full(len(current), -1)
        order = np.empty((len(current), length), dtype=np.int64)
        for bead in range(length):
            order[:, bead] = current
            one, other = neighbours[current, 0], neighbours[current, 1]
            previous, current = current, np.where(one != previous, one, other)
        return self.ids[order]

    def _neighbours(self) -> Int64:
        """Return (atom, 2) indices of the bonded atoms, -1 where there is only one."""
        pairs = np.concatenate([self._ends, self._ends[:, ::-1]])
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
        table = np.full((len(self.ids), 2), -1, dtype=np.int64)
        table[pairs[:, 0], rank] = pairs[:, 1]
        return table
