"""Read from LAMMPS what the stream will be about: chains, units, the time between frames."""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from mlgle_lammps.acquire.fixes import Setup
from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.acquire.physics import torn_bond
from mlgle_lammps.acquire.scan import RESPA, TEMPLATE
from mlgle_lammps.acquire.snapshot import Snapshots
from mlgle_lammps.acquire.walls import members_by_group, open_directions, read_box
from mlgle_lammps.chains.modes import component_variances
from mlgle_lammps.chains.molecule_sums import Block
from mlgle_lammps.chains.percolation import percolates
from mlgle_lammps.chains.topology import Chains, Followed, bonds_apart, find_chains, followed, keep_group, of_main
from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import UNITS, Float64, Int64, System
from mlgle_lammps.stream.communicator import Communicator

LAMMPS_VARIABLE_ATOM: Final = 1  # lammps.LMP_VAR_ATOM
HEAD_OF_DATA = 10_000
"""Lines of a data file among which labels of types stand, if it has any."""


def read_system(
    lmp: Lammps,
    comm: Communicator,
    *,
    deck: str,
    every: int,
    n_modes: int,
    chain_group: str | None = None,
    strict: bool = False,
    notes: tuple[str, ...] = (),
    marked: bool = True,
    setup: Setup | None = None,
    center_held: bool = False,
    definitions: tuple[tuple[str, ...], ...] = (),
    later: tuple[str, ...] = (),
    channels: tuple[str, ...] = ("com", "modes"),
    pick: str | None = None,
    length_bin: float = 0.0,
    log: Path | None = None,
    single: bool = False,
) -> tuple[System, Chains]:
    """Return what the stream will be about, and its chains; collective over the MD ranks.

    ``definitions`` and ``later`` are the deck's fixes as `walls.open_directions` takes them, ``pick`` and
    ``length_bin`` what `find_chains` takes, ``single`` too, whereupon walls close nothing, ``log`` the file that LAMMPS
    has logged to so far.

    Raises:
        UserError: no system yet, r-RESPA, bonds in templates, no bonds, one molecule, or molecules that percolate or
            that wrong image flags tear apart.
    """
    if not lmp.extract_setting("box_exist") or lmp.get_natoms() == 0:
        advice = "move the marker below the system's set-up" if marked else "the deck sets up no system"
        raise UserError(f"{deck}: there are no atoms when production begins; {advice}")
    if lmp.extract_global("respa_levels"):
        raise UserError(f"{deck}: {RESPA}")
    if setup is not None and setup.molecules == "template":
        raise UserError(f"{deck}: {TEMPLATE}")
    try:
        chains = _read_chains(lmp, comm, chain_group, strict, pick, length_bin, n_modes, channels, log, single)
    except UserError as error:
        raise UserError(f"{deck}: {error}") from None
    assert chains.main is not None
    species = chains.main.species
    units = lmp.extract_global("units")
    time_unit, length_unit = UNITS.get(units, ("time", "length"))
    system = System(
        n_chains=species.n_molecules,
        n_beads=species.n_beads,
        n_modes=species.n_modes,
        dt=lmp.extract_global("dt") * every,
        every=every,
        units=units,
        time_unit=time_unit,
        length_unit=length_unit,
        source=f"deck {deck}",
        notes=(*notes, *chains.notes),
        box=_periodic_box(lmp),
        mode_variances=_mode_variances(lmp, comm, chains.main, deck),
        center_held=center_held,
        whole_molecules=chains.centres is not None,
        ends_alike=chains.ends_alike,
        left_out=chains.left_out,
        directions=ALL_FREE if single else _directions(lmp, comm, _all_ids(chains.main), setup, definitions, later),
        channels=channels,
        others=tuple(own.species for own in chains.others),
        **of_main(chains),
    )
    return system, chains


def _directions(
    lmp: Lammps, comm: Communicator, chains: Int64, setup: Setup | None, definitions: tuple[tuple[str, ...], ...],
    later: tuple[str, ...],
) -> Directions:  # fmt: skip
    """Return the directions that the deck leaves open to the chains."""
    if setup is None:
        return ALL_FREE
    holds = members_by_group(lambda group: set(_group_members(lmp, comm, group).tolist()), set(chains.ravel().tolist()))
    return open_directions(setup, definitions, later, read_box(lmp), holds)


