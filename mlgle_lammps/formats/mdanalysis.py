"""What MDAnalysis reads for us: binary trajectories (DCD, XTC, TRR and others). Optional."""

from __future__ import annotations

import contextlib
import gc
import itertools
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame, Stamp
from mlgle_lammps.formats.compressed import own_suffix
from mlgle_lammps.records import ANGSTROMS, PICOSECONDS, Int64

if TYPE_CHECKING:
    from MDAnalysis.coordinates.base import ReaderBase
    from MDAnalysis.coordinates.timestep import Timestep

TIMED = ("XTC", "TRR")
"""Formats with times of their own, in ps; for others MDAnalysis makes them up."""
WITHOUT_UNITS = ("DCD", "XYZ", "GSD")
"""Formats in whatever units were used; MDAnalysis takes them for Angstrom."""


def import_mdanalysis() -> ModuleType:
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


@contextlib.contextmanager
def reported(where: str) -> Iterator[None]:
    """Turn whatever MDAnalysis raises into one line, and keep its warnings to itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        line = one_line(error)
        _discard(error)
        for chatter in (" You can use ", " The FORMATs ", " You can supply "):
            line = line.split(chatter)[0]
        raise UserError(f"{where} cannot be read: {line[:300]}") from None


def _discard(error: Exception) -> None:
    """Let go of what an exception holds: readers that failed while opening complain once more as they are deleted."""
    complain, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        traceback.clear_frames(error.__traceback__)
        gc.collect()
    finally:
        sys.unraisablehook = complain


def without_units(path: Path) -> bool:
    """Tell by its name whether a file, packed or not, is of a format that has no units."""
    return own_suffix(path)[1:].upper() in WITHOUT_UNITS


def read_with_mdanalysis(path: Path, ids: Int64, units: str, time_unit: str, length_unit: str) -> Iterator[BeadFrame]:
    """Yield the frames of a binary (or other) trajectory in single precision; none has image flags or ids.

    XTC, TRR and others are in nm or Angstrom and ps by definition, and are brought to the units asked for; under "lj"
    their numbers are taken as they are, as LAMMPS writes them. DCD, XYZ and GSD have no units.

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
    with _opened(path, ids, units) as (reader, kind):
        plain = units == "lj" or kind in WITHOUT_UNITS
        length = 1.0 if plain else ANGSTROMS.get(length_unit, 1.0)
        clock = _dcd_clock(reader) if kind == "DCD" else _clock(kind, plain, time_unit)
        number, frames = 0, iter(reader)
        while True:
            with reported(f"{path}, frame {number}"):
                snapshot = next(frames, None)
                if snapshot is None:
                    return
                cell = None
                if snapshot.dimensions is not None and np.all(snapshot.dimensions[:3] > 0):
                    cell = mda.lib.mdamath.triclinic_vectors(snapshot.dimensions).astype(np.float64) / length
                positions = snapshot.positions.astype(np.float64) / length
                stamp = clock(number, snapshot)
            yield BeadFrame(stamp.step, stamp.time, ids, positions, None, cell, unwrapped=False)
            number += 1


def stamps_with_mdanalysis(path: Path, ids: Int64, units: str, time_unit: str) -> Iterator[Stamp]:
    """Yield steps and times of a trajectory's frames; those of DCD and XTC without reading any positions."""
    with _opened(path, ids, units) as (reader, kind):
        plain = units == "lj" or kind in WITHOUT_UNITS
        if kind == "XTC":
            yield from _xtc_stamps(path, reader._xdr.offsets, 1.0 if plain else PICOSECONDS.get(time_unit, 1.0))
            return
        if kind == "DCD":
            tell = _dcd_clock(reader)
            yield from (tell(number, None) for number in range(reader.n_frames))
            return
        clock, frames = _clock(kind, plain, time_unit), iter(reader)
        for number in itertools.count():
            with reported(f"{path}, frame {number}"):
                snapshot = next(frames, None)
                if snapshot is None:
                    return
                stamp = clock(number, snapshot)
            yield stamp


@contextlib.contextmanager
def _opened(path: Path, ids: Int64, units: str) -> Iterator[tuple[ReaderBase, str]]:
    """Open a trajectory and give its reader and the name of its format."""
    mda = import_mdanalysis()
    with reported(str(path)):
        reader = mda.coordinates.core.reader(str(path), convert_units=units != "lj", n_atoms=len(ids))
    try:
        if reader.n_atoms != len(ids):
            raise UserError(
                f"{path} has {reader.n_atoms} atoms, the topology has {len(ids)}: they do not belong together"
            )
        yield reader, str(reader.format[0] if isinstance(reader.format, list | tuple) else reader.format)
    finally:
        reader.close()


def _xtc_stamps(path: Path, offsets: Iterable[int], scale: float) -> Iterator[Stamp]:
    """Yield what the head of each frame says: magic number, atoms, step, time."""
    with reported(str(path)), open(path, "rb") as file:
        for offset in offsets:
            file.seek(int(offset))
            _, _, step, time = struct.unpack(">iiif", file.read(16))
            yield Stamp(step, time / scale)


def _dcd_clock(reader: ReaderBase) -> Callable[[int, Timestep], Stamp]:
    """Return a function that tells step and time of a DCD frame; LAMMPS writes its own step, stride and time step.

    Programs that write DCD files anew put "each step" there, whatever is true: that is taken from LAMMPS alone.
    """
    header = reader._file.header
    first, stride, timestep = (header.get(name, 0) for name in ("istart", "nsavc", "delta"))
    timestep = float(f"{timestep:.7g}")  # stored in single precision
    from_lammps = "LAMMPS" in str(header.get("remarks", ""))

    def tell(number: int, snapshot: Timestep) -> Stamp:
        step = first + number * stride if stride > (0 if from_lammps else 1) else None
        return Stamp(step, step * timestep if from_lammps and step is not None and timestep > 0 else None)

    return tell


def _clock(kind: str, plain: bool, time_unit: str) -> Callable[[int, Timestep], Stamp]:
    scale = 1.0 if plain else PICOSECONDS.get(time_unit, 1.0)

    def tell(number: int, snapshot: Timestep) -> Stamp:
        step = snapshot.data.get("step") if kind in (*TIMED, "GSD") else None
        return Stamp(None if step is None else int(step), snapshot.time / scale if kind in TIMED else None)

    return tell
