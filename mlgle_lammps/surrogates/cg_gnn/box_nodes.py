"""What moves in a box of several species: groups of the chains and ions as they are, and what is known of each node.

Nodes stand in the order of the frames: the groups of the first chain, of the second .., then each other species under
its own name, molecule by molecule. A node is described by its letters: the shares of bead types in a group, or one for
an ion's species. What two nodes do to one another hangs on the symmetric products of their letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHAINS, Float64, Frames, Int64, System
from mlgle_lammps.statistics.pieces import longest_piece
from mlgle_lammps.surrogates.cg_gnn import NAME
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import frames_per_step
from mlgle_lammps.surrogates.cg_gnn.molecules import Molecule

MOST_LETTERS = 12
HOPS = 2
"""Bonds between two groups up to which they have forces of their own."""


@dataclass(frozen=True)
class Letters:
    """What nodes are described by.

    Attributes:
        beads: types of the chains' beads, sorted.
        ions: names of the other species, sorted.
    """

    beads: tuple[str, ...]
    ions: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.beads) + len(self.ions)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What has noise of its own: chains' groups, and each other species."""
        return (CHAINS, *self.ions)

    @property
    def pairs(self) -> tuple[Int64, Int64]:
        """The products of letters, (product,) of each factor."""
        one, other = np.triu_indices(self.count)
        return one, other

    @property
    def bonded_pairs(self) -> tuple[Int64, Int64]:
        """The products that bonded groups can have."""
        one, other = np.triu_indices(len(self.beads))
        return one, other

    @property
    def n_features(self) -> int:
        """Products of all pairs, and of bonded ones for each number of bonds between."""
        return len(self.pairs[0]) + HOPS * len(self.bonded_pairs[0])


@dataclass(frozen=True)
class Box:
    """The nodes of one box.

    Attributes:
        molecule: one chain.
        n_chains: how many.
        ions: name and number of each other species, in the order of the frames.
        edges: (3,) of the periodic box.
    """

    molecule: Molecule
    n_chains: int
    ions: tuple[tuple[str, int], ...]
    edges: Float64

    @classmethod
    def of(cls, system: System, beads_per_group: int, method: str) -> Box:
        """Return the nodes of a system.

        Raises:
            UserError: no rectangular periodic box, other species of several atoms, chains that cannot be grouped so,
                or several boxes at once.
        """
        if system.box is None or any(system.box[3:]):
            raise UserError(f"{NAME} of several species needs a rectangular box that is periodic in all directions")
        if system.boxes != 1:
            raise UserError(f"{NAME} starts from frames of one box, and these are of {system.boxes}")
        for own in system.others:
            if own.n_beads != 1:
                raise UserError(
                    f"species {own.name} has molecules of {own.n_beads or 'unknown'} beads: beside its chains {NAME} "
                    "moves single atoms alone"
                )
        molecule = Molecule.of(system, beads_per_group, method)
        ions = tuple((own.name, own.n_molecules) for own in system.others)
        return cls(molecule, system.n_chains, ions, np.array(system.box[:3], dtype=np.float64))

    @property
    def n_groups(self) -> int:
        """Nodes of the chains."""
        return self.n_chains * self.molecule.n_groups

    @property
    def n_nodes(self) -> int:
        """N."""
        return self.n_groups + sum(count for _, count in self.ions)

    def places(self) -> dict[str, slice]:
        """Return where the nodes of each other species stand."""
        found, first = {}, self.n_groups
        for name, count in self.ions:
            found[name] = slice(first, first + count)
            first += count
        return found

    def require_known(self, letters: Letters) -> None:
        """Raise UserError naming species or bead types that are not among the letters."""
        if unknown := sorted({name for name, _ in self.ions} - set(letters.ions)):
            raise UserError(
                f"species {', '.join(unknown)[:200]} were in none of the runs that the model was trained on; it knows "
                f"{', '.join(letters.ions)[:200]}: train again with runs that have them"
            )
        self.molecule.require_known(letters.beads)

    def shares(self, letters: Letters) -> Float64:
        """Return the letters of each node, (node, letter); rows add up to one."""
        sizes, groups = self.molecule.grouping.sizes, self.molecule.grouping.groups
        chain = np.zeros((self.molecule.n_groups, letters.count))
        for group, kind in zip(groups, self.molecule.types, strict=True):
            chain[group, letters.beads.index(kind)] += 1.0 / sizes[group]
        rows = [np.tile(chain, (self.n_chains, 1))]
        for name, count in self.ions:
            own = np.zeros((count, letters.count))
            own[:, len(letters.beads) + letters.ions.index(name)] = 1.0
            rows.append(own)
        return np.concatenate(rows)

    def kinds(self, letters: Letters) -> Int64:
        """Return the place of each node among ``letters.kinds``, (node,)."""
        own = [np.zeros(self.n_groups, dtype=np.int64)]
        own += [np.full(count, 1 + letters.ions.index(name)) for name, count in self.ions]
        return np.concatenate(own)

    def bonded(self) -> tuple[Int64, Int64]:
        """Return pairs of groups of one chain with at most ``HOPS`` bonds between, (pair, 2), and how many, (pair,)."""
        hops = self.molecule.grouping.hops()
        one, other = np.nonzero(np.triu((hops > 0) & (hops <= HOPS)))
        first = self.molecule.n_groups * np.arange(self.n_chains)[:, None, None]
        pairs = (first + np.stack([one, other], -1)).reshape(-1, 2)
        return pairs, np.tile(hops[one, other], self.n_chains)

    def masses(self) -> Float64:
        """Return the beads in each node, (node,)."""
        sizes = np.tile(self.molecule.grouping.sizes, self.n_chains).astype(np.float64)
        return np.concatenate([sizes, np.ones(self.n_nodes - self.n_groups)])


