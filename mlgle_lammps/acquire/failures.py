"""What goes wrong on MD ranks, raised on all of them together, or told as what one rank alone knows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.frame_taker import FrameTaker
from mlgle_lammps.errors import RunFailure, UserError, one_line


class LostRank(RunFailure):
    """This rank failed and the other MD ranks do not know: they hang until somebody aborts."""


class Failures:
    """Turns failures of LAMMPS and of the frames into ours; made on every MD rank.

    Args:
        deck: the deck's path.
        world: the ranks.
        taker: keeps what went wrong inside the run.
    """

    def __init__(self, deck: Path, world: mpi.World, taker: FrameTaker) -> None:
        self._deck, self._world, self._comm, self._taker = deck, world, world.md_comm, taker

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn LAMMPS's exceptions into ours; what a rank has kept comes first, where all ranks can hear of it."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if mpi.failed_together(error):
                self.raise_kept()
            self._refuse(error)

    def raise_kept(self) -> None:
        """Raise on all ranks what any rank kept from inside the run."""
        error = self._taker.error
        kept = None if error is None else (type(error), one_line(error))
        told = self._comm.allgather((self._taker.n_frames, kept))
        self._taker.n_frames = told[0][0]  # of the first MD rank, which alone knows whether the last one came about
        found = next((entry for _, entry in told if entry), None)
        if found is None:
            return
        kind, message = found
        if issubclass(kind, UserError):
            message = f"{self._deck}: {message}"
        else:
            message = f"{kind.__name__} while taking a frame: {message}"
        early = self._taker.n_frames == 0 and issubclass(kind, UserError)
        raise (UserError if early else RunFailure)(message) from error

    def complaint(self, error: Exception) -> str:
        """Return what LAMMPS complains of, in one line."""
        message = mpi.lammps_message(error)
        if self._world.size > 1 and "rocessors" in message:
            message += f"; MD has {self._comm.size} of the {self._world.size} ranks, the last one learns"
        return message

    def _refuse(self, error: Exception) -> NoReturn:
        message = f"{self._deck}: {self.complaint(error)}"
        if mpi.failed_alone(error) or (self._comm.size > 1 and not mpi.failed_together(error)):
            kept = self._taker.error
            raise LostRank(message if kept is None else f"{message}; before that: {one_line(kept)}") from error
        raise (UserError if self._taker.n_frames == 0 else RunFailure)(message) from error
