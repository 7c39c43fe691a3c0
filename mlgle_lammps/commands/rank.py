"""What one rank of a run has: its place among the ranks, what it was asked for, its ends of the stream."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.driver import Driver
from mlgle_lammps.acquire.resumption import Resumption
from mlgle_lammps.errors import one_line
from mlgle_lammps.options.deck import RunRequest
from mlgle_lammps.options.declaring import as_flags
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.stream.links import RankLink, ThreadLink
from mlgle_lammps.stream.transport import Inbox, Outbox


@dataclass
class Rank:
    """One rank of a run, and what it has come to so far.

    Attributes:
        world: the ranks.
        request: what the command asks for.
        arguments: the command's own words.
        outbox: where MD's frames go; None on a rank that only learns.
        inbox: where they come out; None on a rank that only does MD.
        folder: the result folder, where this rank learns.
        resumption: where an earlier run goes on.
        driver: of LAMMPS, once there is one.
        learning: the thread that learns beside MD in a single process.
        finished: all is done or given up: nothing that comes now is a failure of the run.
    """

    world: mpi.World
    request: RunRequest
    arguments: tuple[str, ...]
    outbox: Outbox | None = None
    inbox: Inbox | None = None
    folder: RunFolder | None = None
    resumption: Resumption | None = None
    driver: Driver | None = None
    learning: threading.Thread | None = None
    finished: bool = False

    def connect(self, on_alone: Callable[[str], None]) -> None:
        """Make the ends of the stream that this rank has; ``on_alone`` hears of a rank that failed alone."""
        world = self.world
        if world.size == 1:
            md_side, trainer_side = ThreadLink.pair()
            self.outbox, self.inbox = Outbox(md_side), Inbox(trainer_side)
        elif world.trains:
            self.inbox = Inbox(RankLink(world.stream_comm, 0), on_alone)
        else:
            self.outbox = Outbox(RankLink(world.stream_comm, world.trainer))


def complain(error: object) -> None:
    """Print one line on stderr."""
    print(f"mlgle run: error: {as_flags(one_line(error))}", file=sys.stderr, flush=True)
    if os.environ.get("MLGLE_DEBUG") == "1" and isinstance(error, BaseException):
        traceback.print_exception(error)