def _periodic_box(lmp: Lammps) -> tuple[float, ...] | None:
    """Return lx, ly, lz, xy, xz, yz of the box, None where it is not periodic in all directions."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    if not all(periodic):
        return None
    lx, ly, lz = (b - a for a, b in zip(low, high, strict=True))
    return (lx, ly, lz, xy, xz, yz)


def _all_ids(main: Followed) -> Int64:
    return np.concatenate([block.ids.ravel() for block in main.blocks])


def _mode_variances(lmp: Lammps, comm: Communicator, main: Followed, deck: str) -> tuple[float, ...] | None:
    """Return the variances of all modes 1..N-1 as the beads lie now.

    None on all but the first MD rank, where lengths share the species, and where the box changes or beads are lost:
    production says so soon enough.

    Raises:
        UserError: a bond spans more than half the box.
    """
    variances, torn = None, ""
    try:
        whole = [Block(block.ids, block.ids.shape[1] - 1, block.edges) for block in main.blocks]
        snapshots = Snapshots(lmp, comm, whole, len(whole))
        part, _ = snapshots.local(_local(lmp, "id"), _local(lmp, "x").reshape(-1, 3).astype(np.float64))
        total = snapshots.total(part)
        if total is not None:
            variances = component_variances(total[0][:, 1:]) if len(total) == 1 else None
            for own, block in zip(total, whole, strict=True):
                torn = torn or torn_bond(own, block, snapshots.cell)
    except UserError:
        pass
    if torn := comm.bcast(torn, root=0):
        raise UserError(f"{deck}: {torn}")
    return variances


def _read_chains(
    lmp: Lammps, comm: Communicator, group: str | None, strict: bool, pick: str | None, length_bin: float, n_modes: int,
    channels: tuple[str, ...], log: Path | None, single: bool,
) -> Chains:  # fmt: skip
    all_bonds = bonds = _gather_bonds(lmp)
    rest = None
    if group is not None:
        bonds = keep_group(bonds, _group_members(lmp, comm, group), group)
        rest = bonds_apart(all_bonds, bonds)
    molecules = _molecules(lmp, comm)
    chains = find_chains(
        bonds,
        molecule_of=molecules.__getitem__ if molecules else None,
        strict=strict,
        types_of=_types_of(lmp, comm, log),
        rest=rest,
        lone=np.setdiff1d(np.concatenate(comm.allgather(_local(lmp, "id").astype(np.int64))), all_bonds),
        pick=pick,
        length_bin=length_bin,
        single=single,
    )
    _refuse_percolating(lmp, comm, chains)
    return followed(chains, n_modes, all_bonds, masses_of_atoms(lmp, comm), channels)


def _refuse_percolating(lmp: Lammps, comm: Communicator, chains: Chains) -> None:
    """Raise UserError where molecules of the main species reach themselves through the periodic box."""
    blocks = [block for _, own in chains.kinds[:1] for block in own.blocks if len(block.edges) >= block.ids.shape[1]]
    if not blocks:
        return
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    lx, ly, lz = (b - a for a, b in zip(low, high, strict=True))
    cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
    positions = _gathered(lmp, comm, _local(lmp, "x").reshape(-1, 3).astype(np.float64))
    for block in blocks:
        for ids in block.ids:
            if percolates(positions(ids), block.edges, cell, np.array(periodic, dtype=bool)):
                raise UserError(
                    f"the molecule with atom {ids.min()} and {len(ids)} beads is a network that percolates: its bonds "
                    "lead around the periodic box and back, so that it has no centre that could diffuse"
                )


def _types_of(lmp: Lammps, comm: Communicator, log: Path | None) -> Callable[[Int64], list[str]]:
    """Return what gives the types of atoms by their ids, labels where the deck has some."""
    types = _gathered(lmp, comm, _local(lmp, "type").astype(np.int64))
    labels = _type_labels(lmp, comm, log)
    return lambda wanted: [labels.get(number, str(number)) for number in types(wanted).tolist()]


def _type_labels(lmp: Lammps, comm: Communicator, log: Path | None) -> dict[int, str]:
    """Return type -> label of types that have one; LAMMPS tells them by a file only.

    Asking makes LAMMPS keep labels, and cite their authors in its log: where there is one, it is asked only if that
    says that the deck has some.
    """
    if not comm.bcast(comm.rank == 0 and (log is None or _defines_labels(log)), root=0):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(comm.bcast(folder, root=0)) / "labels"
        try:
            lmp.command(f"labelmap write {path}")
            text = path.read_text(encoding="utf-8", errors="replace") if comm.rank == 0 else ""
        except Exception:  # there are none after all
            text = ""
        text = comm.bcast(text, root=0)
    line = next((line for line in text.splitlines() if line.startswith("labelmap atom ")), "")
    return {int(number): label for number, label in re.findall(r'(\d+) """ (.*?) """', line)}


def _defines_labels(log: Path) -> bool:
    """Whether commands that LAMMPS has logged so far define labels, by themselves or by a data file that they read."""
    ctypes.CDLL(None).fflush(None)
    try:
        with open(log, encoding="utf-8", errors="replace") as lines:
            return any(
                words[0] == "labelmap" or (words[0] == "read_data" and len(words) > 1 and _has_labels(words[1]))
                for words in map(str.split, lines)
                if words
            )
    except OSError:
        return False


def _has_labels(data: str) -> bool:
    """Whether a data file has labels; not where its name still has variables in it, or its folder was left."""
    try:
        with open(data, encoding="utf-8", errors="replace") as lines:
            return any(line.startswith("Atom Type Labels") for line in islice(lines, HEAD_OF_DATA))
    except OSError:
        return False


def _gathered(lmp: Lammps, comm: Communicator, values: AnyArray) -> Callable[[Int64], AnyArray]:
    """Return what gives a quantity of all ranks' atoms by their ids; ``values`` are those of this rank's own."""
    parts = comm.allgather((_local(lmp, "id").astype(np.int64), values))
    ids, whole = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(ids)
    ids, whole = ids[order], whole[order]

    def of(wanted: Int64) -> AnyArray:
        places = np.searchsorted(ids, wanted)
        there = (places < len(ids)) & (ids[np.minimum(places, len(ids) - 1)] == wanted)
        if not there.all():
            gone = np.count_nonzero(~there)
            raise UserError(f"{gone} atoms of the chains' molecules are gone: LAMMPS has lost atoms")
        found: AnyArray = whole[places]
        return found

    return of


def _gather_bonds(lmp: Lammps) -> Int64:
    """Return all bonds' (atom, atom) ids."""
    if not lmp.extract_global("nbonds"):
        return np.empty((0, 2), dtype=np.int64)
    _, data = lmp.gather_bonds()
    bonds = np.asarray(data, dtype=np.int64).reshape(-1, 3)[:, 1:]
    if not bonds.all():  # LAMMPS counts them and no longer has them
        gone = np.count_nonzero(~bonds.all(axis=1))
        raise UserError(f"{gone} bonds are gone: LAMMPS lost atoms before production, or a bond style broke them")
    return bonds


