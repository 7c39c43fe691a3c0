"""Signals and faults of a run: what ends it early, and how all ranks end where one of them fails."""

from __future__ import annotations

import os
import threading
import time
import traceback
from types import TracebackType

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.driver import INTERRUPTED_EARLY
from mlgle_lammps.commands.rank import Rank, complain
from mlgle_lammps.options.declaring import as_flags

SAVE_SECONDS = 8.0  # for partial results, once a rank failed alone
ABORT_SECONDS = 9.0  # after which the failed rank ends the run itself
ENDED_BY_LAMMPS = (
    "LAMMPS ended the program: by an error that log.lammps tells, where LAMMPS was built without exceptions, or by a "
    "'quit' that the deck's text does not show"
)


class Faults:
    """Ends a rank's run early."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    def hurry(self) -> None:
        """Have the learning finish soon; may be called from a signal handler."""
        if self._rank.inbox is not None:
            self._rank.inbox.hurry()

    def end_preparation(self) -> None:
        """End what comes before production: there is no callback yet that could."""
        rank = self._rank
        if rank.driver is None or rank.driver.producing or rank.resumption is not None:
            return
        if rank.world.md_comm.size == 1:
            rank.driver.skip_runs()
            timer = threading.Timer(SAVE_SECONDS, self._end_reading)
            timer.daemon = True
            timer.start()
        elif rank.world.leads_md:
            self.fail_alone(INTERRUPTED_EARLY, 1)

    def _end_reading(self) -> None:
        """End the program where the deck still goes on, in a loop that only a run would end."""
        if self._rank.driver is not None and self._rank.driver.reading:
            self.fail_alone(INTERRUPTED_EARLY, 1)

    def launcher_died(self) -> None:
        """End this rank soon: nobody else would end the ranks together now."""
        complain("the MPI launcher has died")
        time.sleep(SAVE_SECONDS)
        os._exit(1)

    def on_unforeseen(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        """End all ranks when this one fails by an exception that nobody expected."""
        if os.environ.get("MLGLE_DEBUG") == "1":
            traceback.print_exception(kind, error, where)
        self.fail_alone(f"{kind.__name__} on rank {self._rank.world.rank}: {error}", 1)

    def on_finalize(self) -> None:
        """End all ranks where MPI is finalized before the run is finished."""
        if not self._rank.finished:
            self.fail_alone(ENDED_BY_LAMMPS, 1)

    def fail_alone(self, message: str, code: int) -> None:
        """Say what happened, let the trainer save what there is, and end all ranks."""
        rank = self._rank
        if rank.finished:
            return
        rank.finished = True
        complain(message)
        until = time.monotonic() + ABORT_SECONDS
        if rank.outbox is not None:
            rank.outbox.fail(as_flags(message), code, alone=rank.world.size > 1)
            rank.outbox.flush(1.0)
            while time.monotonic() < until and (rank.learning is None or rank.learning.is_alive()):
                time.sleep(0.05)
        rank.world.abort(code)


def abort_soon(world: mpi.World) -> None:
    """Abort from the trainer, once it had time to save."""
    timer = threading.Timer(SAVE_SECONDS, world.abort, args=(1,))
    timer.daemon = True
    timer.start()
