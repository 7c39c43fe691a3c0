"""Trajectory files as recordings: chains from the topology, beads unwrapped, the same modes as a live run's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.modes import LocalModeSum, component_variances
from mlgle_lammps.chains.molecules import centres_of_mass
from mlgle_lammps.chains.topology import Chains, find_chains, keep_group, limit_modes
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory
from mlgle_lammps.formats.frame_plan import FramePlan, plan_frames
from mlgle_lammps.formats.one_run import join_runs
from mlgle_lammps.formats.readers import open_beads
from mlgle_lammps.formats.side_places import SidePlaces
from mlgle_lammps.formats.single_frames import join_single_frames
from mlgle_lammps.formats.tensor import open_mode_tensor
from mlgle_lammps.formats.topology import Topology, read_topology
from mlgle_lammps.formats.unwrap import Unwrapper
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import UNITS, Float64, Frames, System
from mlgle_lammps.store.recording import Recording

BLOCK_FRAMES = 32


def open_trajectory(path: Path, options: TrajectoryOptions, n_modes: int, needed: int = 2) -> Recording:
    """Return the trajectory at ``path`` as a recording, after reading its topology, all steps and its first frame.

    Frames are read, unwrapped and transformed one at a time. A repeated step is left out, and a gap of missing frames
    begins a new segment, each with a warning.

    Args:
        path: LAMMPS dump (text or YAML), H5MD, NetCDF, extended XYZ, or whatever MDAnalysis reads.
        options: with the topology.
        n_modes: k wanted; lowered with a note where the chains have fewer.
        needed: frames that an uninterrupted piece must have to be of use.

    Raises:
        UserError: not readable, no chains, no Δt, no evenly spaced piece of that length, or beads that could only be
            unwrapped by guessing.
    """
    return open_trajectories([path], options, n_modes, needed)[0]


def open_trajectories(
    paths: Sequence[Path], options: TrajectoryOptions, n_modes: int, needed: int = 2
) -> list[Recording]:
    """Return trajectories as recordings; files of one frame each, and parts of one run, are one trajectory together.

    Args:
        paths: as for `open_trajectory`.
        options: with the topology.
        n_modes: k wanted.
        needed: frames that an uninterrupted piece must have to be of use.

    Raises:
        UserError: as of `open_trajectory`.
    """
    topology = _topology(paths[0], options)
    opened = join_single_frames([open_beads(path, topology.ids, options) for path in paths])
    chains = _chains(topology, options)
    runs = join_runs(opened, chains.ids) if len(opened) > 1 else opened
    return [_opened(trajectory, topology, chains, options, n_modes, needed) for trajectory in runs]


def _topology(path: Path, options: TrajectoryOptions) -> Topology:
    if options.topology is None:
        raise UserError(f"{path} is a trajectory: name its LAMMPS data file (or another topology) with --topology")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    return read_topology(options.topology, options.select)


def _opened(
    trajectory: BeadTrajectory,
    topology: Topology,
    chains: Chains,
    options: TrajectoryOptions,
    n_modes: int,
    needed: int,
) -> Recording:
    path = trajectory.path
    plan = plan_frames(trajectory, options, needed)
    first = next(plan.placed(trajectory.frames(lambda line: None), lambda line: None))
    chains, remarks = _without_side_atoms(chains, topology, first.frame)
    k, lowered = limit_modes(n_modes, chains.ids.shape[1])
    start = _Snapshot(path, chains, chains.ids.shape[1] - 1, options.unwrapped)
    variances = component_variances(start(first.number, first.frame)[:, 1:])
    centres = () if chains.centres is None else chains.centres.notes
    notes = (*chains.notes, *centres, *lowered, *trajectory.notes)
    system = System(
        n_chains=chains.ids.shape[0],
        n_beads=chains.ids.shape[1],
        n_modes=k,
        dt=plan.dt * options.stride,
        every=plan.steps * options.stride,
        units=trajectory.units,
        time_unit=trajectory.time_unit,
        length_unit=trajectory.length_unit,
        source=str(path),
        notes=(*notes, start.unwrap.assumption) if start.unwrap.assumption else notes,
        box=_box(first.frame.cell),
        mode_variances=variances,
        whole_molecules=chains.centres is not None,
        ends_alike=chains.ends_alike,
        left_out=chains.left_out,
    )
    reader = _TrajectoryReader(trajectory, chains, k, options, plan, remarks)
    return Recording(path, system, reader.read, reader.warnings)


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
    types_of = None if topology.types is None else topology.types_of
    chains = find_chains(bonds, molecule_of=molecule_of, option="--select", types_of=types_of)
    if len(chains.ids) < 2:
        raise UserError(f"{options.topology} has 1 chain: at least 2 are needed")
    centres = centres_of_mass(chains.ids, topology.bonds, topology.masses_of)
    notes = chains.notes
    if topology.masses_of(chains.ids) is None:
        notes += ("the topology has no masses: the centre of mass is taken for that of beads of equal mass",)
    return replace(chains, notes=notes, centres=centres)


def _without_side_atoms(chains: Chains, topology: Topology, frame: BeadFrame) -> tuple[Chains, tuple[str, ...]]:
    """Return the chains, and a warning where a trajectory of backbones only leaves no way to the molecules' centres."""
    side = () if chains.centres is None else chains.centres.side.ids
    if not len(side) or np.isin(side, frame.ids).any():
        return chains, ()
    centres = centres_of_mass(chains.ids, np.empty((0, 2), dtype=np.int64), topology.masses_of)
    return replace(chains, centres=centres), (
        f"the {len(side)} atoms of the molecules beside the backbones are not in the trajectory: D is that of the "
        "backbones' centres, which move otherwise than the molecules' (dump all atoms)",
    )