def letters_of(boxes: Sequence[Box]) -> Letters:
    """Return the letters of all boxes; raise UserError where there are too many for products of them."""
    beads = tuple(sorted({kind for box in boxes for kind in box.molecule.types}))
    ions = tuple(sorted({name for box in boxes for name, _ in box.ions}))
    if len(beads) + len(ions) > MOST_LETTERS:
        raise UserError(
            f"{len(beads)} bead types and {len(ions)} other species: forces of pairs are fitted up to {MOST_LETTERS}"
        )
    return Letters(beads, ions)


@dataclass(frozen=True)
class BoxRun:
    """One recorded run on the level of nodes.

    Attributes:
        box: its nodes.
        positions: (time, node, 3) float64, not wrapped; a chain's groups stand as they are bonded.
        inner: mean Rg² of beads about their group's centre, weighted by beads.
        segments: (time,) numbers of uninterrupted pieces.
        dt: time between frames.
        name: for people.
    """

    box: Box
    positions: Float64
    inner: float
    segments: Int64
    dt: float
    name: str = ""

    @classmethod
    def of(cls, system: System, frames: Frames, beads_per_group: int, method: str, name: str = "") -> BoxRun:
        """Return the run coarse-grained; raise UserError for frames without beads or ions, or that do not fit."""
        box = Box.of(system, beads_per_group, method)
        return cls(box, *node_positions(box, frames), frames.segments, system.dt, name)

    @property
    def longest(self) -> int:
        """Frames of the longest uninterrupted piece."""
        return longest_piece(self.segments)

    def lag(self, dt: float) -> int:
        """Return the frames of one model step; raise UserError where it is no multiple of the recorded one."""
        return frames_per_step(dt, self.dt, f"`step` {dt:g}", f"the time between frames of run {self.name}")


def node_positions(box: Box, frames: Frames) -> tuple[Float64, float]:
    """Return places of nodes (time, node, 3) and the mean inner Rg² of groups.

    Raises:
        UserError: a channel missing, other numbers of molecules, or numbers that are not finite.
    """
    chains = frames.channels.get(CHAINS, {})
    wanted = {CHAINS: ("com", "beads")} | {name: ("com",) for name, _ in box.ions}
    for species, names in wanted.items():
        if missing := [own for own in names if own not in frames.channels.get(species, {})]:
            raise UserError(f"{NAME} needs the channels {', '.join(missing)} of {species}, and the frames lack them")
    beads = np.asarray(chains["beads"], dtype=np.float64)
    if beads.shape[1:] != (box.n_chains, len(box.molecule.types), 3):
        raise UserError(
            f"frames have beads of shape {beads.shape[1:]}, and {box.n_chains} chains of "
            f"{len(box.molecule.types)} beads are needed"
        )
    grouping = box.molecule.grouping
    groups = grouping.centres(beads)
    inner = float(np.square(beads - groups[:, :, list(grouping.groups)]).sum(-1).mean())
    whole = chains["com"][:, :, None] + groups
    parts = [whole.reshape(len(beads), -1, 3)]
    for name, count in box.ions:
        own = np.asarray(frames.channels[name]["com"], dtype=np.float64)
        if own.shape[1:] != (count, 3):
            raise UserError(f"frames have {own.shape[1]} molecules of {name}, and {count} are needed")
        parts.append(own)
    found = np.concatenate(parts, axis=1)
    if not np.isfinite(found).all():
        raise UserError("frames have places that are not finite")
    return found, inner
