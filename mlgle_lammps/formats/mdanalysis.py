"""What MDAnalysis reads for us: topologies, and binary trajectories (DCD, XTC, TRR, NetCDF and others). Optional."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame
from mlgle_lammps.records import Float64, Int64

TIMED = ("XTC", "TRR", "NCDF")
"""Formats with times of their own, in ps; for others MDAnalysis makes them up."""
PICOSECONDS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6, "s": 1e12}
ANGSTROMS = {"Angstrom": 1.0, "nm": 10.0, "um": 1e4, "cm": 1e8, "m": 1e10, "Bohr": 0.529177210903}
_DATA_HEADER = re.compile(r"^\s*\d+\s+atoms\s*(#.*)?$", re.MULTILINE)
_HEADER_BYTES = 4096


def import_mdanalysis() -> Any:
    """Return the module MDAnalysis; raise UserError that says how to get it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import MDAnalysis
            import MDAnalysis.coordinates.core
    except ImportError as error:
        raise UserError(
            f"trajectories are read through MDAnalysis, which is not there ({one_line(error)}): "
            "pip install 'mlgle_lammps[trajectories]'"
        ) from None
    return MDAnalysis


@dataclass(frozen=True)
class Topology:
    """What a topology file says about atoms.

    Attributes:
        ids: (atom,) ids, in the file's or, for LAMMPS data, increasing order.
        bonds: (bond, 2) ids.
        molecules: atom id -> molecule id, empty where there are none.
        masses: (atom,), None where the file has none.
        selected: ids of the atoms that were selected, None without a selection.
    """

    ids: Int64
    bonds: Int64
    molecules: dict[int, int]
    masses: Float64 | None
    selected: Int64 | None


