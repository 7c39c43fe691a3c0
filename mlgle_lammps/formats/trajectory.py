"""Trajectory files as recordings: chains from the topology, beads unwrapped, the same modes as a live run's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.bond_walk import BondWalk
from mlgle_lammps.chains.modes import component_variances
from mlgle_lammps.chains.molecule_sums import Block, MoleculeSums
from mlgle_lammps.chains.molecules import centres_of_mass
from mlgle_lammps.chains.topology import Chains, bonds_apart, find_chains, followed, keep_group, of_main
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
from mlgle_lammps.records import UNITS, Float64, Frames, Int64, System
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
    chains = chains_of(topology, options, n_modes)
    runs = join_runs(opened, chains.blocks[0]) if len(opened) > 1 else opened
    return [_opened(trajectory, topology, chains, options, needed) for trajectory in runs]


def _topology(path: Path, options: TrajectoryOptions) -> Topology:
    if options.topology is None:
        raise UserError(f"{path} is a trajectory: name its LAMMPS data file (or another topology) with `topology`")
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
    needed: int,
) -> Recording:
    plan = plan_frames(trajectory, options, needed)
    first = next(plan.placed(trajectory.frames(lambda line: None), lambda line: None))
    chains, remarks = those_there(chains, topology, first.frame)
    system = described(trajectory, chains, options, plan, first.number, first.frame)
    reader = _TrajectoryReader(trajectory, chains, options, plan, remarks)
    return Recording(trajectory.path, system, reader.read, reader.warnings)


def described(
    trajectory: BeadTrajectory,
    chains: Chains,
    options: TrajectoryOptions,
    plan: FramePlan,
    number: int,
    frame: BeadFrame,
) -> System:
    """Return what a stream of a trajectory's frames is about.

    Args:
        trajectory: for its units, notes and name.
        chains: that are in it.
        options: with --stride and --unwrapped.
        plan: with Δt.
        number: of a frame, for messages.
        frame: that frame; the box and the variances of all modes are its.
    """
    assert chains.main is not None
    species = chains.main.species
    whole = [replace(block, n_modes=block.ids.shape[1] - 1) for block in chains.main.blocks]
    start = Snapshots(trajectory.path, whole, options.unwrapped)
    sums = start(number, frame)
    notes = (*chains.notes, *trajectory.notes)
    return System(
        n_chains=species.n_molecules,
        n_beads=species.n_beads,
        n_modes=species.n_modes,
        dt=plan.dt * options.stride,
        every=plan.steps * options.stride,
        units=trajectory.units,
        time_unit=trajectory.time_unit,
        length_unit=trajectory.length_unit,
        source=str(trajectory.path),
        notes=(*notes, start.assumption) if start.assumption else notes,
        box=_box(frame.cell),
        mode_variances=component_variances(sums[0][:, 1:]) if len(sums) == 1 else None,
        whole_molecules=chains.centres is not None,
        ends_alike=chains.ends_alike,
        left_out=chains.left_out,
        others=tuple(own.species for own in chains.others),
        **of_main(chains),
    )


def open_tensor(path: Path, options: TrajectoryOptions) -> Recording:
    """Return a torch file of modes (time, chain, mode 0..k, 3), mode 0 the centre of mass, as a recording.

    Raises:
        UserError: no --dt, or not a plain tensor of that shape.
    """
    if options.dt is None:
        raise UserError(f"{path} does not say the time between two frames: give it with `dt`")
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


def chains_of(topology: Topology, options: TrajectoryOptions, n_modes: int) -> Chains:
    """Return the molecules of a topology; raise UserError where there are none of use."""
    bonds, rest = topology.bonds, None
    if topology.selected is not None:
        bonds = keep_group(bonds, topology.selected, options.select or "", "`select`")
        rest = bonds_apart(topology.bonds, bonds)
    molecule_of = topology.molecules.__getitem__ if topology.molecules else None
    types_of = None if topology.types is None else topology.types_of
    lone = np.setdiff1d(topology.ids, topology.bonds)
    try:
        chains = find_chains(
            bonds, molecule_of=molecule_of, option="`select`", types_of=types_of, rest=rest, lone=lone,
            pick=options.species, length_bin=options.length_bin,
        )  # fmt: skip
        chains = followed(chains, n_modes, topology.bonds, topology.masses_of, ("com", "modes"))
    except UserError as error:
        raise UserError(f"{options.topology}: {error}") from None
    notes = chains.notes
    if topology.masses_of(chains.ids) is None:
        notes += ("the topology has no masses: the centre of mass is taken for that of beads of equal mass",)
    return replace(chains, notes=notes)


def those_there(chains: Chains, topology: Topology, frame: BeadFrame) -> tuple[Chains, tuple[str, ...]]:
    """Return what of the molecules a trajectory holds, and warnings of what it lacks.

    Species that are not in it are left out; of the main species it may hold the backbones only.
    """
    assert chains.main is not None
    remarks: tuple[str, ...] = ()
    kept = tuple(own for own in chains.others if np.isin(_atoms(own.blocks), frame.ids).all())
    if gone := [own.species.name for own in chains.others if not any(own is other for other in kept)]:
        remarks += (f"not in the trajectory, and in none of the numbers: {', '.join(gone)}",)
    main = chains.main
    side = np.concatenate([block.side for block in main.blocks])
    if len(side) and not np.isin(side, frame.ids).any():
        none = np.empty((0, 2), dtype=np.int64)
        bare = tuple(
            replace(block, centres=centres_of_mass(block.ids, none, topology.masses_of)) for block in main.blocks
        )
        main = replace(main, blocks=bare)
        remarks += (
            f"the {len(side)} atoms of the molecules beside the backbones are not in the trajectory: D is that of the "
            "backbones' centres, which move otherwise than the molecules' (dump all atoms)",
        )
    return replace(chains, main=main, others=kept, centres=main.blocks[0].centres), remarks


def _atoms(blocks: Sequence[Block]) -> Int64:
    return np.concatenate([atoms for block in blocks for atoms in (block.ids.ravel(), block.side)])


def _box(cell: Float64 | None) -> tuple[float, ...] | None:
    """Return lx, ly, lz, xy, xz, yz of a fully periodic box with a along x and b in the xy plane, else None."""
    if cell is None or not cell.any(axis=1).all() or np.triu(cell, 1).any():
        return None
    return tuple(float(cell[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1)))


class Snapshots:
    """Turns frames into centres and modes; holds what unwrapping needs from frame to frame."""

    def __init__(self, path: Path, blocks: Sequence[Block], trusted: bool, beside: Sequence[str] = ()) -> None:
        self._path = path
        named = [*[""] * (len(blocks) - len(beside)), *beside]
        self._sum = MoleculeSums(blocks)
        self._any_side = any(len(block.side) for block in blocks)
        self._unwrap = [_BlockUnwrapper(path, block, trusted, name) for block, name in zip(blocks, named, strict=True)]

    @property
    def assumption(self) -> str:
        """One line where positions of the first block had to be unwrapped without image flags, else ""."""
        return self._unwrap[0].beads.assumption

    def new_piece(self) -> None:
        """Forget the frame before: what follows is another uninterrupted piece."""
        for own in self._unwrap:
            own.beads.new_piece()

    def remarks(self) -> tuple[str, ...]:
        """Return what was found so far about the box and the steps, one line each."""
        return tuple(dict.fromkeys(line for own in self._unwrap for line in own.beads.remarks()))

    def __call__(self, number: int, frame: BeadFrame) -> list[Float64]:
        """Return centres and z_1..z_k of each block, (molecule, k+1, 3)."""
        slots = self._sum.slots(frame.ids)
        inside = slots >= 0
        found = np.bincount(slots[inside], minlength=self._sum.n_slots)
        if len(found) != self._sum.n_slots or not (found == 1).all():
            what = "molecules' {} atoms" if self._any_side or len(self._unwrap) > 1 else "chains' {} beads"
            raise UserError(
                f"{self._path}: frame {number} has {np.count_nonzero(found)} of the {what.format(self._sum.n_slots)}"
                f"{', some twice' if (found > 1).any() else ''}: trajectory and topology do not belong together"
            )
        finite = np.isfinite(frame.positions).all(axis=1) | ~inside
        if not finite.all():
            atom = frame.ids[np.argmin(finite)]
            raise UserError(f"{self._path}: frame {number}: the position of atom {atom} is not a finite number")
        if len(self._unwrap) == 1:
            return self._sum.split(self._sum(*self._unwrap[0](number, frame, slots)))
        places, positions, first = [], [], 0
        for own in self._unwrap:
            mine = (slots >= first) & (slots < first + own.n_slots)
            of_block, unwrapped = own(number, frame, np.where(mine, slots - first, -1))
            places.append(of_block + first)
            positions.append(unwrapped)
            first += own.n_slots
        return self._sum.split(self._sum(np.concatenate(places), np.concatenate(positions)))


class _BlockUnwrapper:
    """Unwraps the atoms of one block.

    Attributes:
        n_slots: atoms that count.
        beads: unwraps its beads.
    """

    def __init__(self, path: Path, block: Block, trusted: bool, beside: str) -> None:
        self.n_slots, self._n_beads = block.n_slots, block.ids.size
        self.beads = Unwrapper(path, len(block.ids), trusted, BondWalk(block.ids.shape[1], block.edges), beside)
        side = None if block.centres is None else block.centres.side
        self._side = SidePlaces(path, side, self._n_beads, trusted) if side is not None and len(side.ids) else None

    def __call__(self, number: int, frame: BeadFrame, slots: Int64) -> tuple[Int64, Float64]:
        """Return the slots of the block's atoms and their unwrapped positions; -1 in ``slots`` for all others."""
        inside = slots >= 0
        if self._side is None:
            return slots[inside], self.beads(number, frame, slots)
        beads = np.where(slots < self._n_beads, slots, -1)
        stored, placed = np.empty((2, self.n_slots, 3))
        stored[slots[inside]] = frame.positions[inside]
        placed[beads[beads >= 0]] = self.beads(number, frame, beads)
        self._side(number, frame, stored, placed)
        return np.arange(self.n_slots), placed


