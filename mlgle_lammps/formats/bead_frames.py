"""What a trajectory file gives: beads frame by frame, as they are stored; whoever reads them unwraps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlgle_lammps.records import Float64, Int64

Warn = Callable[[str], None]
"""Takes one line about something left out while reading."""


class Stamp(NamedTuple):
    """When a frame is: MD step and time as the file says them, None where it does not."""

    step: int | None
    time: float | None


@dataclass(frozen=True)
class BeadFrame:
    """One frame of a trajectory file.

    Attributes:
        step: MD step, None where the file has none.
        time: in the trajectory's time unit, None where the file has none.
        ids: (atom,) atom ids, in the order of the other arrays.
        positions: (atom, 3), as stored (scaled ones brought to lengths).
        images: (atom, 3) image flags, None where the file has none.
        cell: (3, 3) rows a, b, c of the box, zero where it is not periodic; None where the file has no box.
        unwrapped: whether the file says that positions are unwrapped.
        origin: (3,) the box's corner, None where the file does not say it.
    """

    step: int | None
    time: float | None
    ids: Int64
    positions: Float64
    images: Int64 | None
    cell: Float64 | None
    unwrapped: bool
    origin: Float64 | None = None


@dataclass(frozen=True)
class BeadTrajectory:
    """A trajectory file, described and not loaded.

    Attributes:
        path: the file.
        frames: opens the file and yields its frames, one at a time.
        units: LAMMPS unit style, "unknown" where the file does not say.
        time_unit: of times in the file.
        length_unit: of positions in the file.
        stamps: yields step and time of each frame, without positions where that is quicker; None reads the frames.
        notes: what is worth knowing about the file, one line each.
        warnings: what was left out of it, one line each.
    """

    path: Path
    frames: Callable[[Warn], Iterator[BeadFrame]]
    units: str = "unknown"
    time_unit: str = "time"
    length_unit: str = "length"
    stamps: Callable[[], Iterable[Stamp]] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def read_stamps(self) -> list[Stamp]:
        """Return when each frame is; what is left out while reading is not told here."""
        if self.stamps is not None:
            return list(self.stamps())
        return [Stamp(frame.step, frame.time) for frame in self.frames(lambda line: None)]
