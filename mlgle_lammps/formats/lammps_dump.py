"""LAMMPS text dumps (``dump atom``, ``dump custom``), also compressed, read in double precision with image flags.

MDAnalysis reads them in single precision, drops image flags of tilted boxes, and fails on ``dump_modify time yes``.
"""

from __future__ import annotations

import bz2
import gzip
import sys
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame, Warn
from mlgle_lammps.records import Float64

POSITIONS = (("xu", "yu", "zu"), ("xsu", "ysu", "zsu"), ("x", "y", "z"), ("xs", "ys", "zs"))
"""Columns of positions, the most telling first."""
IMAGES = ("ix", "iy", "iz")
LONGEST_LINE = 2**16
LARGEST_WHOLE = 2**53
"""Ids and image flags are read as double precision numbers, which are exact up to here."""
_BROKEN = (OSError, EOFError, UnicodeDecodeError, zlib.error)


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    if path.suffix == ".bz2":
        return bz2.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8")


def is_dump(path: Path) -> bool:
    """Tell whether the file begins as a LAMMPS text dump does."""
    try:
        with _open_text(path) as file:
            return file.readline(LONGEST_LINE).startswith("ITEM:")
    except _BROKEN:
        return False


def dump_units(path: Path) -> str:
    """Return the unit style that ``dump_modify units yes`` wrote, "unknown" without it."""
    with _open_text(path) as file:
        first = file.readline(LONGEST_LINE)
        return file.readline(LONGEST_LINE).strip() if first.split() == ["ITEM:", "UNITS"] else "unknown"


def read_dump(path: Path, warn: Warn) -> Iterator[BeadFrame]:
    """Yield the frames of a text dump; a last frame that was cut off is left out with a warning.

    Raises:
        UserError: not a text dump, damaged, columns missing, or an axis-free (general triclinic) box.
    """
    try:
        with _open_text(path) as file:
            yield from _Dump(path, file, warn).frames()
    except _BROKEN as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None


class _CutOff(Exception):
    """The file ended within a frame."""


class _Dump:
    """One pass over an open dump."""

    def __init__(self, path: Path, file: IO[str], warn: Warn) -> None:
        self._path, self._file, self._warn = path, file, warn
        self._step: int | None = None
        self._told_step = False
        self._time: float | None = None
        self._n_atoms: int | None = None
        self._box: tuple[Float64, Float64, Float64] | None = None

    def frames(self) -> Iterator[BeadFrame]:
        """Yield the frames."""
        n_frames = 0
        while True:
            try:
                title = self._file.readline(LONGEST_LINE)
                if not title:
                    return
                frame = self._item(title)
            except (_CutOff, EOFError):  # the latter from a compressed file that was cut off
                self._warn(f"{self._path} ends within frame {n_frames}, at step {self._step}: that frame is left out")
                return
            except (ValueError, IndexError) as error:
                raise self._damaged(f"frame {n_frames}, step {self._step}: {one_line(error)}") from None
            if frame is not None:
                n_frames += 1
                yield frame
                self._n_atoms = self._box = None  # every frame tells its own
                self._told_step = False

    def _item(self, title: str) -> BeadFrame | None:
        words = title.split()
        if words[:1] != ["ITEM:"]:
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
        line = self._file.readline(LONGEST_LINE)
        if not line.endswith("\n"):
            raise _CutOff
        return line

    def _read_box(self, words: list[str]) -> tuple[Float64, Float64, Float64]:
        """Return origin, cell rows, and 1 or 0 for directions that are periodic or not."""
        if "abc" in words:
            raise UserError(
                f"{self._path}: boxes of 'dump_modify triclinic/general yes' are not read; dump without that option"
            )
        lines = [self._line() for _ in range(3)]
        tilted = "xy" in words
        bounds = [[float(word) for word in line.split()] for line in lines]
        if any(len(row) != 2 + tilted for row in bounds) or not np.all(np.isfinite(bounds)):
            raise ValueError(f"the box is {', '.join(line.strip()[:40] for line in lines)}")
        low, high, *tilts = np.array(bounds).T
        xy, xz, yz = tilts[0] if tilted else (0.0, 0.0, 0.0)
        # the bounds of a tilted box are those of its bounding box
        low[:2] -= min(0.0, xy, xz, xy + xz), min(0.0, yz)
        high[:2] -= max(0.0, xy, xz, xy + xz), max(0.0, yz)
        lx, ly, lz = high - low
        edges = [word for word in words if word not in ("xy", "xz", "yz")] or ["pp"] * 3
        if min(lx, ly, lz) <= 0 or len(edges) != 3:
            raise ValueError(f"a box of {lx:g}, {ly:g}, {lz:g} with boundaries {' '.join(edges)[:40]}")
        return (
            low,
            np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]]),
            np.array([edge == "pp" for edge in edges], float),
        )

    def _atoms(self, columns: list[str]) -> BeadFrame:
        if self._n_atoms is None or self._box is None or not self._told_step:
            raise self._damaged(f"no step, number of atoms or box before the atoms after step {self._step}")
        place = {name: column for column, name in enumerate(columns)}
        kind = next((names for names in POSITIONS if all(name in place for name in names)), None)
        if kind is None or "id" not in place:
            raise UserError(
                f"{self._path} has columns {' '.join(columns)[:80]}; id and x y z (or xu yu zu, xs ys zs) are needed"
            )
        wrapped = not kind[0].endswith("u")
        with_images = wrapped and all(name in place for name in IMAGES)
        table = self._table([place[name] for name in ("id", *kind, *(IMAGES if with_images else ()))])
        origin, cell, periodic = self._box
        whole = table[:, [0, *range(4, table.shape[1])]]
        if not np.all(np.abs(whole) <= LARGEST_WHOLE) or np.any(whole != np.rint(whole)):
            raise ValueError("an atom id or image flag is not a whole number")
        positions = table[:, 1:4]
        if kind[0].startswith("xs"):
            positions = origin + positions @ cell
        time, self._time = self._time, None
        return BeadFrame(
            step=self._step,
            time=time,
            ids=table[:, 0].astype(np.int64),
            positions=np.ascontiguousarray(positions),
            images=table[:, 4:7].astype(np.int64) if with_images else None,
            cell=cell * periodic[:, np.newaxis],
            unwrapped=not wrapped,
        )

    def _table(self, columns: list[int]) -> Float64:
        assert self._n_atoms is not None
        lines: list[str] = []
        for line in islice(self._file, self._n_atoms):
            if line[0] == "I":  # of the next ITEM: whatever the file claims, one frame is held at a time
                raise ValueError(f"{len(lines)} of {self._n_atoms} atoms")
            lines.append(line)
        if len(lines) < self._n_atoms or not lines[-1].endswith("\n"):
            raise _CutOff
        return np.loadtxt(lines, usecols=columns, comments=None, ndmin=2)

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._path} is not a whole LAMMPS text dump: {what}")
