"""Which molecules a stream is about: the main species, others beside it, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlgle_lammps.chains.bond_graph import BondGraph
from mlgle_lammps.chains.laplacian import (
    MOST_BEADS,
    laplacian_modes,
    whole_groups,
)
from mlgle_lammps.chains.main_species import Kind, choose_main, what_is_left_out
from mlgle_lammps.chains.molecule_kinds import MoleculeKind, TypesOf, binned, kinds_of_molecules
from mlgle_lammps.chains.molecule_sums import Block
from mlgle_lammps.chains.molecules import MASS_TOLERANCE, Centres, centres_of_mass
from mlgle_lammps.chains.names import names_of
from mlgle_lammps.chains.spectrum import ends_alike
from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import CHAINS, Float64, Int64, Species

LEAST_WITH_MODES = 5
"""Beads from which molecules beside the main species are streamed with modes; smaller ones hardly have any."""
MOST_SPECIES = 24
"""Species beside the main one that are streamed, those of most atoms."""
MOST_SMALL = 5000
"""Molecules of a species without modes that are streamed; more would only cost."""


@dataclass(frozen=True)
class Followed:
    """One species' molecules, as they are streamed.

    Attributes:
        species: what they are; the main one has its name for people too.
        blocks: its molecules, those that are alike bead by bead together.
    """

    species: Species
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Chains:
    """The molecules that a stream is about.

    Attributes:
        ids: (chain, bead) atom ids of the main species, of its longest molecules where lengths share it.
        notes: what is worth knowing, one line each.
        left_out: what was chosen and what was left out, one line; empty where all molecules are alike.
        centres: how their molecules' centres of mass are summed; None where those are the means of their beads.
        main: the main species' molecules, None before `followed`.
        others: those of further species.
        kinds: of all species in that order, before `followed`.
    """

    ids: Int64
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    centres: Centres | None = None
    main: Followed | None = None
    others: tuple[Followed, ...] = ()
    kinds: tuple[tuple[str, MoleculeKind], ...] = ()

    @property
    def ends_alike(self) -> bool:
        """Whether turning a linear chain of the main species end for end gives the same chain, by types."""
        assert self.main is not None
        return self.main.species.ends_alike

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, the main species' first."""
        assert self.main is not None
        return tuple(block for own in (self.main, *self.others) for block in own.blocks)

    def channels(self, sums: Sequence[Float64], velocities: Sequence[Float64] = ()) -> dict[str, dict[str, AnyArray]]:
        """Return the channels of one frame from the sums of each block; modes and beads are rounded here and now.

        Args:
            sums: z_0..z_k of each block, (molecule, k+1, 3), and its beads behind them where they are asked for.
            velocities: the same of the beads' velocities, where momenta of the main species are wanted.
        """
        assert self.main is not None
        found: dict[str, dict[str, AnyArray]] = {}
        first = 0
        for own in (self.main, *self.others):
            parts = sums[first : first + len(own.blocks)]
            first += len(own.blocks)
            total = parts[0] if len(parts) == 1 else np.concatenate(parts)
            end = 1 + own.species.n_modes
            filled: dict[str, AnyArray] = {
                "com": total[:, 0].copy(), "modes": total[:, 1:end].astype(np.float32),
            }  # fmt: skip
            if "beads" in own.species.channels:
                filled["beads"] = (total[:, end:] - total[:, :1]).astype(np.float32)
            if own is self.main and velocities:
                moving = np.concatenate([part[:, 0] for part in velocities[: len(own.blocks)]])
                filled["momenta"] = moving * np.array(own.species.masses)[:, np.newaxis]
            name = CHAINS if own is self.main else own.species.name
            found[name] = {channel: filled[channel][np.newaxis] for channel in own.species.channels}
        return found


