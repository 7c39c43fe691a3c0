"""The bonds of a whole system as a graph: its molecules, which of them are alike, and one order of beads for all alike.

Beads are told apart by colours that know nothing of atom ids: at first their types, then again and again their own
colour with those of their neighbours (Weisfeiler and Lehman), for all molecules at once. Where beads of one molecule
keep the same colour, symmetry exchanges them (in trees always, in molecules with rings nearly always); giving one of
them a colour of its own and refining again ends in colours that are all different, and they are the canonical order.
Molecules with equal colours and equal bonds between them are isomorphic. Where rings make two choices that are not
alike, networkx decides (`isomorphic_order`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from mlgle_lammps.records import Int64

Colours = NDArray[np.uint64]
_MULTIPLIERS = np.array([0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0x9E3779B97F4A7C15], dtype=np.uint64)
_SHIFT = np.uint64(33)


def _mixed(values: Colours) -> Colours:
    """Return numbers that a good hash makes of others (the finaliser of MurmurHash3)."""
    values = values + _MULTIPLIERS[2]
    for multiplier in _MULTIPLIERS[:2]:
        values = (values ^ (values >> _SHIFT)) * multiplier
    return values ^ (values >> _SHIFT)


@dataclass(frozen=True)
class BondGraph:
    """Atoms and bonds.

    Attributes:
        ids: (atom,) ascending ids of all bonded atoms.
        ends: (bond, 2) places in ``ids``, each bond once.
        molecule: (atom,) number of the component.
        sizes: (molecule,) atoms.
        degree: (atom,) bonds.
        n_bonds: (molecule,).
    """

    ids: Int64
    ends: Int64
    molecule: Int64
    sizes: Int64
    degree: Int64
    n_bonds: Int64

    @classmethod
    def of(cls, bonds: Int64) -> BondGraph:
        """Return the graph of (bond, 2) atom ids; a bond that is there twice counts once, one to itself not."""
        pairs = np.unique(np.sort(np.asarray(bonds, dtype=np.int64).reshape(-1, 2), axis=1), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        ids, ends = np.unique(pairs, return_inverse=True)
        ends = ends.reshape(-1, 2)
        n = len(ids)
        joined = coo_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(n, n))
        n_molecules, molecule = connected_components(joined, directed=False)
        molecule = molecule.astype(np.int64)
        return cls(
            ids, ends, molecule, np.bincount(molecule, minlength=n_molecules), np.bincount(ends.ravel(), minlength=n),
            np.bincount(molecule[ends[:, 0]], minlength=n_molecules),
        )  # fmt: skip

    @property
    def most_bonds(self) -> Int64:
        """(molecule,) bonds of the bead that has most."""
        most = np.zeros(len(self.sizes), dtype=np.int64)
        np.maximum.at(most, self.molecule, self.degree)
        return most

    @property
    def linear(self) -> NDArray[np.bool_]:
        """(molecule,) whether it is a linear chain."""
        return (self.most_bonds <= 2) & (self.n_bonds < self.sizes)

    def only(self, molecules: Int64) -> BondGraph:
        """Return the graph of some molecules alone."""
        kept = np.isin(self.molecule[self.ends[:, 0]], molecules)
        return BondGraph.of(self.ids[self.ends[kept]])

    def neighbours(self) -> csr_matrix:
        """Return the adjacency matrix."""
        one, other = self.ends.T
        pairs = (np.concatenate([one, other]), np.concatenate([other, one]))
        return csr_matrix((np.ones(2 * len(self.ends), dtype=np.uint64), pairs), shape=(len(self.ids),) * 2)


def _refined(colours: Colours, adjacency: csr_matrix) -> Colours:
    """Return colours refined until no more beads are told apart."""
    n_colours = len(np.unique(colours))
    while True:
        finer = _mixed(_mixed(colours) * _MULTIPLIERS[2] + adjacency @ _mixed(colours ^ _MULTIPLIERS[0]))
        if (n := len(np.unique(finer))) == n_colours:
            return finer
        colours, n_colours = finer, n


def first_colours(graph: BondGraph, types: Int64) -> Colours:
    """Return (atom,) colours: equal for beads that symmetry exchanges, in one molecule or between two that are alike.

    Args:
        graph: of all molecules.
        types: (atom,) numbers of types.
    """
    sizes = graph.sizes[graph.molecule].astype(np.uint64)
    return _refined(_mixed(types.astype(np.uint64) * _MULTIPLIERS[1] + sizes), graph.neighbours())


def orbits(n_beads: int, edges: tuple[tuple[int, int], ...], types: Int64) -> Int64:
    """Return (bead,) numbers that are equal for beads of one molecule that an automorphism exchanges.

    Exact for trees; a molecule of rings may have beads of equal numbers that no automorphism exchanges.

    Args:
        n_beads: N.
        edges: of the molecule; empty for a linear chain.
        types: (bead,) numbers of types.
    """
    pairs = edges or tuple((n, n + 1) for n in range(n_beads - 1))
    graph = BondGraph.of(np.array(pairs, dtype=np.int64).reshape(-1, 2))
    colours = first_colours(graph, np.asarray(types)[graph.ids]) if len(graph.ids) else np.zeros(1, dtype=np.uint64)
    return np.unique(colours, return_inverse=True)[1].astype(np.int64)


def molecule_hashes(graph: BondGraph, colours: Colours) -> Colours:
    """Return (molecule,) one number of each molecule's colours, whatever their order."""
    total = np.zeros(len(graph.sizes), dtype=np.uint64)
    np.add.at(total, graph.molecule, _mixed(colours))
    return _mixed(total + graph.n_bonds.astype(np.uint64))


