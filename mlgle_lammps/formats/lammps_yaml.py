"""LAMMPS dumps in YAML (``dump yaml``): one document for each frame, read line by line as LAMMPS writes them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame, Stamp, Warn
from mlgle_lammps.formats.compressed import UNREADABLE, open_text
from mlgle_lammps.formats.dump_columns import LARGEST_WHOLE, DumpBox, DumpColumns, bounded_box, large_ids

LONGEST_LINE = 2**16
_HEAD_LINES = 8


def is_yaml_dump(path: Path) -> bool:
    """Tell whether the file begins as LAMMPS' YAML dumps do."""
    try:
        with open_text(path) as file:
            head = [file.readline(LONGEST_LINE).strip() for _ in range(_HEAD_LINES)]
    except UNREADABLE:
        return False
    return "---" in head[:2] and "creator: LAMMPS" in head and any(line.startswith("timestep:") for line in head)


def yaml_units(path: Path) -> str:
    """Return the unit style that ``dump_modify units yes`` wrote, "unknown" without it."""
    with open_text(path) as file:
        for line in islice(file, _HEAD_LINES):
            if line.startswith("units:"):
                return line.split(":", 1)[1].strip()
    return "unknown"


def read_yaml_dump(path: Path, warn: Warn) -> Iterator[BeadFrame]:
    """Yield the frames; one that was cut off is left out with a warning.

    Raises:
        UserError: damaged, or columns missing.
    """
    for frame in _documents(path, warn, stamps_only=False):
        assert isinstance(frame, BeadFrame)
        yield frame


def yaml_stamps(path: Path) -> Iterator[Stamp]:
    """Yield steps and times of the same frames without reading their atoms; raise as `read_yaml_dump` does."""
    for stamp in _documents(path, lambda line: None, stamps_only=True):
        assert isinstance(stamp, Stamp)
        yield stamp


def _documents(path: Path, warn: Warn, stamps_only: bool) -> Iterator[BeadFrame | Stamp]:
    number = 0
    try:
        with open_text(path) as file:
            document = _Document(path, stamps_only)
            for line in file:
                try:
                    found = document.read(line, file)
                except (ValueError, IndexError, KeyError, OverflowError) as error:
                    raise UserError(f"{path} is not a whole YAML dump: frame {number}: {one_line(error)}") from None
                if found is not None:
                    yield found
                    number += 1
                elif document.cut_off:
                    warn(f"{path}: a frame was cut off at step {document.step} and is left out")
                if found is not None or document.cut_off:
                    document = _Document(path, stamps_only, begun=document.cut_off)
            if document.begun:
                warn(f"{path} ends within frame {number}, at step {document.step}: that frame is left out")
    except EOFError:
        warn(f"{path} ends within frame {number}: that frame is left out")
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None


class _Document:
    """One frame, as far as it has been read."""

    def __init__(self, path: Path, stamps_only: bool, begun: bool = False) -> None:
        self._path, self._stamps_only = path, stamps_only
        self._values: dict[str, str] = {}
        self._lists: dict[str, list[str]] = {}
        self._key = ""
        self.begun, self.cut_off = begun, False

    @property
    def step(self) -> int | None:
        """The step, where it was read."""
        return int(self._values["timestep"]) if "timestep" in self._values else None

    def read(self, line: str, file: IO[str]) -> BeadFrame | Stamp | None:
        """Take a line, and all rows of atoms after "data:"; return the frame where it is whole then."""
        text = line.strip()
        if text == "---":
            self.cut_off = bool(self._values)
            self.begun = True
        elif text == "data:":
            return self._atoms(file)
        elif text.startswith("- "):
            self._lists.setdefault(self._key, []).append(text[2:])
        elif ":" in text:
            self._key, value = (part.strip() for part in text.split(":", 1))
            self._values[self._key] = value
        return None

    def _atoms(self, file: IO[str]) -> BeadFrame | Stamp | None:
        n_atoms = int(self._values["natoms"])
        if n_atoms < 1:
            raise ValueError(f"{n_atoms} atoms")
        rows: list[str] = []
        for line in islice(file, n_atoms):
            if not line.lstrip().startswith("- ") or not line.endswith("\n") or "]" not in line:
                self.cut_off = line.strip() == "---"
                if not self.cut_off and line.endswith("\n"):
                    raise ValueError(f"{len(rows)} of {n_atoms} atoms, then '{line.strip()[:40]}'")
                return None
            rows.append(line.replace("- [", " ").replace("]", " ").replace(",", " "))
        if len(rows) < n_atoms:
            return None
        step, time = int(self._values["timestep"]), self._values.get("time")
        stamp = Stamp(step, None if time is None else float(time))
        if self._stamps_only:
            return stamp
        known = DumpColumns(self._path, _words(self._values["keywords"]))
        table = np.loadtxt(rows, usecols=known.needed, comments=None, ndmin=2)
        ids = None
        if np.abs(table[:, 0]).max() > LARGEST_WHOLE:
            ids = large_ids([row.split()[known.needed[0]] for row in rows])
        return known.frame(step, stamp.time, table, self._box(), ids)

    def _box(self) -> DumpBox:
        rows = [[float(word) for word in _words(row)] for row in self._lists["box"]]
        edges = _words(self._values["boundary"])
        pairs = ["".join(edges[i : i + 2]) for i in (0, 2, 4)]
        return bounded_box(rows[:3], rows[3] if len(rows) > 3 else None, pairs)


def _words(text: str) -> list[str]:
    return text.replace("[", " ").replace("]", " ").replace(",", " ").split()