def find_chains(
    bonds: Int64,
    *,
    molecule_of: Callable[[int], int] | None = None,
    strict: bool = False,
    option: str = "`chain_group`",
    types_of: TypesOf | None = None,
    rest: Int64 | None = None,
    lone: Int64 | None = None,
    pick: str | None = None,
    length_bin: float = 0.0,
    single: bool = False,
) -> Chains:
    """Return the main species' molecules (`main_species.choose_main`, unless picked) and those of other species.

    Neither the order of ids nor molecule ids are trusted: molecules are the connected components of the bonds.

    Args:
        bonds: (bond, 2) atom ids; those of the backbones where a group names them.
        molecule_of: atom id -> molecule id, only to name molecules in messages.
        strict: refuse molecules that are not alike.
        option: that names the backbone's atoms, for messages.
        types_of: (atom,) ids -> types, by which molecules of one shape are told apart; None where they are not known.
        rest: (bond, 2) bonds of molecules that have no backbone, where a group names backbones.
        lone: (atom,) ids of atoms without bonds.
        pick: name of the main species, None for the rule.
        length_bin: relative width of the lengths of linear chains that share a species.
        single: molecules of which there is one are followed too, since no D is asked for.

    Raises:
        UserError: no bonds, no such species, one molecule alone, or molecules that differ where strict.
    """
    bonds = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
    if len(bonds) == 0:
        raise UserError("the system has no bonds, so there are no chains: give bonds in the data file or in the deck")
    found = binned(kinds_of_molecules(bonds, types_of), length_bin)
    beside = [*_without_backbone(rest, types_of), *kinds_of_molecules(np.empty((0, 2), np.int64), types_of, lone)]
    names = names_of([own.kind for own in (*found, *beside)])
    named = list(zip(names, (*found, *beside), strict=True))
    kinds = [own.kind for own in found]
    chosen = _picked(pick, named) if pick is not None else found[_place(choose_main(kinds), kinds)]
    if chosen.n_molecules == 1 and not single:
        raise UserError(_one_molecule(chosen, len(found), molecule_of, option))
    main_name = next(name for name, own in named if own is chosen)
    listed = [(name, own) for name, own in named if own is not chosen]
    streamed, remarks = _streamed(listed, 1 if single else 2)
    bonded = [*kinds, *(own.kind for own in beside if own.kind.n_beads > 1)]
    left_out = what_is_left_out(chosen.kind, bonded, strict, [own.kind for _, own in streamed], pick)
    return Chains(chosen.blocks[0].ids, tuple(remarks), left_out, kinds=((main_name, chosen), *streamed))


def _place(kind: Kind, kinds: Sequence[Kind]) -> int:
    return next(i for i, own in enumerate(kinds) if own is kind)


def _without_backbone(rest: Int64 | None, types_of: TypesOf | None) -> list[MoleculeKind]:
    return [] if rest is None else kinds_of_molecules(rest, types_of)


def _picked(pick: str, named: Sequence[tuple[str, MoleculeKind]]) -> MoleculeKind:
    """Return the kind of that name; raise UserError where none has it, or it has no modes."""
    found = [own for name, own in named if name == pick]
    if not found:
        listed = ", ".join(f"'{name}'" for name, own in named if own.kind.n_beads > 1)
        raise UserError(f"`species` {pick}: there is no such species, but {listed}")
    if found[0].kind.n_beads == 1:
        raise UserError(f"`species` {pick}: single atoms have no modes; their D is in the list species of any run")
    return found[0]


def _one_molecule(chosen: MoleculeKind, n_kinds: int, molecule_of: Callable[[int], int] | None, option: str) -> str:
    """Return why one molecule is not enough, naming it."""
    block = chosen.blocks[0]
    lowest = int(block.ids.min())
    molecule = f"molecule {molecule_of(lowest)}, " if molecule_of else ""
    what = f"({molecule}with atom {lowest} and {block.ids.shape[1]} beads)"
    if n_kinds == 1 and len(block.edges) >= block.ids.shape[1]:
        return (
            f"the bonds join all molecules to one network {what}: a network has no second molecule to be told from, "
            f"and where it percolates its centre does not diffuse; name chains in it with {option}"
        )
    return f"1 chain {what}: its motion cannot be told from a drift of the box; at least 2 chains are needed"


def _streamed(
    listed: Sequence[tuple[str, MoleculeKind]], least: int
) -> tuple[list[tuple[str, MoleculeKind]], list[str]]:
    """Return the species beside the main one that are streamed, of so many molecules, and what is said of others."""
    remarks = []
    several = [(name, own) for name, own in listed if own.n_molecules >= least]
    if lone := [f"{own.n_molecules} '{name}'" for name, own in several if own.kind.n_beads == 1]:
        remarks.append(f"atoms without bonds, each kind with its D in the list species: {', '.join(lone)}")
    several.sort(key=lambda pair: (-pair[1].n_molecules * pair[1].kind.n_beads, pair[0]))
    if alone := [name for name, own in listed if own.n_molecules < least and own.kind.n_beads == 1]:
        remarks.append(f"left out, as there is one of each: {', '.join(alone)}")
    if several[MOST_SPECIES:]:
        names = ", ".join(name for name, _ in several[MOST_SPECIES:])
        remarks.append(
            f"{len(several[MOST_SPECIES:])} species beyond the {MOST_SPECIES} of most atoms are left out: {names}; "
            "lengths may share one by --length-bin"
        )
    kept = []
    for name, own in several[:MOST_SPECIES]:
        if not _has_modes(own) and own.n_molecules > MOST_SMALL:
            remarks.append(f"{MOST_SMALL} of {own.n_molecules} molecules of '{name}' are followed")
            block = own.blocks[0]
            places = np.linspace(0, len(block.ids) - 1, MOST_SMALL).astype(np.int64)
            own = replace(own, blocks=(replace(block, ids=block.ids[places]),))
        kept.append((name, own))
    return kept, remarks


