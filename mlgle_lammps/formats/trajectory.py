"""Trajectory files as recordings: chains from the topology, beads unwrapped, the same modes as a live run's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.modes import LocalModeSum, component_variances
from mlgle_lammps.chains.topology import MASS_TOLERANCE, Chains, find_chains, keep_group, limit_modes
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory
from mlgle_lammps.formats.even_frames import even_frames, stride_and_dt
from mlgle_lammps.formats.h5md_particles import h5md_units, is_hdf5, read_h5md
from mlgle_lammps.formats.lammps_dump import dump_units, is_dump, read_dump
from mlgle_lammps.formats.mdanalysis import Topology, read_topology, read_with_mdanalysis
from mlgle_lammps.formats.tensor import open_mode_tensor
from mlgle_lammps.formats.unwrap import Unwrapper
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import UNITS, Float64, Frames, Int64, System
from mlgle_lammps.store.recording import Recording

BLOCK_FRAMES = 32


def open_trajectory(path: Path, options: TrajectoryOptions, n_modes: int) -> Recording:
    """Return the trajectory at ``path`` as a recording, after reading its topology and first frames.

    Frames are read, unwrapped and transformed one at a time. A repeated step is left out, and a gap of missing frames
    begins a new segment, each with a warning.

    Args:
        path: LAMMPS text dump, H5MD, or whatever MDAnalysis reads.
        options: with the topology.
        n_modes: k wanted; lowered with a note where the chains have fewer.

    Raises:
        UserError: not readable, no chains, no Δt, uneven frames, a box that changes, or beads that could only be
            unwrapped by guessing.
    """
    if options.topology is None:
        raise UserError(f"{path} is a trajectory: name its LAMMPS data file (or another topology) with --topology")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    topology = read_topology(options.topology, options.select)
    chains = _chains(topology, options)
    k, lowered = limit_modes(n_modes, chains.ids.shape[1])
    trajectory = _open_beads(path, topology.ids, options.units)
    first = list(islice(even_frames(trajectory, options, lambda line: None), 2))
    if len(first) < 2:
        raise UserError(f"{path} holds {len(first)} frame after --skip {options.skip}; a stream needs more")
    steps, dt = stride_and_dt(path, first, options)
    start, one = _Snapshot(path, chains, chains.ids.shape[1] - 1, options.unwrapped), first[0].frame
    variances = component_variances(start(first[0].number, one)[:, 1:])
    notes = (*chains.notes, *lowered, *_mass_note(topology, chains.ids))
    system = System(
        n_chains=chains.ids.shape[0],
        n_beads=chains.ids.shape[1],
        n_modes=k,
        dt=dt * options.stride,
        every=steps * options.stride,
        units=trajectory.units,
        time_unit=trajectory.time_unit,
        length_unit=trajectory.length_unit,
        source=str(path),
        notes=(*notes, start.unwrap.assumption) if start.unwrap.assumption else notes,
        box=_box(one.cell),
        mode_variances=variances,
    )
    reader = _TrajectoryReader(trajectory, chains, k, options, one.step or 0, steps)
    return Recording(path, system, reader.read, lambda: tuple(reader.warnings))


def open_tensor(path: Path, options: TrajectoryOptions) -> Recording:
    """Return a torch file of modes (time, chain, mode 0..k, 3), mode 0 the centre of mass, as a recording.

    Raises:
        UserError: no --dt, or not a plain tensor of that shape.
    """
    if options.dt is None:
        raise UserError(f"{path} does not say the time between two frames: give it with --dt")
    tensor = open_mode_tensor(path)[options.skip :: options.stride]
    time_unit, length_unit = UNITS.get(options.units, ("time", "length"))
    n_frames, n_chains, n_modes = tensor.shape[0], tensor.shape[1], tensor.shape[2] - 1
    system = System(
        n_chains=n_chains, n_beads=None, n_modes=n_modes, dt=options.dt * options.stride, units=options.units,
        time_unit=time_unit, length_unit=length_unit, source=str(path),
    )  # fmt: skip

    def read() -> Iterator[Frames]:
        for start in range(0, n_frames, BLOCK_FRAMES):
            block = np.asarray(tensor[start : start + BLOCK_FRAMES])
            steps = np.arange(start, start + len(block), dtype=np.int64)
            yield Frames.of_chains(
                steps, np.zeros_like(steps), block[:, :, 0].astype(float), block[:, :, 1:].astype(np.float32)
            )

    return Recording(path, system, read)


def _chains(topology: Topology, options: TrajectoryOptions) -> Chains:
    bonds = topology.bonds
    if topology.selected is not None:
        bonds = keep_group(bonds, topology.selected, options.select or "", "--select")
    molecule_of = topology.molecules.__getitem__ if topology.molecules else None
    chains = find_chains(bonds, molecule_of=molecule_of, option="--select")
    if len(chains.ids) < 2:
        raise UserError(f"{options.topology} has 1 chain: at least 2 are needed")
    return chains


def _mass_note(topology: Topology, ids: Int64) -> tuple[str, ...]:
    """Return a note where masses along the chains differ."""
    if topology.masses is None:
        return ()
    found = topology.masses[np.isin(topology.ids, ids)]
    if np.ptp(found) <= MASS_TOLERANCE * found.max():
        return ()
    return (
        f"masses in the chains differ ({found.min():g} to {found.max():g}): "
        "mode 0 is the centroid, not the centre of mass",
    )


def _open_beads(path: Path, ids: Int64, units: str) -> BeadTrajectory:
    """Return the trajectory behind the one of the three readers that its content asks for."""
    if is_dump(path):
        told = dump_units(path)
        if told in UNITS and units not in ("unknown", told):
            raise UserError(f"{path} is in units {told}, --units says {units}: leave that option out")
        units = told if told in UNITS else units
        return BeadTrajectory(path, lambda warn: read_dump(path, warn), units, *UNITS.get(units, ("time", "length")))
    if is_hdf5(path) and path.suffix in (".h5", ".h5md", ".hdf5"):
        names = ("time", "length")
        known = h5md_units(path)
        for name, wanted in zip(known, UNITS.get(units, known), strict=True):
            if name and name != wanted:
                raise UserError(f"{path} is in {name}, --units {units} means {wanted}: leave that option out")
        time_unit, length_unit = (a or b for a, b in zip(known, UNITS.get(units, names), strict=True))
        return BeadTrajectory(path, lambda warn: read_h5md(path, ids), units, time_unit, length_unit)
    in_file = ("time", "length") if path.suffix == ".dcd" else ("ps", "Angstrom")
    time_unit, length_unit = UNITS.get(units, in_file)
    return BeadTrajectory(
        path, lambda warn: read_with_mdanalysis(path, ids, units, time_unit, length_unit), units, time_unit, length_unit
    )


def _box(cell: Float64 | None) -> tuple[float, ...] | None:
    """Return lx, ly, lz, xy, xz, yz of a fully periodic box, else None."""
    if cell is None or not cell.any(axis=1).all():
        return None
    return tuple(float(cell[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1)))


class _Snapshot:
    """Turns frames into modes; holds what unwrapping needs from frame to frame."""

    def __init__(self, path: Path, chains: Chains, n_modes: int, trusted: bool) -> None:
        self._path = path
        self._sum = LocalModeSum(chains.ids, n_modes)
        self.unwrap = Unwrapper(path, len(chains.ids), trusted)

    def __call__(self, number: int, frame: BeadFrame) -> Float64:
        """Return z_0..z_k, (chain, k+1, 3)."""
        slots = self._sum.slots(frame.ids)
        found = np.bincount(slots[slots >= 0], minlength=self._sum.n_slots)
        if len(found) != self._sum.n_slots or not (found == 1).all():
            raise UserError(
                f"{self._path}: frame {number} has {np.count_nonzero(found)} of the chains' {self._sum.n_slots} beads"
                f"{', some twice' if (found > 1).any() else ''}: trajectory and topology do not belong together"
            )
        finite = np.isfinite(frame.positions).all(axis=1) | (slots < 0)
        if not finite.all():
            atom = frame.ids[np.argmin(finite)]
            raise UserError(f"{self._path}: frame {number}: the position of atom {atom} is not a finite number")
        return self._sum(slots[slots >= 0], self.unwrap(number, frame, slots))


class _TrajectoryReader:
    """Reads a trajectory as blocks of modes, as often as asked."""

    def __init__(
        self,
        trajectory: BeadTrajectory,
        chains: Chains,
        n_modes: int,
        options: TrajectoryOptions,
        first_step: int,
        steps: int,
    ) -> None:
        self._trajectory, self._chains, self._n_modes, self._options = trajectory, chains, n_modes, options
        self._first_step, self._steps = first_step, steps
        self.warnings: list[str] = []

    def read(self) -> Iterator[Frames]:
        """Yield blocks of frames in order."""
        path, self.warnings = self._trajectory.path, []
        snapshot = _Snapshot(path, self._chains, self._n_modes, self._options.unwrapped)
        kept: list[tuple[int, int, Float64]] = []
        segment = begin = 0
        for placed in even_frames(self._trajectory, self._options, self.warnings.append):
            if placed.segment != segment:
                segment, begin = placed.segment, placed.place
                snapshot.unwrap.new_piece()
            modes = snapshot(placed.number, placed.frame)
            if (placed.place - begin) % self._options.stride == 0:
                kept.append((placed.place, segment, modes))
            if len(kept) == BLOCK_FRAMES:
                yield self._chunk(kept)
                kept = []
        if kept:
            yield self._chunk(kept)
        if snapshot.unwrap.assumption:
            self.warnings.append(
                f"{path}: the largest step of a chain's centre between two frames was "
                f"{snapshot.unwrap.largest_step:.3f} of the box (nearest image taken; refused beyond a quarter)"
            )

    def _chunk(self, kept: list[tuple[int, int, Float64]]) -> Frames:
        places, segments, modes = zip(*kept, strict=True)
        stacked = np.stack(modes)
        return Frames.of_chains(
            steps=self._first_step + self._steps * np.array(places, dtype=np.int64),
            segments=np.array(segments, dtype=np.int64),
            com=stacked[:, :, 0].copy(),
            modes=stacked[:, :, 1:].astype(np.float32),
        )
