"""Which reader a trajectory file needs, told by its content, and in which units it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory, Stamp, Warn
from mlgle_lammps.formats.compressed import PACKED_SUFFIXES, own_suffix
from mlgle_lammps.formats.extended_xyz import is_extended_xyz, read_extended_xyz, xyz_stamps
from mlgle_lammps.formats.h5md_particles import h5md_stamps, h5md_units, is_hdf5, particle_group, read_h5md
from mlgle_lammps.formats.lammps_dump import dump_stamps, dump_units, is_dump, read_dump
from mlgle_lammps.formats.lammps_yaml import is_yaml_dump, read_yaml_dump, yaml_stamps, yaml_units
from mlgle_lammps.formats.mdanalysis import read_with_mdanalysis, stamps_with_mdanalysis, without_units
from mlgle_lammps.formats.netcdf import NetcdfTrajectory, is_netcdf
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import UNITS, Int64


def open_beads(path: Path, ids: Int64, options: TrajectoryOptions) -> BeadTrajectory:
    """Return the trajectory behind the reader that its content asks for.

    Args:
        path: the file.
        ids: (atom,) of the topology, in order.
        options: with units and group.

    Raises:
        UserError: missing, empty, damaged, or in other units than --units says.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    if is_hdf5(path) and path.suffix in (".h5", ".h5md", ".hdf5"):
        return _h5md(path, ids, options)
    if options.group is not None:
        raise UserError(f"`group` {options.group}: {path} is not H5MD and has no groups of particles")
    if is_dump(path):
        return _lammps(path, dump_units(path), partial(read_dump, path), partial(dump_stamps, path), options.units)
    if is_yaml_dump(path):
        return _lammps(path, yaml_units(path), partial(read_yaml_dump, path), partial(yaml_stamps, path), options.units)
    if is_netcdf(path):
        netcdf = NetcdfTrajectory(path, options.units)
        return BeadTrajectory(
            path,
            lambda warn: netcdf.frames(ids),
            netcdf.units,
            netcdf.time_unit,
            netcdf.length_unit,
            netcdf.stamps,
        )
    if is_extended_xyz(path):
        names = UNITS.get(options.units, ("time", "length"))
        note = _unit_note(path, options.units)
        return BeadTrajectory(
            path, partial(read_extended_xyz, path, ids), options.units, *names, partial(xyz_stamps, path), note
        )
    if path.suffix.lower() in PACKED_SUFFIXES and own_suffix(path) not in (".xyz", ".pdb", ".gro"):
        raise UserError(
            f"{path} holds neither a LAMMPS dump nor extended XYZ: unpack it, for other formats are read unpacked"
        )
    return _others(path, ids, options.units)


def _unit_note(path: Path, given: str) -> tuple[str, ...]:
    """Return a note for a format without units where --units does not say either what the numbers mean."""
    if given != "unknown":
        return ()
    return (f"{path} does not say its units, and --units was not given: D is in its own length and time",)


def _lammps(
    path: Path,
    told: str,
    frames: Callable[[Warn], Iterator[BeadFrame]],
    stamps: Callable[[], Iterable[Stamp]],
    units: str,
) -> BeadTrajectory:
    if told in UNITS and units not in ("unknown", told):
        raise UserError(f"{path} is in units {told}, `units` says {units}: leave that option out")
    units = told if told in UNITS else units
    return BeadTrajectory(path, frames, units, *UNITS.get(units, ("time", "length")), stamps)


def _h5md(path: Path, ids: Int64, options: TrajectoryOptions) -> BeadTrajectory:
    group, note = particle_group(path, options.group, len(ids))
    names = ("time", "length")
    known, units = h5md_units(path, group), options.units
    for name, wanted in zip(known, UNITS.get(units, known), strict=True):
        if name and name != wanted:
            raise UserError(f"{path} is in {name}, `units` {units} means {wanted}: leave that option out")
    time_unit, length_unit = (a or b for a, b in zip(known, UNITS.get(units, names), strict=True))
    return BeadTrajectory(
        path,
        lambda warn: read_h5md(path, ids, group),
        units,
        time_unit,
        length_unit,
        lambda: h5md_stamps(path, ids, group),
        (note,) if note else (),
    )


def _others(path: Path, ids: Int64, units: str) -> BeadTrajectory:
    unitless = without_units(path)
    time_unit, length_unit = UNITS.get(units, ("time", "length") if unitless else ("ps", "Angstrom"))
    return BeadTrajectory(
        path,
        lambda warn: read_with_mdanalysis(path, ids, units, time_unit, length_unit),
        units,
        time_unit,
        length_unit,
        lambda: stamps_with_mdanalysis(path, ids, units, time_unit),
        _unit_note(path, units) if unitless else (),
    )