def _has_modes(own: MoleculeKind) -> bool:
    return own.kind.shortest >= LEAST_WITH_MODES and not _too_large(own)


def _too_large(own: MoleculeKind) -> bool:
    """Whether molecules that are not linear have more beads than modes are made of."""
    return any(block.edges and block.ids.shape[1] > MOST_BEADS for block in own.blocks)


def followed(
    chains: Chains, n_modes: int, bonds: Int64, masses_of: Callable[[Int64], Float64 | None], channels: tuple[str, ...]
) -> Chains:
    """Return the molecules with their modes and centres of mass, as they are streamed.

    Args:
        chains: from `find_chains`.
        n_modes: k wanted, of the main species and of the others; fewer where molecules have no more, more where that
            would take some of several modes that are alike.
        bonds: (bond, 2) atom ids, of the whole system.
        masses_of: atom ids to their masses; None where masses are not known, and all count alike.
        channels: of the main species; with "beads" those of all species are followed.

    Raises:
        UserError: a main species too large for its modes, or of several lengths where beads are asked for.
    """
    notes = list(chains.notes)
    found: list[Followed] = []
    beads = "beads" in channels
    for name, own in chains.kinds:
        main = not found
        blocks, k, lines = _with_modes(own, n_modes, main)
        if beads and own.kind.n_beads > 1:
            blocks = [replace(block, with_beads=True) for block in blocks]
            if len(blocks) > 1:
                raise UserError(
                    f"molecules '{name}' have several lengths: their beads are recorded without `length_bin`"
                )
        weighted = []
        for block in blocks:
            centres = centres_of_mass(block.ids, bonds, masses_of)
            notes += (() if centres is None else centres.notes) if main else ()
            weighted.append(replace(block, centres=centres))
        notes += [line for line in lines if main]
        of_species = _described(name, own, weighted, k, masses_of, main)
        found.append(Followed(replace(of_species, channels=channels) if main else of_species, tuple(weighted)))
    plain = len(found) == 1 and not found[0].species.edges
    if plain and not beads and "momenta" not in channels:  # modes of linear chains alone need no masses
        found[0] = replace(found[0], species=replace(found[0].species, masses=(), types=()))
    main_blocks = found[0].blocks
    unique = tuple(dict.fromkeys(notes))
    return replace(
        chains, notes=unique, centres=main_blocks[0].centres, main=found[0], others=tuple(found[1:]), kinds=()
    )


def _with_modes(own: MoleculeKind, wanted: int, main: bool) -> tuple[list[Block], int, tuple[str, ...]]:
    """Return a species' blocks, how many modes it has, and a note where that is not what was wanted."""
    large = _too_large(own)
    if main and large:
        raise UserError(
            f"molecules of {own.kind.n_beads} beads that are not linear: modes are made of up to {MOST_BEADS}; name "
            "their backbones, or pick another species"
        )
    if not main and not _has_modes(own):
        return [Block(block.ids, 0, block.edges if not large else ()) for block in own.blocks], 0, ()
    if main and not wanted:
        return [Block(block.ids, 0, block.edges) for block in own.blocks], 0, ()
    k, lines = limit_modes(wanted, own.kind.shortest)
    first = own.blocks[0]
    if first.edges:
        values, _ = laplacian_modes(first.ids.shape[1], first.edges)
        if (whole := whole_groups(k, values[1:])) != k:
            lines += (f"modes raised from {k} to {whole}: modes {k} and {whole} are copies of one another",)
            k = whole
    return [Block(block.ids, k, block.edges) for block in own.blocks], k, lines


