"""All molecules of a system by kinds: those of one kind are isomorphic, with their beads in one order.

Linear chains are walked from their lower end id, as ever; where their two ends differ by types, from the end whose
types come first. All others get the order of `bond_graph`, which does not hang on atom ids. Atoms without bonds are
molecules of one bead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlgle_lammps.chains.bond_graph import (
    BondGraph,
    canonical_order,
    first_colours,
    isomorphic_order,
    molecule_hashes,
    walked,
)
from mlgle_lammps.chains.laplacian import Edges
from mlgle_lammps.chains.main_species import Kind, apart, kinds_of
from mlgle_lammps.records import Int64

TypesOf = Callable[[Int64], Sequence[str]]


@dataclass(frozen=True)
class Alike:
    """Molecules that are alike bead by bead.

    Attributes:
        ids: (molecule, bead) atom ids.
        edges: bonds between beads; empty for linear chains in their order, and for single atoms.
        types: (bead,) names of types; empty where they are not known, or differ from molecule to molecule.
    """

    ids: Int64
    edges: Edges = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class MoleculeKind:
    """A kind of molecules: all alike, or linear chains of nearly one length.

    Attributes:
        kind: what it is.
        blocks: its molecules, those of one length each.
    """

    kind: Kind
    blocks: tuple[Alike, ...]

    @property
    def n_molecules(self) -> int:
        """How many there are."""
        return sum(len(block.ids) for block in self.blocks)


def kinds_of_molecules(bonds: Int64, types_of: TypesOf | None = None, lone: Int64 | None = None) -> list[MoleculeKind]:
    """Return the kinds of molecules; linear ones first, then others, then atoms without bonds.

    Args:
        bonds: (bond, 2) atom ids.
        types_of: (atom,) ids -> names of types; None where they are not known, and all atoms are alike.
        lone: (atom,) ids without bonds that are molecules by themselves.
    """
    graph = BondGraph.of(bonds)
    linear = _linear_kinds(graph, types_of)
    first = int(np.count_nonzero(graph.linear))
    others = _other_kinds(graph.only(np.flatnonzero(~graph.linear)), types_of, first)
    return [*linear, *others, *_lone_kinds(np.empty(0, dtype=np.int64) if lone is None else lone, types_of)]


def _linear_kinds(graph: BondGraph, types_of: TypesOf | None) -> list[MoleculeKind]:
    rows = linear_chains(graph)
    if not rows:
        return []
    sequences = None if types_of is None else _sequences(rows, types_of)
    kinds = kinds_of(np.array([len(row) for row in rows], dtype=np.int64), sequences)
    found = []
    for kind in kinds:
        along = None if sequences is None else {_forth(sequences[i]) for i in kind.members.tolist()}
        types = next(iter(along)) if along is not None and len(along) == 1 else ()
        own = [rows[i] for i in kind.members.tolist()]
        if types and types != types[::-1] and sequences is not None:
            turned = [sequences[i] != types for i in kind.members.tolist()]
            own = [row[::-1] if turn else row for row, turn in zip(own, turned, strict=True)]
        found.append(MoleculeKind(kind, (Alike(np.stack(own), (), types),)))
    return found


def _forth(sequence: tuple[str, ...]) -> tuple[str, ...]:
    return min(sequence, sequence[::-1])


def linear_chains(graph: BondGraph) -> list[Int64]:
    """Return the ids along each linear chain, from its lower end id, chains by that id."""
    linear = graph.linear
    lengths = np.unique(graph.sizes[linear]).tolist()
    walks = [_walk(graph, np.flatnonzero(linear & (graph.sizes == length)), length) for length in lengths]
    return sorted((row for chains in walks for row in chains), key=lambda row: int(row[0]))


def _walk(graph: BondGraph, molecules: Int64, length: int) -> Int64:
    """Return (chain, bead) atom ids of linear molecules of one length, ordered along each chain."""
    neighbours = _pairs_of_neighbours(graph)
    ends = np.flatnonzero((graph.degree == 1) & np.isin(graph.molecule, molecules))
    # ids are sorted, so the first end met in a molecule is the one with the lower id
    _, first = np.unique(graph.molecule[ends], return_index=True)
    current = np.sort(ends[first])
    previous = np.full(len(current), -1)
    order = np.empty((len(current), length), dtype=np.int64)
    for bead in range(length):
        order[:, bead] = current
        one, other = neighbours[current, 0], neighbours[current, 1]
        previous, current = current, np.where(one != previous, one, other)
    return graph.ids[order]


def _pairs_of_neighbours(graph: BondGraph) -> Int64:
    """Return (atom, 2) places of two bonded atoms, -1 where there is only one."""
    pairs = np.concatenate([graph.ends, graph.ends[:, ::-1]])
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
    table = np.full((len(graph.ids), 2), -1, dtype=np.int64)
    table[pairs[rank < 2, 0], rank[rank < 2]] = pairs[rank < 2, 1]
    return table


def _sequences(rows: Sequence[Int64], types_of: TypesOf) -> list[tuple[str, ...]]:
    """Return the types along each molecule."""
    types = tuple(types_of(np.concatenate(rows)))
    ends = np.cumsum([len(row) for row in rows]).tolist()
    return [types[end - len(row) : end] for row, end in zip(rows, ends, strict=True)]


def _lone_kinds(lone: Int64, types_of: TypesOf | None) -> list[MoleculeKind]:
    lone = np.sort(lone)
    names = np.array([""] * len(lone) if types_of is None else list(types_of(lone)), dtype=object)
    found = []
    for name in sorted(set(names.tolist())):
        members = np.flatnonzero(names == name)
        types = (name,) if name else ()
        found.append(MoleculeKind(Kind(1, types, members), (Alike(lone[members][:, None], (), types),)))
    return found


# ------------------------------------------------------------------ all that is not linear


def _other_kinds(graph: BondGraph, types_of: TypesOf | None, first: int) -> list[MoleculeKind]:
    """Return the kinds of molecules that are not linear; ``first`` counts molecules before them."""
    if not len(graph.ids):
        return []
    names = [""] * len(graph.ids) if types_of is None else list(types_of(graph.ids))
    known = {name: number for number, name in enumerate(sorted(set(names)))}
    types = np.array([known[name] for name in names], dtype=np.int64)
    found = []
    for members, own_types in _classes(graph, types):
        part = graph.only(members)
        there = np.searchsorted(graph.ids, part.ids)
        for alike, rows in _aligned(part, own_types[there]):
            of_rows = [tuple(names[i] for i in np.searchsorted(graph.ids, row)) for row in rows]
            of_all = () if types_of is None else tuple(sorted({name for row in of_rows for name in row}))
            bead_types = of_rows[0] if types_of is not None and len(set(of_rows)) == 1 else ()
            shape = shape_of(rows.shape[1], alike)
            numbers = first + graph.molecule[np.searchsorted(graph.ids, rows.min(axis=1))]
            kind = Kind(rows.shape[1], of_all, np.sort(numbers), shape=shape)
            found.append(MoleculeKind(kind, (Alike(rows, alike, bead_types),)))
    return found


def _classes(graph: BondGraph, types: Int64) -> list[tuple[Int64, Int64]]:
    """Return (molecules, types that count) of what may be alike: by all types, or by none where types are random."""
    typed = molecule_hashes(graph, first_colours(graph, types))
    plain = molecule_hashes(graph, first_colours(graph, np.zeros_like(types)))
    grouped: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    of_molecule: list[set[int]] = [set() for _ in graph.sizes]
    for molecule, kind in set(zip(graph.molecule.tolist(), types.tolist(), strict=True)):
        of_molecule[molecule].add(kind)
    for molecule, value in enumerate(plain.tolist()):
        grouped.setdefault((value, tuple(sorted(of_molecule[molecule]))), []).append(molecule)
    found = []
    for members in (np.array(own, dtype=np.int64) for own in grouped.values()):
        values, counts = np.unique(typed[members], return_counts=True)
        if len(values) == 1 or apart(counts.tolist()):
            found += [(members[typed[members] == value], types) for value in values]
        else:
            found.append((members, np.zeros_like(types)))
    return found


def _aligned(graph: BondGraph, types: Int64) -> list[tuple[Edges, Int64]]:
    """Return the edges and (molecule, bead) ids of molecules that are alike; several where rings tell them apart.

    Args:
        graph: of molecules whose colours are alike.
        types: (atom,) numbers of types that count.
    """
    n_beads = int(graph.sizes[0])
    rows = canonical_order(graph, first_colours(graph, types)).reshape(-1, n_beads)
    pending = list(range(len(rows)))
    found = []
    while pending:
        reference = rows[pending[0]]
        order = _own_order(graph, reference, types)
        edges, kinds = _bonds_in(graph, reference[order][None])[0], types[reference[order]]
        bonds = _bonds_in(graph, rows[pending][:, order])
        matching, rest = [], []
        for i, own in zip(pending, bonds, strict=True):
            row = rows[i][order]
            if np.array_equal(own, edges) and np.array_equal(types[row], kinds):
                matching.append(row)
                continue
            mapping = isomorphic_order(own, types[row], edges, kinds)
            if mapping is None:
                rest.append(i)
            else:
                matching.append(row[mapping])
        ids = graph.ids[np.stack(matching)]
        found.append((tuple((int(a), int(b)) for a, b in edges), ids[np.argsort(ids.min(axis=1))]))
        pending = rest
    return found


def _own_order(graph: BondGraph, reference: Int64, types: Int64) -> Int64:
    """Return the order of a molecule's walk as it is without all others, as places in ``reference``."""
    alone = BondGraph.of(graph.ids[graph.ends[graph.molecule[graph.ends[:, 0]] == graph.molecule[reference[0]]]])
    there = np.searchsorted(graph.ids, alone.ids)
    sorted_places = canonical_order(alone, first_colours(alone, types[there]))
    ranks = np.empty(len(sorted_places), dtype=np.int64)
    ranks[sorted_places] = np.arange(len(sorted_places))
    order = there[walked(len(ranks), alone.ends, ranks)]
    place = {atom: n for n, atom in enumerate(reference.tolist())}
    return np.array([place[atom] for atom in order.tolist()], dtype=np.int64)


