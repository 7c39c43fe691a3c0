"""Extended XYZ: text frames whose second line tells box, columns, time and step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame, Stamp, Warn
from mlgle_lammps.formats.compressed import UNREADABLE, open_text
from mlgle_lammps.records import Float64, Int64

LONGEST_LINE = 2**16
_ENTRY = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""")


def is_extended_xyz(path: Path) -> bool:
    """Tell whether the file begins with a number of atoms and a line that describes the columns or the box."""
    try:
        with open_text(path) as file:
            first, second = file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
    except UNREADABLE:
        return False
    return first.strip().isdigit() and {"properties", "lattice"} & _entries(second).keys() != set()


def read_extended_xyz(path: Path, ids: Int64, warn: Warn) -> Iterator[BeadFrame]:
    """Yield the frames in double precision; a last one that was cut off is left out with a warning.

    Args:
        path: the file.
        ids: (atom,) of the topology, in order, for files that hold none.
        warn: takes a line about what was left out.

    Raises:
        UserError: damaged, or another number of atoms than ``ids`` where the file has none.
    """
    for number, (rows, entries) in enumerate(_frames(path, warn)):
        try:
            yield _frame(path, rows, entries, ids)
        except (ValueError, IndexError, OverflowError) as error:
            raise UserError(f"{path} is not whole XYZ: frame {number}: {one_line(error)}") from None


def xyz_stamps(path: Path) -> Iterator[Stamp]:
    """Yield steps and times of the same frames without reading their atoms."""
    for _, entries in _frames(path, lambda line: None):
        yield _stamp(entries)


def _entries(line: str) -> dict[str, str]:
    return {match[1].lower(): next(g for g in match.groups()[1:] if g is not None) for match in _ENTRY.finditer(line)}


def _stamp(entries: dict[str, str]) -> Stamp:
    step, time = (next((entries[name] for name in names if name in entries), None) for names in _STAMPS)
    try:
        return Stamp(None if step is None else int(float(step)), None if time is None else float(time))
    except (ValueError, OverflowError):
        return Stamp(None, None)


_STAMPS = (("step", "timestep"), ("time",))


def _frames(path: Path, warn: Warn) -> Iterator[tuple[list[str], dict[str, str]]]:
    number = 0
    try:
        with open_text(path) as file:
            while first := file.readline(LONGEST_LINE):
                if not first.strip():
                    continue
                if not first.strip().isdigit() or int(first) < 1:
                    raise UserError(f"{path} is not whole XYZ: frame {number} has '{first.strip()[:40]}' atoms")
                entries = _entries(file.readline(LONGEST_LINE))
                rows = list(islice(file, int(first)))
                if len(rows) < int(first) or not rows[-1].endswith("\n"):
                    warn(f"{path} ends within frame {number}: that frame is left out")
                    return
                yield rows, entries
                number += 1
    except EOFError:
        warn(f"{path} ends within frame {number}: that frame is left out")
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None


def _frame(path: Path, rows: list[str], entries: dict[str, str], ids: Int64) -> BeadFrame:
    columns, kind = _columns(entries.get("properties", "species:S:1:pos:R:3"))
    positions = np.loadtxt(rows, usecols=columns["pos"], comments=None, ndmin=2)
    if "id" in columns:
        ids = np.array([int(row.split()[columns["id"][0]]) for row in rows], dtype=np.int64)
    elif len(rows) != len(ids):
        raise UserError(f"{path} has {len(rows)} atoms, the topology has {len(ids)}: they do not belong together")
    stamp = _stamp(entries)
    return BeadFrame(stamp.step, stamp.time, ids, positions, None, _cell(entries), unwrapped=kind == "unwrapped")


def _columns(properties: str) -> tuple[dict[str, list[int]], str]:
    """Return the places of the positions' columns and of the ids', and which kind of positions they are."""
    words = properties.split(":")
    if len(words) % 3:
        raise ValueError(f"Properties={properties[:60]}")
    place, found = 0, {}
    for name, number in zip(words[::3], words[2::3], strict=True):
        found[name.lower()] = list(range(place, place + int(number)))
        place += int(number)
    columns = {}
    kind = "unwrapped" if len(found.get("unwrapped_positions", ())) == 3 else "pos"
    columns["pos"] = found["unwrapped_positions"] if kind == "unwrapped" else found.get("pos", [])
    if len(columns["pos"]) != 3:
        raise ValueError(f"no positions (pos:R:3) in Properties={properties[:60]}")
    if "id" in found:
        columns["id"] = found["id"]
    return columns, kind


def _cell(entries: dict[str, str]) -> Float64 | None:
    """Return the box's rows, zero where it is not periodic; None without a Lattice."""
    if "lattice" not in entries:
        return None
    cell = np.array([float(word) for word in entries["lattice"].split()])
    if cell.shape != (9,) or not np.linalg.det(cell.reshape(3, 3)) > 0:
        raise ValueError(f'Lattice="{entries["lattice"][:60]}" is no box')
    periodic = [word[:1].upper() in ("T", "1") for word in entries.get("pbc", "T T T").split()]
    if len(periodic) != 3:
        raise ValueError(f'pbc="{entries["pbc"][:40]}"')
    result: Float64 = cell.reshape(3, 3) * np.array(periodic)[:, np.newaxis]
    return result