def _described(
    name: str, own: MoleculeKind, blocks: Sequence[Block], k: int, masses_of: Callable[[Int64], Float64 | None],
    main: bool,
) -> Species:  # fmt: skip
    first = own.blocks[0]
    n_beads = first.ids.shape[1]
    if len(own.blocks) > 1:
        n_beads = round(sum(block.ids.size for block in own.blocks) / own.n_molecules)
    beads = blocks[0].with_beads
    edges = first.edges if k or main or (beads and not _too_large(own)) else ()
    eigenvalues: tuple[float, ...] = ()
    if edges:
        values, _ = laplacian_modes(n_beads, edges)
        eigenvalues = tuple(values[1:].tolist())
    return Species(
        name, own.n_molecules, n_beads, k,
        ("com", *(("modes",) if k else ()), *(("beads",) if beads else ())), edges, eigenvalues, first.types,
        _molecule_masses(blocks, masses_of), any(block.centres is not None for block in blocks),
        bool(edges) or ends_alike([first.types]),
    )  # fmt: skip


def _molecule_masses(blocks: Sequence[Block], masses_of: Callable[[Int64], Float64 | None]) -> tuple[float, ...]:
    """Return the mass of each molecule, one number where all weigh the same; beads where masses are not known."""
    found = []
    for block in blocks:
        beads = masses_of(block.ids.ravel())
        total = np.full(len(block.ids), float(block.ids.shape[1])) if beads is None else beads.reshape(block.ids.shape)
        total = total if total.ndim == 1 else total.sum(axis=1)
        if block.centres is not None and len(block.side) and (side := masses_of(block.side)) is not None:
            total = total + np.bincount(block.centres.side.chain, side, minlength=len(total))
        found.append(total)
    every = np.concatenate(found)
    if np.ptp(every) <= MASS_TOLERANCE * every.max():
        return (float(every[0]),)
    return tuple(every.tolist())


def of_main(chains: Chains) -> dict[str, Any]:
    """Return what a System says of its main species beside counts; nothing where all are linear chains of one kind."""
    assert chains.main is not None
    own = chains.main.species
    whole = "momenta" in own.channels or "beads" in own.channels
    if not chains.others and not own.edges and len(chains.main.blocks) == 1 and not whole:
        return {}
    return {
        "name": own.name, "edges": own.edges, "eigenvalues": own.eigenvalues, "types": own.types, "masses": own.masses,
    }  # fmt: skip


def keep_group(bonds: Int64, members: Int64, group: str, option: str = "`chain_group`") -> Int64:
    """Return the bonds whose atoms are both in a group.

    Args:
        bonds: (bond, 2) atom ids.
        members: (member,) atom ids of the group.
        group: its name, for the message.
        option: that named it, for the message.

    Raises:
        UserError: no bond is left, or several pieces of each molecule are.
    """
    kept = bonds[np.isin(bonds, members).all(axis=1)]
    if len(kept) == 0:
        raise UserError(f"no bond joins two atoms of group '{group}' ({len(members)} atoms): check {option}")
    _refuse_cut(bonds, kept, group, option)
    return kept


def _refuse_cut(bonds: Int64, kept: Int64, group: str, option: str) -> None:
    """Raise UserError where a group leaves several pieces of every molecule, which are no chains of their own.

    Of one molecule, or of some, they may be strands of a network, or chains that are tied: that is noted, not refused.
    """
    whole, pieces = BondGraph.of(bonds), BondGraph.of(kept)
    if not len(pieces.ids):
        return
    _, first = np.unique(pieces.molecule, return_index=True)  # of each piece its lowest atom
    owner = whole.molecule[np.searchsorted(whole.ids, pieces.ids[first])]
    n_pieces = np.bincount(owner)
    there = n_pieces[n_pieces > 0]
    if len(there) < 2 or there.min() < 2:
        return
    at = np.argmin(pieces.ids[first])
    raise UserError(
        f"group '{group}' leaves {n_pieces[owner[at]]} pieces of the molecule with atom {pieces.ids[first[at]]} "
        f"({len(there)} molecules in all): they are bonded through atoms outside the group, and "
        f"are no chains of their own; name one unbroken backbone of each molecule with {option}"
    )


def bonds_apart(bonds: Int64, backbones: Int64) -> Int64:
    """Return the bonds of molecules that no backbone belongs to.

    Args:
        bonds: (bond, 2) atom ids, of the whole system.
        backbones: (bond, 2) of the backbones.
    """
    graph = BondGraph.of(bonds)
    ends = graph.ids[graph.ends]
    touched = np.unique(graph.molecule[np.isin(graph.ids, backbones)])
    return ends[~np.isin(graph.molecule[graph.ends[:, 0]], touched)]


def limit_modes(wanted: int, n_beads: int) -> tuple[int, tuple[str, ...]]:
    """Return k for chains of N beads, at most N-1, with a note where it was lowered."""
    if wanted <= n_beads - 1:
        return wanted, ()
    return n_beads - 1, (f"--modes lowered from {wanted} to {n_beads - 1}: chains of {n_beads} beads have no more",)
