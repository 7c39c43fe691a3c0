"""A simulation elsewhere as a stream: frames read, unwrapped and turned into modes as they come."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from mlgle_lammps.chains.topology import Chains
from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory, Stamp
from mlgle_lammps.formats.clock import UNEVEN
from mlgle_lammps.formats.frame_plan import FramePlan, plan_frames
from mlgle_lammps.formats.imd import Address, ImdConnection
from mlgle_lammps.formats.topology import read_topology
from mlgle_lammps.formats.trajectory import Snapshots, chains_of, described, those_there
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import FEW_CHAINS, UNITS, Ending, Frames, System

WAITING = 4096
"""Frames (of modes) that wait for the learner at most; the simulation waits beyond."""
_PATIENCE = 0.1  # seconds between two looks at whether the other side still lives


def open_imd(address: Address, options: TrajectoryOptions, n_modes: int, limit: int | None = None) -> LiveStream:
    """Return the stream of a running simulation, after its first two frames.

    Frames are those of the server, in its units and its order of atoms (by id): positions in single precision.

    Args:
        address: of the server.
        options: with the topology; --skip, --stride, --dt, --timestep and --units mean what they mean for files.
        n_modes: k wanted; lowered with a note where the chains have fewer.
        limit: frames after which the connection is closed; None for as many as come.

    Raises:
        UserError: no server, no topology, one that does not fit, no time between frames, or positions that could only
            be unwrapped by guessing.
    """
    if options.topology is None:
        raise UserError(f"{address}: name the simulation's LAMMPS data file (or another topology) with `topology`")
    if options.group is not None:
        raise UserError(f"`group` {options.group}: {address} is not H5MD and has no groups of particles")
    topology = read_topology(options.topology, options.select)
    chains = chains_of(topology, options, n_modes)
    connection = ImdConnection(address, np.sort(topology.ids))
    try:
        frames = connection.frames()
        for _ in range(options.skip):
            next(frames, None)
        first, second = _two(address, connection, frames)
        stamps = [Stamp(frame.step, frame.time) for frame in (first, second)]
        names = UNITS.get(options.units, ("time", "length"))
        told = BeadTrajectory(address, lambda warn: iter(()), options.units, *names, notes=_notes(address, options))
        plan = plan_frames(told, replace(options, skip=0), stamps=stamps)
        chains, remarks = those_there(chains, topology, first)
        system = described(told, chains, options, plan, 0, first)
        if system.n_chains < 2:
            raise UserError(f"{address}: {FEW_CHAINS}")
    except BaseException:
        connection.close()
        raise
    modes = _Modes(address, chains, plan, options, remarks)
    return LiveStream(connection, itertools.chain((first, second), frames), modes, system, limit)


def _two(address: Address, connection: ImdConnection, frames: Iterator[BeadFrame]) -> tuple[BeadFrame, BeadFrame]:
    """Return the first frame and the next one that is not of the same step."""
    first = next(frames, None)
    for second in frames:
        if first is not None and (second.step is None or (second.step, second.time) != (first.step, first.time)):
            return first, second
    n = 0 if first is None else 1
    raise UserError(f"{address} {connection.told or 'ended'} after {n} frame{'s' * (n != 1)}; a stream needs more")


def _notes(address: Address, options: TrajectoryOptions) -> tuple[str, ...]:
    if options.units != "unknown":
        return ()
    return (
        f"{address} does not say its units, and --units was not given: D is in its own length and time (of LAMMPS's "
        "deck; Å and ps, which is --units metal, of GROMACS and NAMD)",
    )


class _Modes:
    """Turns frames into modes, with their places in the stream; counts what is missing or left out."""

    def __init__(
        self, address: Address, chains: Chains, plan: FramePlan, options: TrajectoryOptions, remarks: tuple[str, ...]
    ) -> None:
        beside = [own.species.name for own in chains.others for _ in own.blocks]
        self._snapshots = Snapshots(address, chains.blocks, options.unwrapped, beside)
        self._address, self._chains, self._plan, self._stride = address, chains, plan, options.stride
        self._remarks = (*plan.remarks, *remarks)
        self._gaps = self._left_out = 0

    def remarks(self) -> tuple[str, ...]:
        """Return what was found so far, one line each."""
        told = list(self._remarks)
        if self._gaps:
            told.append(f"{self._address}: frames are missing in {self._gaps} places; no lag or window reaches across")
        if self._left_out:
            told.append(f"{self._address}: {self._left_out} frames that repeat a step or are off the stride: left out")
        return (*told, *self._snapshots.remarks())

    def __call__(self, frames: Iterable[BeadFrame]) -> Iterator[Frames]:
        """Yield the frames of the stream."""
        last, segment, begin = -1, 0, 0
        for number, frame in enumerate(frames):
            place = self._place(number, frame)
            if place is None or place <= last:
                self._left_out += 1
                continue
            if place > last + 1:
                self._gaps += 1
                segment, begin = segment + 1, place
                self._snapshots.new_piece()
            last = place
            channels = self._chains.channels(self._snapshots(number, frame))
            if (place - begin) % self._stride == 0:
                step = self._plan.first_step + self._plan.steps * place
                yield Frames(np.array([step]), np.array([segment]), channels)

    def _place(self, number: int, frame: BeadFrame) -> int | None:
        """Return where a frame belongs, in strides from the first one; None where it is between two of these."""
        if frame.step is None:
            return number
        off = (frame.step - self._plan.first_step) / self._plan.steps
        return round(off) if abs(off - round(off)) <= UNEVEN else None


class LiveStream:
    """Frames of a running simulation, turned into modes by a thread of their own (a FrameSource). Iterate once.

    The thread reads on while the learner is busy, up to `WAITING` frames; then the simulation waits.
    """

    def __init__(
        self,
        connection: ImdConnection,
        frames: Iterable[BeadFrame],
        modes: _Modes,
        system: System,
        limit: int | None,
    ) -> None:
        self._connection, self._beads, self._modes = connection, frames, modes
        self._system, self._limit = system, limit
        self._queue: queue.Queue[Frames | UserError | None] = queue.Queue(WAITING)
        self._stopped = threading.Event()
        self._n_taken = self._last_step = 0
        self._server_ended = False
        self._fault = ""
        self._thread = threading.Thread(target=self._read, name="mlgle-imd", daemon=True)
        self._thread.start()

    @property
    def system(self) -> System:
        """What the frames are about."""
        return self._system

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames one by one as they come, until the server, or the limit, ends them.

        Raises:
            UserError: the first frame cannot be unwrapped; a later fault ends the stream, and the ending tells it.
        """
        while (taken := self._queue.get()) is not None:
            if isinstance(taken, UserError):
                if not self._n_taken:
                    raise taken
                self._fault = f"{taken}; the {self._n_taken} frames before that are kept"
                return
            self._n_taken += 1
            self._last_step = taken.last_step
            yield taken
        self._server_ended = bool(self._connection.told)

    def hand_off(self) -> None:
        """Hear that the model has its frames: whether more are wanted, the limit says."""

    def broken(self) -> bool:
        """Return False: where the server ends, what came is learned from."""
        return False

    def ending(self) -> Ending:
        """Close the connection and tell how the stream ended."""
        self._stopped.set()
        self._connection.close()
        self._thread.join(timeout=10.0)
        told = [*self._modes.remarks(), *([self._fault] if self._fault else [])]
        if self._server_ended:
            told.append(
                f"{self._system.source} {self._connection.told} after {self._n_taken} frames, at step "
                f"{self._last_step}; all that came are kept"
            )
        return Ending(step=self._last_step, warnings=tuple(told))

    def _read(self) -> None:
        """Read, unwrap and hand over, until the server ends or enough have come; then the simulation is let go."""
        end: UserError | None = None
        try:
            for frame in itertools.islice(self._modes(self._beads), self._limit):
                if not self._put(frame):
                    return
        except UserError as error:
            end = error
        except Exception as error:
            end = UserError(f"{self._system.source}: {type(error).__name__}: {one_line(error)}")
        self._connection.close()
        self._put(end)

    def _put(self, entry: Frames | UserError | None) -> bool:
        """Hand over, waiting for room; return False where nobody takes it any more."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(entry, timeout=_PATIENCE)
                return True
        return False
