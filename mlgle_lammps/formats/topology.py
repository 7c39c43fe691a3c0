"""Atoms and bonds from a topology: LAMMPS data files by our own reader, all others by MDAnalysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.compressed import UNREADABLE, open_text
from mlgle_lammps.formats.lammps_data import DataFile, is_lammps_data, read_data_file
from mlgle_lammps.formats.mdanalysis import import_mdanalysis, reported
from mlgle_lammps.records import Float64, Int64

if TYPE_CHECKING:
    from MDAnalysis import Universe


@dataclass(frozen=True)
class Topology:
    """What a topology file says about atoms.

    Attributes:
        ids: (atom,) ids, in the file's or, for LAMMPS data, increasing order.
        bonds: (bond, 2) ids.
        molecules: atom id -> molecule id, empty where there are none.
        masses: (atom,) in the order of ``ids``, None where the file has none.
        selected: ids of the atoms that were selected, None without a selection.
        types: (atom,) in the order of ``ids``, labels where there are some; None where the file has none.
    """

    ids: Int64
    bonds: Int64
    molecules: dict[int, int]
    masses: Float64 | None
    selected: Int64 | None
    types: Sequence[str] | None = None

    def types_of(self, ids: Int64) -> list[str]:
        """Return the types of the atoms with these ids."""
        assert self.types is not None
        return [self.types[place] for place in self._places(ids)]

    def _places(self, ids: Int64) -> Int64:
        """Return where the atoms with these ids are in the file's order."""
        order = np.argsort(self.ids)
        return order[np.searchsorted(self.ids, ids, sorter=order)]

    def masses_of(self, ids: Int64) -> Float64 | None:
        """Return the masses of the atoms with these ids, in their order and shape; None where they are not known."""
        if self.masses is None:
            return None
        masses: Float64 = self.masses[self._places(ids)]
        known = np.isfinite(masses).all() and masses.min(initial=0.0) >= 0 and masses.any()
        return masses if known else None  # virtual sites may have none; a file whose masses are all 0 tells nothing


def read_topology(path: Path, selection: str | None = None) -> Topology:
    """Return atoms and bonds of a LAMMPS data file or any topology that MDAnalysis reads.

    Args:
        path: the file.
        selection: atoms of the chains' backbones, in MDAnalysis' selection language, such as "type 1".

    Raises:
        UserError: MDAnalysis is needed and not there, the file is missing or not a topology, or the selection is wrong
            or empty.
    """
    if not path.is_file():
        raise UserError(f"`topology` {path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"`topology` {path} is empty")
    if is_lammps_data(path):
        return _from_data_file(path, selection)
    mda = import_mdanalysis()
    with reported(f"`topology` {path}"):
        universe = mda.Universe(str(path), topology_format=_format(path), to_guess=())
        atoms = universe.atoms
        ids = np.asarray(atoms.ids if hasattr(atoms, "ids") else np.arange(1, len(atoms) + 1), dtype=np.int64)
        pairs = np.asarray(universe.bonds.indices, dtype=np.int64) if hasattr(universe, "bonds") else np.empty((0, 2))
        masses = np.asarray(atoms.masses, dtype=np.float64) if hasattr(atoms, "masses") else None
        types = [str(name) for name in atoms.types] if hasattr(atoms, "types") else None
        resids = atoms.resids if hasattr(atoms, "resids") else ()
    if len(np.unique(ids)) < len(ids):  # files of several molecules may count from 1 in each
        ids = np.arange(1, len(ids) + 1)
    chosen = None if selection is None else ids[_selected(universe, selection, path)]
    molecules = dict(zip(ids.tolist(), map(int, resids), strict=False))
    return Topology(ids, ids[pairs.reshape(-1, 2).astype(np.int64)], molecules, masses, chosen, types)


def _selected(universe: Universe, selection: str, path: Path) -> Int64:
    with reported(f"`select` '{selection}'"):
        chosen: Int64 = universe.select_atoms(selection).ix
    if not len(chosen):
        raise UserError(f"`select` '{selection}' finds no atom in {path}")
    return chosen


def _from_data_file(path: Path, selection: str | None) -> Topology:
    """Return what a LAMMPS data file says; MDAnalysis is needed for a selection alone."""
    data = read_data_file(path)
    chosen = None
    if selection is not None:
        mda = import_mdanalysis()
        with reported(f"`topology` {path}"):
            universe = _universe(mda, data)
        try:
            chosen = data.ids[_selected(universe, selection, path)]
        except UserError:
            if data.labels is None:
                raise
            universe.add_TopologyAttr("types", np.array(data.labels, dtype=object))  # 'type PE' as well as 'type 1'
            chosen = data.ids[_selected(universe, selection, path)]
    molecules = {} if data.molecules is None else dict(zip(data.ids.tolist(), data.molecules.tolist(), strict=True))
    return Topology(data.ids, data.bonds, molecules, data.masses, chosen, data.labels or data.types)


def _universe(mda: ModuleType, data: DataFile) -> Universe:
    """Return what selections are made in, with the attributes that MDAnalysis gives to LAMMPS data files."""
    n = len(data.ids)
    molecules = np.ones(n, dtype=np.int64) if data.molecules is None else data.molecules
    residues, place = np.unique(molecules, return_inverse=True)
    universe = mda.Universe.empty(
        n, n_residues=len(residues), atom_resindex=place, residue_segindex=np.zeros(len(residues), int), trajectory=True
    )
    for name, values in (
        ("types", None if data.types is None else np.array(data.types, dtype=object)),
        ("names", None if data.labels is None else np.array(data.labels, dtype=object)),
        ("ids", data.ids),
        ("masses", data.masses),
        ("charges", data.charges),
        ("resids", residues),
        ("resnums", residues),
        ("segids", np.array(["SYSTEM"], dtype=object)),
    ):
        if values is not None:
            universe.add_TopologyAttr(name, values)
    universe.add_TopologyAttr("bonds", [tuple(pair) for pair in np.searchsorted(data.ids, data.bonds).tolist()])
    if data.positions is not None:
        universe.atoms.positions = data.positions
    return universe


def _format(path: Path) -> str | None:
    """Return MDAnalysis' name of a .top file's format: GROMACS' topologies are told from Amber's by their content."""
    if path.suffix.lower() not in (".top", ".itp"):
        return None
    try:
        with open_text(path) as file:
            for line in file:
                if line.strip() and not line.lstrip().startswith((";", "*")):
                    return None if line.startswith("%") else "ITP"
    except UNREADABLE:
        pass
    return None