def canonical_order(graph: BondGraph, colours: Colours) -> Int64:
    """Return (atom,) places sorted by molecule, then by colours that are all different within it.

    Args:
        graph: of all molecules.
        colours: from `first_colours`.
    """
    adjacency = graph.neighbours()
    colours = _leaves_apart(graph, colours)
    while True:
        order = np.lexsort((colours, graph.molecule))
        molecule, sorted_colours = graph.molecule[order], colours[order]
        again = np.flatnonzero((molecule[1:] == molecule[:-1]) & (sorted_colours[1:] == sorted_colours[:-1]))
        if not len(again):
            return order
        _, first = np.unique(molecule[again], return_index=True)  # of each molecule the lowest colour that is shared
        alone = order[again[first]]
        colours = colours.copy()
        colours[alone] = _mixed(colours[alone] ^ _MULTIPLIERS[1])
        colours = _refined(colours, adjacency)


def _leaves_apart(graph: BondGraph, colours: Colours) -> Colours:
    """Return colours in which ends of one colour at one bead differ: they can be exchanged, whatever else is done."""
    one, other = np.concatenate([graph.ends, graph.ends[:, ::-1]]).T
    leaf = graph.degree[one] == 1
    one, other = one[leaf], other[leaf]
    order = np.lexsort((one, colours[one], other))
    one, other = one[order], other[order]
    new = np.ones(len(one), dtype=bool)
    new[1:] = (other[1:] != other[:-1]) | (colours[one][1:] != colours[one][:-1])
    start = np.flatnonzero(new)
    rank = np.arange(len(one)) - np.repeat(start, np.diff(np.append(start, len(one))))
    result = colours.copy()
    result[one] = np.where(rank > 0, _mixed(colours[one] + rank.astype(np.uint64) * _MULTIPLIERS[1]), colours[one])
    return _refined(result, graph.neighbours())


def walked(n_beads: int, edges: Int64, ranks: Int64) -> Int64:
    """Return beads in the order of a walk that people can follow: from a branch point, arm by arm (depth first).

    It starts at the bead with most bonds, of a chain at an end, and takes neighbours by their canonical rank.

    Args:
        n_beads: N.
        edges: (bond, 2).
        ranks: (bead,) canonical ranks, all different.
    """
    near: list[list[int]] = [[] for _ in range(n_beads)]
    for one, other in edges.tolist():
        near[one].append(other)
        near[other].append(one)
    degree = np.array([len(own) for own in near])
    wanted = degree.max() if degree.max() > 2 else degree.min()
    start = min(np.flatnonzero(degree == wanted).tolist(), key=lambda bead: ranks[bead])
    order, seen, waiting = [], {start}, [start]
    while waiting:
        bead = waiting.pop()
        if bead in seen and bead != start:
            continue
        seen.add(bead)
        order.append(bead)
        waiting += sorted((n for n in near[bead] if n not in seen), key=lambda n: -ranks[n])
    return np.array(order, dtype=np.int64)


def isomorphic_order(edges: Int64, types: Int64, onto_edges: Int64, onto_types: Int64) -> Int64 | None:
    """Return the bead of one molecule for each bead of another that it is mapped onto; None where none maps.

    Args:
        edges: (bond, 2) of the molecule.
        types: (bead,) of it.
        onto_edges: (bond, 2) of the other.
        onto_types: (bead,) of it.
    """
    import networkx  # of no use to most systems
    from networkx.algorithms.isomorphism import GraphMatcher, categorical_node_match

    graphs = []
    for own_edges, own_types in ((onto_edges, onto_types), (edges, types)):
        graph = networkx.Graph()
        graph.add_nodes_from((n, {"type": kind}) for n, kind in enumerate(own_types.tolist()))
        graph.add_edges_from(own_edges.tolist())
        graphs.append(graph)
    matcher = GraphMatcher(*graphs, node_match=categorical_node_match("type", None))
    if not matcher.is_isomorphic():
        return None
    return np.array([matcher.mapping[n] for n in range(len(onto_types))], dtype=np.int64)
