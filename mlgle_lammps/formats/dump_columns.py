"""Columns of LAMMPS dumps, of text and of YAML: a table and a box become a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame
from mlgle_lammps.records import Float64, Int64

POSITIONS = (("xu", "yu", "zu"), ("xsu", "ysu", "zsu"), ("x", "y", "z"), ("xs", "ys", "zs"))
"""Columns of positions, the most telling first."""
IMAGES = ("ix", "iy", "iz")
LARGEST_WHOLE = 2**53
"""Ids and image flags are read as double precision numbers, which are exact up to here; larger ids once more."""


@dataclass(frozen=True)
class DumpBox:
    """The box of one frame, in the axes that LAMMPS works in: a along x, b in the xy plane.

    Attributes:
        origin: (3,) its corner.
        cell: (3, 3) rows a, b, c.
        periodic: (3,) bool.
        turn: (3, 3) that takes the file's positions (rows) to these axes; None where they are in them.
    """

    origin: Float64
    cell: Float64
    periodic: np.ndarray
    turn: Float64 | None = None


def bounded_box(bounds: Sequence[Sequence[float]], tilts: Sequence[float] | None, edges: Sequence[str]) -> DumpBox:
    """Return the box of lower and upper bounds; those of a tilted one are of its bounding box.

    Args:
        bounds: low and high in x, y, z.
        tilts: xy, xz, yz; None for a straight box.
        edges: boundary conditions in x, y, z, "pp" where periodic.

    Raises:
        ValueError: it is no box.
    """
    low, high = np.array(bounds, dtype=np.float64).T
    xy, xz, yz = tilts or (0.0, 0.0, 0.0)
    low[:2] -= min(0.0, xy, xz, xy + xz), min(0.0, yz)
    high[:2] -= max(0.0, xy, xz, xy + xz), max(0.0, yz)
    lx, ly, lz = high - low
    if min(lx, ly, lz) <= 0 or len(edges) != 3:
        raise ValueError(f"a box of {lx:g}, {ly:g}, {lz:g} with boundaries {' '.join(edges)[:40]}")
    cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
    return DumpBox(low, cell, np.array([edge == "pp" for edge in edges]))


def general_box(rows: Sequence[Sequence[float]], edges: Sequence[str]) -> DumpBox:
    """Return a general triclinic box (avec, bvec, cvec, each followed by the origin's component), turned.

    Raises:
        ValueError: it is no box.
    """
    table = np.array(rows, dtype=np.float64)
    cell, origin = table[:, :3], table[:, 3]
    if not np.linalg.det(cell) > 0 or len(edges) != 3:
        raise ValueError(f"a box of volume {np.linalg.det(cell):g} with boundaries {' '.join(edges)[:40]}")
    a, b, c = cell
    lx = float(np.linalg.norm(a))
    along = a / lx
    xy, xz = float(b @ along), float(c @ along)
    ly = float(np.linalg.norm(np.cross(along, b)))
    yz = (float(b @ c) - xy * xz) / ly
    lz = float(np.sqrt(c @ c - xz**2 - yz**2))
    straight = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
    turn: Float64 = np.linalg.inv(cell) @ straight
    return DumpBox(origin @ turn, straight, np.array([edge == "pp" for edge in edges]), turn)


def large_ids(words: Sequence[str]) -> Int64:
    """Return ids beyond what double precision holds.

    Raises:
        ValueError: one is not a whole number.
    """
    try:
        return np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError("an atom id or image flag is not a whole number below 2^63") from None


class DumpColumns:
    """What the columns of a dump hold.

    Args:
        path: for messages.
        columns: their names.

    Attributes:
        needed: places of the columns that are read, ids first, then positions, then image flags.

    Raises:
        UserError: no ids or no positions among them.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        place = {name: column for column, name in enumerate(columns)}
        kind = next((names for names in POSITIONS if all(name in place for name in names)), None)
        if kind is None or "id" not in place:
            raise UserError(
                f"{path} has columns {' '.join(columns)[:80]}; id and x y z (or xu yu zu, xs ys zs) are needed"
            )
        self._kind, self._wrapped = kind, not kind[0].endswith("u")
        self._with_images = self._wrapped and all(name in place for name in IMAGES)
        self.needed = [place[name] for name in ("id", *kind, *(IMAGES if self._with_images else ()))]

    def frame(self, step: int | None, time: float | None, table: Float64, box: DumpBox, ids: Int64 | None) -> BeadFrame:
        """Return the frame.

        Args:
            step: its step.
            time: its time.
            table: (atom, column) of the needed columns.
            box: its box.
            ids: (atom,) where they are too large for the table.

        Raises:
            ValueError: an id or image flag that is not a whole number.
        """
        flags = table[:, 4:]
        whole = flags if ids is not None else table[:, [0, *range(4, table.shape[1])]]
        if not np.all(np.abs(whole) <= LARGEST_WHOLE) or np.any(whole != np.rint(whole)):
            raise ValueError("an atom id or image flag is not a whole number")
        positions = table[:, 1:4]
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused by whoever knows the atom
            if self._kind[0].startswith("xs"):
                positions = box.origin + positions @ box.cell
            elif box.turn is not None:
                positions = positions @ box.turn
        return BeadFrame(
            step=step,
            time=time,
            ids=table[:, 0].astype(np.int64) if ids is None else ids,
            positions=np.ascontiguousarray(positions),
            images=flags.astype(np.int64) if self._with_images else None,
            cell=box.cell * box.periodic[:, np.newaxis],
            unwrapped=not self._wrapped,
            origin=box.origin,
        )