def _bonds_in(graph: BondGraph, rows: Int64) -> list[Int64]:
    """Return the sorted bonds (bond, 2) between the beads of each molecule, as its row numbers them."""
    place = np.full(len(graph.ids), -1, dtype=np.int64)
    owner = np.full(len(graph.ids), -1, dtype=np.int64)
    place[rows] = np.arange(rows.shape[1])
    owner[rows] = np.arange(len(rows))[:, None]
    inside = owner[graph.ends[:, 0]] >= 0
    pairs, of = np.sort(place[graph.ends[inside]], axis=1), owner[graph.ends[inside, 0]]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], of))
    pairs, of = pairs[order], of[order]
    return np.split(pairs, np.searchsorted(of, np.arange(1, len(rows))))


def shape_of(n_beads: int, edges: Edges) -> str:
    """Return what a molecule is, for people: "ring 50", "star of 4 arms × 10", "branched 43", "cyclic 12"."""
    degree = np.bincount(np.array(edges).ravel(), minlength=n_beads)
    if len(edges) >= n_beads:
        return f"ring {n_beads}" if degree.max() == 2 else f"cyclic {n_beads}"
    n_arms, n_ends = int(degree.max()), int(np.count_nonzero(degree == 1))
    if np.count_nonzero(degree > 2) == 1 and n_arms == n_ends and (n_beads - 1) % n_arms == 0:
        arm = (n_beads - 1) // n_arms
        core = int(np.argmax(degree))
        at_core = [b if a == core else a for a, b in edges if core in (a, b)]
        if all(_arm_length(edges, core, bead) == arm for bead in at_core):
            return f"star of {n_arms} arms × {arm}"
    return f"branched {n_beads}"


