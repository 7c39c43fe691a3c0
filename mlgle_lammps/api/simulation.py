"""The LAMMPS driver, stepped from Python: frame by frame, in lock-step with the program that takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Ending, Frames, System

_PATIENCE = 0.1  # seconds between two looks at whether the other thread still lives


class _Handover:
    """Passes one frame at a time to another thread and waits until it is taken (a FrameSink)."""

    handed_off = None
    waits = 0

    def __init__(self) -> None:
        self.told_to_stop = False
        self.about: queue.Queue[System] = queue.Queue()
        self._frames: queue.Queue[Frames] = queue.Queue(maxsize=1)
        self._wanted = threading.Semaphore(0)

    def hello(self, system: System) -> None:
        """Hear what the frames will be about: the simulation has told it already."""

    def listen(self) -> None:
        """Look whether the program has said something: ``told_to_stop`` says it."""

    def send(self, frame: Frames) -> None:
        """Pass one frame on; MD waits here until the next one is asked for."""
        self._frames.put(frame)
        while not self._wanted.acquire(timeout=_PATIENCE):
            if self.told_to_stop:
                return

    def take(self, worker: threading.Thread) -> Frames | None:
        """Return the next frame; None where the other thread has ended without one."""
        while True:
            try:
                return self._frames.get(timeout=_PATIENCE)
            except queue.Empty:
                if not worker.is_alive() and self._frames.empty():
                    return None

    def want(self) -> None:
        """Let MD go on."""
        self._wanted.release()


class Simulation:
    """A LAMMPS deck under way in this process, its frames taken one by one (a FrameSource, and a context manager).

        with Simulation("in.melt", every=400, n_modes=8, n_frames=500) as md:
            for frame in md:
                ...

    MD goes on only while the next frame is waited for, and its trajectory is bitwise that of plain LAMMPS. Leave the
    loop early, and MD ends there. One process does all: not for use under mpirun.

    Args:
        deck: LAMMPS input script, with '#mlgle production' where frames begin.
        every: Δt, MD steps between two frames.
        n_modes: k.
        n_frames: after which MD ends.
        variables: LAMMPS index variables by name, as -var gives them.
        chain_group: LAMMPS group of the backbone beads; None for all bonded ones.
        strict: refuse a system of which a part would be left out.
        log: LAMMPS's log file; None for none.

    Attributes:
        system: what the frames are about.

    Raises:
        UserError: LAMMPS refuses the deck, or it holds no usable chains.
    """

    def __init__(
        self,
        deck: str | Path,
        *,
        every: int,
        n_modes: int = 12,
        n_frames: int,
        variables: Mapping[str, str | float] | None = None,
        chain_group: str | None = None,
        strict: bool = False,
        log: str | Path | None = None,
    ) -> None:
        from mlgle_lammps.acquire import mpi
        from mlgle_lammps.acquire.deck import read_deck
        from mlgle_lammps.acquire.driver import Driver
        from mlgle_lammps.acquire.wanted import FramesWanted
        from mlgle_lammps.options.deck import DeckOptions

        given = tuple((name, (str(value),)) for name, value in (variables or {}).items())
        options = DeckOptions(Path(deck), given, every, chain_group, strict=strict)
        world = mpi.start()
        if world.size > 1:
            raise UserError(f"{deck}: a simulation in one process, and the launcher has started {world.size}")
        self._sink = _Handover()
        self._driver = Driver(
            world, read_deck(options.deck, given), options, FramesWanted(n_modes, n_frames), self._sink,
            None if log is None else Path(log),
        )  # fmt: skip
        try:
            self.system = self._driver.prepare()
        except BaseException:
            self._driver.close()
            raise
        self._ending: Ending | None = None
        self._failure: BaseException | None = None
        self._worker = threading.Thread(target=self._produce, name="mlgle-md", daemon=True)
        self._begun = False

    def _produce(self) -> None:
        try:
            self._ending = self._driver.produce()
        except BaseException as error:
            self._failure = error

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames one by one, where MD has come to them.

        Raises:
            RunFailure: MD failed.
        """
        while (frame := self.step()) is not None:
            yield frame

    def step(self) -> Frames | None:
        """Let MD go on to the next frame and return it; None where MD has ended.

        Raises:
            RunFailure: MD failed.
        """
        if not self._begun:
            self._begun = True
            self._worker.start()
        else:
            self._sink.want()
        frame = self._sink.take(self._worker)
        if frame is None and self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return frame

    def hand_off(self) -> None:
        """Hear that a model has its frames; MD goes on as long as frames are asked for."""

    def broken(self) -> bool:
        """Whether MD has failed."""
        return self._failure is not None

    def ending(self) -> Ending:
        """End MD where it has not ended, and tell how it did."""
        self._stop()
        if self._failure is not None:
            return Ending(status="failed", message=str(self._failure))
        return self._ending or Ending(status="interrupted", message="closed before the first frame")

    def _stop(self) -> None:
        self._sink.told_to_stop = True
        self._sink.want()
        if self._begun:
            self._worker.join()

    def close(self) -> None:
        """End MD and give back what LAMMPS holds."""
        self._stop()
        self._driver.close()

    def __enter__(self) -> Simulation:
        """Return the simulation."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