def _box(cell: Float64 | None) -> tuple[float, ...] | None:
    """Return lx, ly, lz, xy, xz, yz of a fully periodic box with a along x and b in the xy plane, else None."""
    if cell is None or not cell.any(axis=1).all() or np.triu(cell, 1).any():
        return None
    return tuple(float(cell[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1)))


class _Snapshot:
    """Turns frames into modes; holds what unwrapping needs from frame to frame."""

    def __init__(self, path: Path, chains: Chains, n_modes: int, trusted: bool) -> None:
        self._path, self._n_beads = path, chains.ids.size
        self._sum = LocalModeSum(chains.ids, n_modes, chains.centres)
        self.unwrap = Unwrapper(path, len(chains.ids), trusted)
        side = None if chains.centres is None else chains.centres.side
        self._side = SidePlaces(path, side, self._n_beads, trusted) if side is not None and len(side.ids) else None

    def __call__(self, number: int, frame: BeadFrame) -> Float64:
        """Return centres and z_1..z_k, (chain, k+1, 3)."""
        slots = self._sum.slots(frame.ids)
        inside = slots >= 0
        found = np.bincount(slots[inside], minlength=self._sum.n_slots)
        if len(found) != self._sum.n_slots or not (found == 1).all():
            what = "chains' {} beads" if self._side is None else "molecules' {} atoms"
            raise UserError(
                f"{self._path}: frame {number} has {np.count_nonzero(found)} of the {what.format(self._sum.n_slots)}"
                f"{', some twice' if (found > 1).any() else ''}: trajectory and topology do not belong together"
            )
        finite = np.isfinite(frame.positions).all(axis=1) | ~inside
        if not finite.all():
            atom = frame.ids[np.argmin(finite)]
            raise UserError(f"{self._path}: frame {number}: the position of atom {atom} is not a finite number")
        if self._side is None:
            return self._sum(slots[inside], self.unwrap(number, frame, slots))
        beads = np.where(slots < self._n_beads, slots, -1)
        stored, placed = np.empty((2, self._sum.n_slots, 3))
        stored[slots[inside]] = frame.positions[inside]
        placed[beads[beads >= 0]] = self.unwrap(number, frame, beads)
        self._side(number, frame, stored, placed)
        return self._sum(np.arange(self._sum.n_slots), placed)


class _TrajectoryReader:
    """Reads a trajectory as blocks of modes, as often as asked."""

    def __init__(
        self,
        trajectory: BeadTrajectory,
        chains: Chains,
        n_modes: int,
        options: TrajectoryOptions,
        plan: FramePlan,
        remarks: tuple[str, ...],
    ) -> None:
        self._remarks = remarks
        self._trajectory, self._chains, self._n_modes, self._options = trajectory, chains, n_modes, options
        self._plan, self._first_step, self._steps = plan, plan.first_step, plan.steps
        self._told: list[str] = []
        self._snapshot: _Snapshot | None = None

    def warnings(self) -> tuple[str, ...]:
        """Return what was found so far, also where reading ends before the file does."""
        told = (*self._remarks, *self._trajectory.warnings, *self._told)
        return (*told, *(() if self._snapshot is None else self._snapshot.unwrap.remarks()))

    def read(self) -> Iterator[Frames]:
        """Yield blocks of frames in order."""
        self._told = []
        warn = self._told.append
        snapshot = _Snapshot(self._trajectory.path, self._chains, self._n_modes, self._options.unwrapped)
        self._snapshot = snapshot
        kept: list[tuple[int, int, Float64]] = []
        segment = begin = 0
        for placed in self._plan.placed(self._trajectory.frames(warn), warn):
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

    def _chunk(self, kept: list[tuple[int, int, Float64]]) -> Frames:
        places, segments, modes = zip(*kept, strict=True)
        stacked = np.stack(modes)
        return Frames.of_chains(
            steps=self._first_step + self._steps * np.array(places, dtype=np.int64),
            segments=np.array(segments, dtype=np.int64),
            com=stacked[:, :, 0].copy(),
            modes=stacked[:, :, 1:].astype(np.float32),
        )