def read_topology(path: Path, selection: str | None = None) -> Topology:
    """Return atoms and bonds of a LAMMPS data file or any topology that MDAnalysis reads.

    Args:
        path: the file.
        selection: atoms of the chains' backbones, in MDAnalysis' selection language, such as "type 1".

    Raises:
        UserError: MDAnalysis is not there, the file is missing or not a topology, or the selection is wrong or empty.
    """
    mda = import_mdanalysis()
    if not path.is_file():
        raise UserError(f"--topology {path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"--topology {path} is empty")
    kind = "DATA" if _is_lammps_data(path) else None
    with _reported(f"--topology {path}"):
        universe = mda.Universe(str(path), topology_format=kind, format=kind, to_guess=())
        atoms = universe.atoms
        ids = np.asarray(atoms.ids if hasattr(atoms, "ids") else np.arange(1, len(atoms) + 1), dtype=np.int64)
        pairs = np.asarray(universe.bonds.indices, dtype=np.int64) if hasattr(universe, "bonds") else np.empty((0, 2))
        masses = np.asarray(atoms.masses, dtype=np.float64) if hasattr(atoms, "masses") else None
        resids = atoms.resids if hasattr(atoms, "resids") else ()
    if kind is not None:
        _require_counts(path, len(np.unique(ids)), len(pairs))
    chosen = None
    if selection is not None:
        with _reported(f"--select '{selection}'"):
            chosen = ids[universe.select_atoms(selection).ix]
        if not len(chosen):
            raise UserError(f"--select '{selection}' finds no atom in {path}")
    molecules = dict(zip(ids.tolist(), map(int, resids), strict=False))
    return Topology(ids, ids[pairs.reshape(-1, 2).astype(np.int64)], molecules, masses, chosen)


def _require_counts(path: Path, n_atoms: int, n_bonds: int) -> None:
    """Raise UserError where a LAMMPS data file counts other atoms or bonds in its head than were read from it."""
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(_HEADER_BYTES)
    for name, found in (("atoms", n_atoms), ("bonds", n_bonds)):
        told = re.search(rf"^\s*(\d{{1,18}})\s+{name}\b", head, re.MULTILINE)
        if told is not None and int(told[1]) != found:
            raise UserError(
                f"--topology {path} counts {told[1]} {name}, and {found} could be read: is it whole, each atom and "
                "bond in it once, and does each bond join two atoms that are there?"
            )


def _is_lammps_data(path: Path) -> bool:
    """Tell whether the file's head counts atoms as LAMMPS data files do, whatever its name."""
    if path.suffix == ".data":
        return True
    try:
        with open(path, encoding="utf-8") as file:
            return _DATA_HEADER.search(file.read(_HEADER_BYTES)) is not None
    except (OSError, UnicodeDecodeError):
        return False


@contextlib.contextmanager
def _reported(where: str) -> Iterator[None]:
    """Turn whatever MDAnalysis raises into one line, and keep its warnings to itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        line = one_line(error)
        for chatter in (" You can use ", " The FORMATs ", " You can supply "):
            line = line.split(chatter)[0]
        raise UserError(f"{where} cannot be read: {line[:300]}") from None


def read_with_mdanalysis(path: Path, ids: Int64, units: str, time_unit: str, length_unit: str) -> Iterator[BeadFrame]:
    """Yield the frames of a binary (or other) trajectory in single precision; none has image flags.

    XTC, TRR and NetCDF are in nm or Angstrom and ps by definition, and are brought to the units asked for; under "lj"
    their numbers are taken as they are, as LAMMPS writes them. DCD has no units.

    Args:
        path: the trajectory.
        ids: (atom,) of the topology, in order.
        units: LAMMPS unit style or "unknown".
        time_unit: wanted.
        length_unit: wanted.

    Raises:
        UserError: unreadable, or of another number of atoms.
    """
    mda = import_mdanalysis()
    with _reported(str(path)):
        reader = mda.coordinates.core.reader(str(path), convert_units=units != "lj", n_atoms=len(ids))
    if reader.n_atoms != len(ids):
        raise UserError(f"{path} has {reader.n_atoms} atoms, the topology has {len(ids)}: they do not belong together")
    kind = reader.format[0] if isinstance(reader.format, list | tuple) else reader.format
    plain = units == "lj" or kind == "DCD"
    length = 1.0 if plain else ANGSTROMS.get(length_unit, 1.0)
    clock = _dcd_clock(reader) if kind == "DCD" else _clock(kind, plain, time_unit)
    number, frames = 0, iter(reader)
    while True:
        with _reported(f"{path}, frame {number}"):
            snapshot = next(frames, None)
            if snapshot is None:
                return
            cell = None
            if snapshot.dimensions is not None and np.all(snapshot.dimensions[:3] > 0):
                cell = mda.lib.mdamath.triclinic_vectors(snapshot.dimensions).astype(np.float64) / length
            positions = snapshot.positions.astype(np.float64) / length
            step, time = clock(number, snapshot)
        yield BeadFrame(step, time, ids, positions, None, cell, unwrapped=False)
        number += 1


def _dcd_clock(reader: Any) -> Any:
    """Return a function that tells step and time of a DCD frame; LAMMPS writes its own step, stride and time step."""
    header = reader._file.header
    first, stride, timestep = (header.get(name, 0) for name in ("istart", "nsavc", "delta"))
    timestep = float(f"{timestep:.7g}")  # stored in single precision
    from_lammps = "LAMMPS" in str(header.get("remarks", ""))

    def tell(number: int, snapshot: Any) -> tuple[int | None, float | None]:
        step = first + number * stride if stride > 0 else None
        return step, step * timestep if from_lammps and step is not None and timestep > 0 else None

    return tell


def _clock(kind: str, plain: bool, time_unit: str) -> Any:
    scale = 1.0 if plain else PICOSECONDS.get(time_unit, 1.0)

    def tell(number: int, snapshot: Any) -> tuple[int | None, float | None]:
        step = snapshot.data.get("step") if kind in (*TIMED, "GSD") else None
        return None if step is None else int(step), snapshot.time / scale if kind in TIMED else None

    return tell