class _TrajectoryReader:
    """Reads a trajectory as blocks of modes, as often as asked."""

    def __init__(
        self,
        trajectory: BeadTrajectory,
        chains: Chains,
        options: TrajectoryOptions,
        plan: FramePlan,
        remarks: tuple[str, ...],
    ) -> None:
        self._remarks = remarks
        self._trajectory, self._chains, self._options = trajectory, chains, options
        self._plan, self._first_step, self._steps = plan, plan.first_step, plan.steps
        self._told: list[str] = []
        self._snapshot: Snapshots | None = None

    def warnings(self) -> tuple[str, ...]:
        """Return what was found so far, also where reading ends before the file does."""
        told = (*self._remarks, *self._trajectory.warnings, *self._told)
        return (*told, *(() if self._snapshot is None else self._snapshot.remarks()))

    def read(self) -> Iterator[Frames]:
        """Yield blocks of frames in order."""
        self._told = []
        warn = self._told.append
        beside = [own.species.name for own in self._chains.others for _ in own.blocks]
        snapshot = Snapshots(self._trajectory.path, self._chains.blocks, self._options.unwrapped, beside)
        self._snapshot = snapshot
        kept: list[tuple[int, int, list[Float64]]] = []
        segment = begin = 0
        for placed in self._plan.placed(self._trajectory.frames(warn), warn):
            if placed.segment != segment:
                segment, begin = placed.segment, placed.place
                snapshot.new_piece()
            modes = snapshot(placed.number, placed.frame)
            if (placed.place - begin) % self._options.stride == 0:
                kept.append((placed.place, segment, modes))
            if len(kept) == BLOCK_FRAMES:
                yield self._chunk(kept)
                kept = []
        if kept:
            yield self._chunk(kept)

    def _chunk(self, kept: list[tuple[int, int, list[Float64]]]) -> Frames:
        places, segments, sums = zip(*kept, strict=True)
        channels = [self._chains.channels(own) for own in sums]
        return Frames(
            self._first_step + self._steps * np.array(places, dtype=np.int64),
            np.array(segments, dtype=np.int64),
            {
                name: {channel: np.concatenate([one[name][channel] for one in channels]) for channel in own}
                for name, own in channels[0].items()
            },
        )