def _arm_length(edges: Edges, core: int, bead: int) -> int:
    near: dict[int, list[int]] = {}
    for one, other in edges:
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    before, length = core, 1
    while further := [n for n in near[bead] if n != before]:
        before, bead, length = bead, further[0], length + 1
    return length


# ------------------------------------------------------------------ chains of nearly one length


def binned(kinds: Sequence[MoleculeKind], width: float) -> list[MoleculeKind]:
    """Return kinds in which linear chains of the same types share one where their lengths are near.

    From the longest down, a kind takes in all lengths of at least (1 - width) of its longest.

    Args:
        kinds: one length each.
        width: relative, 0 for none.
    """
    if not width > 0:
        return list(kinds)
    linear = [own for own in kinds if not own.blocks[0].edges and own.kind.n_beads > 1 and not own.kind.sequence]
    pooled: list[MoleculeKind] = []
    for types in sorted({own.kind.types for own in linear}):
        waiting = sorted((own for own in linear if own.kind.types == types), key=lambda own: -own.kind.n_beads)
        while waiting:
            least = (1.0 - width) * waiting[0].kind.n_beads
            near = [own for own in waiting if own.kind.n_beads >= least]
            waiting = waiting[len(near) :]
            pooled.append(near[0] if len(near) == 1 else _pooled(near))
    return [*pooled, *(own for own in kinds if not any(own is one for one in linear))]


def _pooled(near: Sequence[MoleculeKind]) -> MoleculeKind:
    members = np.sort(np.concatenate([own.kind.members for own in near]))
    kind = replace(near[0].kind, members=members, n_shortest=near[-1].kind.n_beads)
    return MoleculeKind(kind, tuple(block for own in near for block in own.blocks))
