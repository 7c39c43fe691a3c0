"""Texts that LAMMPS reads as files, as ``lmp -in`` does: only then do ``jump`` and ``label`` do there what they should.

LAMMPS's library also takes commands as a string, but skips a ``jump FILE`` there without a word, and refuses one with a
label.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from mlgle_lammps.acquire.flow import labels_only
from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.errors import RunFailure, one_line
from mlgle_lammps.stream.communicator import Communicator

PATIENCE = 2.0
"""Seconds that a deck has for what follows its last run; a loop that only a run would end comes to no end by itself."""


class DeckFiles:
    """Has LAMMPS read a deck's texts; all methods but ``end_soon`` are collective over the MD ranks.

    Args:
        lmp: the LAMMPS instance.
        comm: communicator of the MD ranks; the first one reads files, for all.
        folder: where the files lie meanwhile, None for one of their own.

    Attributes:
        cut: a loop of the deck was ended from outside.
    """

    def __init__(self, lmp: Lammps, comm: Communicator, folder: Path | None) -> None:
        self._lmp, self._comm, self._folder = lmp, comm, folder
        self._reading: tuple[Path, str] | None = None
        self._timer: Timer | None = None
        self.cut = False

    def run(self, name: str, text: str, others: tuple[tuple[str, str], ...] = ()) -> None:
        """Have LAMMPS read a text as a file.

        Args:
            name: of the file.
            text: its content.
            others: (name, text) of further files that it jumps to, in the same folder.

        Raises:
            RunFailure: the file cannot be written.
            Exception: LAMMPS's own.
        """
        with contextlib.ExitStack() as stack:
            path, error = "", ""  # absolute: a deck may change the working directory
            if self._comm.rank == 0:
                try:
                    folder = (self._folder or Path(stack.enter_context(_own_folder()))).absolute()
                    for other in others:
                        stack.enter_context(_written(folder / other[0], other[1]))
                    path = str(stack.enter_context(_written(folder / name, text)))
                    self._reading = Path(path), text
                except OSError as problem:
                    error = f"cannot write {problem.filename or name}: {problem.strerror or one_line(problem)}"
            path, error = self._comm.bcast((path, error), root=0)
            if error:
                raise RunFailure(error)
            try:
                self._lmp.file(path)
            finally:
                self._reading = None
                if self._timer is not None:
                    self._timer.cancel()

    def end_soon(self) -> None:
        """Let the file that is being read come to its end, also where it jumps back for ever; runs are skipped by now.

        A file longer than what the C library keeps of it is read again at each jump (`flow.PADDING`).
        """
        if self._reading is not None and self._timer is None:
            self._timer = Timer(PATIENCE, self._cut, self._reading)
            self._timer.daemon = True
            self._timer.start()

    def _cut(self, path: Path, text: str) -> None:
        """Overwrite all commands by blanks, with the labels at both ends: wherever LAMMPS reads on, nothing is left."""
        kept = labels_only(text).encode()
        with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
            length = file.seek(0, os.SEEK_END)
            file.write(b"\n" + kept)
            file.seek(0)
            file.write(kept.ljust(length))
            self.cut = True


def _own_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="mlgle-")


@contextlib.contextmanager
def _written(path: Path, text: str) -> Iterator[Path]:
    """Write a file, and remove it afterwards."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