def bond_pairs(lmp: Lammps) -> Int64:
    """Return (bond, 2) atom ids of the bonds there are now, each with the lower id first, in order."""
    if not lmp.extract_global("nbonds"):
        return np.empty((0, 2), dtype=np.int64)
    _, data = lmp.gather_bonds()
    bonds = np.asarray(data, dtype=np.int64).reshape(-1, 3)[:, 1:]
    return np.unique(np.sort(bonds[bonds.all(axis=1)], axis=1), axis=0)


def _local(lmp: Lammps, name: str) -> AnyArray:
    """Return a copy of a per-atom quantity of this rank's own atoms."""
    n_local = lmp.extract_setting("nlocal")
    return lmp.numpy.extract_atom(name)[:n_local].copy() if n_local else np.empty(0, dtype=np.int64)


def _group_members(lmp: Lammps, comm: Communicator, group: str) -> Int64:
    """Return the ids of all atoms in a LAMMPS group."""
    if not lmp.has_id("group", group):
        known = ", ".join(name for name in lmp.available_ids("group") if name)
        raise UserError(f"`chain_group` {group}: the deck defines no such group, but {known}")
    lmp.command(f"variable mlgle_members atom gmask({group})")
    inside = np.asarray(lmp.extract_variable("mlgle_members", None, LAMMPS_VARIABLE_ATOM))
    lmp.command("variable mlgle_members delete")
    ids = _local(lmp, "id")
    return np.concatenate(comm.allgather(ids[inside[: len(ids)] > 0.5].astype(np.int64)))


def _molecules(lmp: Lammps, comm: Communicator) -> dict[int, int]:
    """Return atom id -> molecule id, empty where atoms have none."""
    if not lmp.extract_setting("molecule_flag"):
        return {}
    pairs = comm.allgather((_local(lmp, "id"), _local(lmp, "molecule")))
    return {int(atom): int(molecule) for ids, found in pairs for atom, molecule in zip(ids, found, strict=True)}


def masses_of_atoms(lmp: Lammps, comm: Communicator) -> Callable[[Int64], Float64]:
    """Return what gives the masses of atoms by their ids."""
    if lmp.extract_setting("rmass_flag"):
        masses = _local(lmp, "rmass").astype(np.float64)
    else:
        masses = lmp.numpy.extract_atom("mass")[_local(lmp, "type")].astype(np.float64)
    return _gathered(lmp, comm, masses)
