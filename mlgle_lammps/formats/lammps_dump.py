"""LAMMPS text dumps (``dump atom``, ``dump custom``), also compressed, read in double precision with image flags.

MDAnalysis reads them in single precision, drops image flags of tilted boxes, and fails on ``dump_modify time yes``.
"""

from __future__ import annotations

import bz2
import gzip
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
_BROKEN = (OSError, EOFError, UnicodeDecodeError)


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
        self._time: float | None = None
        self._n_atoms: int | None = None
        self._box: tuple[Float64, Float64, Float64] | None = None

    def frames(self) -> Iterator[BeadFrame]:
        """Yield the frames."""
        n_frames = 0
        while title := self._file.readline(LONGEST_LINE):
            try:
                frame = self._item(title)
            except _CutOff:
                self._warn(f"{self._path} ends within frame {n_frames}, at step {self._step}: that frame is left out")
                return
            except (ValueError, IndexError) as error:
                raise self._damaged(f"frame {n_frames}, step {self._step}: {one_line(error)}") from None
            if frame is not None:
                n_frames += 1
                yield frame

    def _item(self, title: str) -> BeadFrame | None:
        words = title.split()
        if words[:1] != ["ITEM:"]:
            raise self._damaged(f"'{title.strip()[:40]}' where a line 'ITEM: ..' belongs after step {self._step}")
        match words[1:]:
            case ["TIMESTEP"]:
                self._step = int(self._line())
            case ["TIME"]:
                self._time = float(self._line())
            case ["UNITS"]:
                self._line()
            case ["NUMBER", "OF", "ATOMS"]:
                self._n_atoms = int(self._line())
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
        bounds = np.array([[float(word) for word in self._line().split()] for _ in range(3)])
        low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
        xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
        # the bounds of a tilted box are those of its bounding box
        low[:2] -= min(0.0, xy, xz, xy + xz), min(0.0, yz)
        high[:2] -= max(0.0, xy, xz, xy + xz), max(0.0, yz)
        lx, ly, lz = high - low
        edges = [word for word in words if word not in ("xy", "xz", "yz")] or ["pp"] * 3
        return (
            low,
            np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]]),
            np.array([edge == "pp" for edge in edges], float),
        )

    def _atoms(self, columns: list[str]) -> BeadFrame:
        if self._n_atoms is None or self._box is None:
            raise self._damaged(f"no number of atoms or no box before the atoms of step {self._step}")
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
        lines = list(islice(self._file, self._n_atoms))
        if len(lines) < self._n_atoms or (lines and not lines[-1].endswith("\n")):
            raise _CutOff
        if not lines:
            raise ValueError("no atoms")
        return np.loadtxt(lines, usecols=columns, comments=None, ndmin=2)

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._path} is not a whole LAMMPS text dump: {what}")
