"""LAMMPS text dumps (``dump atom``, ``dump custom``), also compressed, read in double precision with image flags.

MDAnalysis reads them in single precision, drops image flags of tilted boxes, and fails on ``dump_modify time yes``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame, Stamp, Warn
from mlgle_lammps.formats.compressed import UNREADABLE, open_text
from mlgle_lammps.formats.dump_columns import LARGEST_WHOLE, DumpBox, DumpColumns, bounded_box, general_box, large_ids
from mlgle_lammps.records import Float64, Int64

LONGEST_LINE = 2**16
TITLE = "ITEM:"


def is_dump(path: Path) -> bool:
    """Tell whether the file begins as a LAMMPS text dump does."""
    try:
        with open_text(path) as file:
            return file.readline(LONGEST_LINE).startswith(TITLE)
    except UNREADABLE:
        return False


def dump_units(path: Path) -> str:
    """Return the unit style that ``dump_modify units yes`` wrote, "unknown" without it."""
    with open_text(path) as file:
        first = file.readline(LONGEST_LINE)
        return file.readline(LONGEST_LINE).strip() if first.split() == [TITLE, "UNITS"] else "unknown"


def read_dump(path: Path, warn: Warn) -> Iterator[BeadFrame]:
    """Yield the frames of a text dump; one that was cut off is left out with a warning.

    A frame is cut off where the file ends, or where the dump was appended to after its run had been killed.

    Raises:
        UserError: not a text dump, damaged, or columns missing.
    """
    try:
        with open_text(path) as file:
            for frame in _Dump(path, file, warn).frames():
                assert isinstance(frame, BeadFrame)
                yield frame
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None


def dump_stamps(path: Path) -> Iterator[Stamp]:
    """Yield steps and times of the same frames without reading their atoms; raise as `read_dump` does."""
    try:
        with open_text(path) as file:
            for stamp in _Dump(path, file, lambda line: None, stamps_only=True).frames():
                assert isinstance(stamp, Stamp)
                yield stamp
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None


class _CutOff(Exception):
    """The file ended within a frame, or the next one begins there."""


class _Dump:
    """One pass over an open dump."""

    def __init__(self, path: Path, file: IO[str], warn: Warn, stamps_only: bool = False) -> None:
        self._path, self._file, self._warn, self._stamps_only = path, file, warn, stamps_only
        self._pending: deque[str] = deque()
        self._step: int | None = None
        self._told_step = False
        self._time: float | None = None
        self._n_atoms: int | None = None
        self._usual: int | None = None
        self._box: DumpBox | None = None

    def frames(self) -> Iterator[BeadFrame | Stamp]:
        """Yield the frames, or their stamps."""
        n_frames = 0
        while True:
            try:
                title = self._next()
                if not title:
                    return
                frame = self._item(title)
            except (_CutOff, EOFError):  # the latter from a compressed file that was cut off
                if not self._pending:
                    self._warn(
                        f"{self._path} ends within frame {n_frames}, at step {self._step}: that frame is left out"
                    )
                    return
                self._warn(f"{self._path}: a frame was cut off at step {self._step} and is left out; the file goes on")
                self._begin_frame()
                continue
            except (ValueError, IndexError, OverflowError) as error:
                raise self._damaged(f"frame {n_frames}, step {self._step}: {one_line(error)}") from None
            if frame is not None:
                n_frames += 1
                yield frame
                self._usual = self._n_atoms
                self._begin_frame()

    def _begin_frame(self) -> None:
        """Forget the frame before: every frame tells its own atoms, box and step."""
        self._n_atoms = self._box = self._time = None
        self._told_step = False

    def _next(self) -> str:
        return self._pending.popleft() if self._pending else self._file.readline(LONGEST_LINE)

    def _item(self, title: str) -> BeadFrame | Stamp | None:
        if title.rfind(TITLE) > 0 and self._usual is not None:
            self._pending.appendleft(title[title.rfind(TITLE) :])
            raise _CutOff
        if not title.endswith("\n"):
            raise _CutOff
        words = title.split()
        if words[:1] != [TITLE]:
            raise self._damaged(f"'{title.strip()[:40]}' where a line 'ITEM: ..' belongs after step {self._step}")
        match words[1:]:
            case ["TIMESTEP"]:
                self._step, self._told_step = int(self._line()), True
            case ["TIME"]:
                self._time = float(self._line())
            case ["UNITS"]:
                self._line()
            case ["NUMBER", "OF", "ATOMS"]:
                self._n_atoms = int(self._line())
                if not 0 < self._n_atoms < sys.maxsize:
                    raise ValueError(f"{self._n_atoms} atoms")
            case ["BOX", "BOUNDS", *rest]:
                self._box = self._read_box(rest)
            case ["ATOMS", *columns]:
                return self._atoms(columns)
            case _:
                raise self._damaged(f"'{title.strip()[:40]}' is not known")
        return None

    def _line(self) -> str:
        line = self._next()
        if TITLE in line and self._usual is not None:
            self._pending.appendleft(line[line.index(TITLE) :])
            raise _CutOff
        if not line.endswith("\n"):
            raise _CutOff
        return line

    def _read_box(self, words: list[str]) -> DumpBox:
        general, tilted = "abc" in words, "xy" in words
        lines = [self._line() for _ in range(3)]
        rows = [[float(word) for word in line.split()] for line in lines]
        if any(len(row) != (4 if general else 2 + tilted) for row in rows) or not np.all(np.isfinite(rows)):
            raise ValueError(f"the box is {', '.join(line.strip()[:40] for line in lines)}")
        edges = [word for word in words if word not in ("xy", "xz", "yz", "abc", "origin")] or ["pp"] * 3
        if general:
            return general_box(rows, edges)
        return bounded_box([row[:2] for row in rows], [row[2] for row in rows] if tilted else None, edges)

    def _atoms(self, columns: list[str]) -> BeadFrame | Stamp:
        if self._n_atoms is None or self._box is None or not self._told_step:
            raise self._damaged(f"no step, number of atoms or box before the atoms after step {self._step}")
        lines = self._rows(self._n_atoms)
        if self._stamps_only:
            return Stamp(self._step, self._time)
        known = DumpColumns(self._path, columns)
        table: Float64 = np.loadtxt(lines, usecols=known.needed, comments=None, ndmin=2)
        ids: Int64 | None = None
        if np.abs(table[:, 0]).max() > LARGEST_WHOLE:
            ids = large_ids([line.split()[known.needed[0]] for line in lines])
        return known.frame(self._step, self._time, table, self._box, ids)

    def _rows(self, n_atoms: int) -> list[str]:
        """Return the lines of one frame's atoms: whatever the file claims, one frame is held at a time.

        Raises:
            _CutOff: the frame was cut off, by the end of the file or by another frame.
            ValueError: there are fewer lines than the file claims.
        """
        lines: list[str] = []
        for line in islice(self._file, n_atoms):
            if TITLE in line:
                if line[0] == "I" and n_atoms != self._usual:
                    raise ValueError(f"{len(lines)} of {n_atoms} atoms")
                self._pending.append(line[line.index(TITLE) :])
                raise _CutOff
            lines.append(line)
        if len(lines) < n_atoms or not lines[-1].endswith("\n"):
            raise _CutOff
        return lines

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._path} is not a whole LAMMPS text dump: {what}")
