"""The place of each frame of a trajectory in time, decided before positions are read: repeats, gaps, spacing, Δt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory, Stamp, Warn
from mlgle_lammps.formats.clock import Clock, choose_clock
from mlgle_lammps.formats.even_spacing import Spacing, evenly_spaced
from mlgle_lammps.formats.time_between import Ruler, time_between
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import Int64

SAME_PLACE = 0.05
"""Share of the distance between atoms by which two frames of one step may differ where they are the same."""


@dataclass(frozen=True)
class Placed:
    """A frame with its place in the stream.

    Attributes:
        number: in the file.
        place: in units of the stream's stride, from the first frame used; repeats are gone.
        segment: number of the uninterrupted piece.
        frame: as read.
    """

    number: int
    place: int
    segment: int
    frame: BeadFrame


@dataclass(frozen=True)
class FramePlan:
    """Which frames are used, and where they belong.

    Attributes:
        path: of the trajectory.
        places: (frame of the file,) place of each, -1 where it is left out.
        segments: (frame of the file,) uninterrupted piece of each.
        first_step: MD step of place 0.
        steps: MD steps from one place to the next, 1 where unknown.
        dt: time from one place to the next.
        remarks: what was found and decided, one line each.
        written_twice: frame that takes the place of an earlier one -> that earlier one.
    """

    path: Path
    places: Int64
    segments: Int64
    first_step: int
    steps: int
    dt: float
    remarks: tuple[str, ...]
    written_twice: dict[int, int] = field(default_factory=dict)

    def placed(self, frames: Iterable[BeadFrame], warn: Warn) -> Iterator[Placed]:
        """Yield the frames that are used, with their places.

        Where a file was appended to after a restart, and the frame that was written twice is not the same in both,
        a new piece begins, with a warning.
        """
        for line in self.remarks:
            warn(line)
        earlier: dict[int, BeadFrame] = {}
        wanted, seams = set(self.written_twice.values()), 0
        for number, frame in enumerate(frames):
            if number >= len(self.places):
                return  # a file that grows
            if number in wanted:
                earlier[number] = frame
            if self.places[number] < 0:
                continue
            if number in self.written_twice:
                twin = earlier.pop(self.written_twice[number], None)
                if twin is not None and not _same(twin, frame):
                    seams += 1
                    warn(
                        f"{self.path}: frame {number} does not show what frame {self.written_twice[number]}, written "
                        "before it for the same time, does: no lag or window reaches across it"
                    )
            yield Placed(number, int(self.places[number]), int(self.segments[number]) + seams, frame)


def _same(one: BeadFrame, other: BeadFrame) -> bool:
    """Tell whether two frames show the same, up to the digits that were written and a few steps of MD."""
    if len(one.ids) != len(other.ids):
        return False
    before, after = (frame.positions[np.argsort(frame.ids)] for frame in (one, other))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite differs
        apart = float(np.median(np.linalg.norm(after - before, axis=1)))
    extent = np.ptp(before, axis=0)
    if one.cell is not None and one.cell.any(axis=1).all():
        extent = np.linalg.norm(one.cell, axis=1)
    return apart <= SAME_PLACE * float(np.prod(np.maximum(extent, 1e-300)) / len(before)) ** (1 / 3)


def plan_frames(
    trajectory: BeadTrajectory, options: TrajectoryOptions, needed: int = 2, stamps: list[Stamp] | None = None
) -> FramePlan:
    """Return the plan for the frames from --skip on.

    Args:
        trajectory: the file.
        options: with --skip, --stride, --dt, --timestep.
        needed: frames that an uninterrupted piece of the stream must have to be of use.
        stamps: when the frames are, where that was read already.

    Raises:
        UserError: fewer than 2 frames, frames that go back, no evenly spaced piece that is long enough, or no Δt.
    """
    path = trajectory.path
    every = trajectory.read_stamps() if stamps is None else stamps
    if len(every) - options.skip < 2:
        n = max(len(every) - options.skip, 0)
        raise UserError(f"{path} holds {n} frame{'s' * (n != 1)} after `skip` {options.skip}; a stream needs more")
    clock = choose_clock(path, every[options.skip :], options)
    kept, twice, remarks = in_order(path, clock, options.skip)
    if len(kept) < 2:
        raise UserError(f"{path} holds 1 frame after `skip` {options.skip} (the others repeat it); a stream needs more")
    now = clock.now[kept]
    long_enough = (needed - 1) * options.stride + 1
    spacing = evenly_spaced(now, long_enough)
    remarks += _spacing_remarks(path, now, spacing, long_enough)
    steps, dt, said = time_between(path, clock, _ruler(kept, now, spacing), options)
    places, segments = np.full(len(every), -1, dtype=np.int64), np.zeros(len(every), dtype=np.int64)
    numbers = kept[spacing.used] + options.skip
    places[numbers], segments[numbers] = spacing.places, spacing.segments
    first_step = int(clock.now[kept[spacing.used[0]]]) if clock.steps else 0
    return FramePlan(path, places, segments, first_step, steps, dt, (*clock.remarks, *remarks, *said), twice)


def in_order(path: Path, clock: Clock, skip: int) -> tuple[Int64, dict[int, int], list[str]]:
    """Return the frames in order of time without those that were written again later, and what replaced what.

    Args:
        path: for messages.
        clock: that says when frames are.
        skip: frames before the first of the clock's, for messages.

    Returns:
        (kept,) numbers of the frames that are kept, frame -> the earlier one whose place it takes, and remarks.

    Raises:
        UserError: frames go back to or before the first one.
    """
    now = clock.now.tolist()
    kept: list[int] = []
    times: list[float] = []
    twice: dict[int, int] = {}
    repeats, remarks = 0, []
    for number, moment in enumerate(now):
        if not abs(moment) < float("inf"):
            raise UserError(f"{path}: frame {number + skip} has no place in time: {moment:g}")
        if times and moment == times[-1]:
            repeats += 1
            continue
        if times and moment < times[-1]:
            if moment <= times[0]:
                raise UserError(
                    f"{path}: frame {number + skip} goes back from {times[-1]:g} to {moment:g}: "
                    "give independent runs as separate files"
                )
            back = bisect_left(times, moment)
            twice[number + skip] = kept[back] + skip
            remarks.append(
                f"{path} goes back from {times[-1]:g} to {moment:g} at frame {number + skip}, as files do that are "
                f"appended to after a restart: the {len(kept) - back} frames from {times[back]:g} on that were written "
                "before are left out for the later ones"
            )
            del kept[back:], times[back:]
        kept.append(number)
        times.append(moment)
    if repeats:
        remarks.insert(0, f"{path}: {repeats} frames repeat the step before and are left out")
    return np.array(kept, dtype=np.int64), twice, remarks


def _spacing_remarks(path: Path, now: np.ndarray, spacing: Spacing, needed: int) -> list[str]:
    """Return what is to be said about the spacing; raise UserError where no piece is long enough."""
    if spacing.even:
        gaps = int(spacing.segments[-1])
        return [f"{path}: frames are missing in {gaps} places; no lag or window reaches across them"] if gaps else []
    apart = np.diff(now)
    uneven = f"{path}: frames are not evenly spaced ({apart.min():g} to {apart.max():g} apart)"
    if spacing.longest() < needed:
        raise UserError(
            f"{uneven}: the longest evenly spaced piece has {spacing.longest()} frames ({spacing.stride:g} apart), and "
            f"{needed} are needed: write frames at one distance, or lower `memory`"
        )
    pieces = int(spacing.segments[-1]) + 1
    return [
        f"{uneven}: those {spacing.stride:g} apart are used, {len(spacing.used)} of {len(now)} frames in {pieces} "
        f"piece{'s' * (pieces > 1)}; no lag or window reaches from one piece into another"
    ]


def _ruler(kept: Int64, now: np.ndarray, spacing: Spacing) -> Ruler:
    """Return frames of the first piece that has two."""
    inside = np.flatnonzero(np.diff(spacing.segments) == 0)
    begin = int(inside[0]) if len(inside) else 0
    end = int(np.flatnonzero(spacing.segments == spacing.segments[begin])[-1])
    end = max(end, begin + 1)
    one, two, last = (int(kept[spacing.used[i]]) for i in (begin, begin + 1, end))
    return Ruler(one, two, last, end - begin, float(now[1] - now[0]))
