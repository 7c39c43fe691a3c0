"""The place of each frame of a trajectory in time: one stride, gaps and repeats found, uneven ones refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory, Warn
from mlgle_lammps.options.trajectory import TrajectoryOptions

UNEVEN = 1e-3
"""Share of the stride by which a time may be off its place."""
SINGLE = 4e-7
"""Relative rounding of times in single precision."""


@dataclass(frozen=True)
class Placed:
    """A frame with its place in the stream.

    Attributes:
        number: in the file.
        place: in units of the file's own stride, from the first frame used; repeats are gone.
        segment: number of the uninterrupted piece.
        frame: as read.
    """

    number: int
    place: int
    segment: int
    frame: BeadFrame


def even_frames(trajectory: BeadTrajectory, options: TrajectoryOptions, warn: Warn) -> Iterator[Placed]:
    """Yield the frames from --skip on with their places; steps, else times, else the order say which.

    Raises:
        UserError: frames go back, or do not follow one another at one stride.
    """
    first = last = stride = None
    place = segment = repeats = gaps = 0
    for number, frame in enumerate(trajectory.frames(warn)):
        if number < options.skip:
            continue
        now: float = next((float(v) for v in (frame.step, frame.time) if v is not None), float(number))
        if not abs(now) < float("inf"):
            raise UserError(f"{trajectory.path}: frame {number} has no place in time: {now:g}")
        if first is None or last is None:
            first = last = now
        elif now == last:
            repeats += 1
            continue
        else:
            stride = stride or now - last
            ahead = (now - last) / stride
            if now < last or stride < 0:
                raise UserError(
                    f"{trajectory.path}: frame {number} goes back from {last:g} to {now:g}: "
                    "give independent runs as separate files"
                )
            if abs(ahead - round(ahead)) > UNEVEN + SINGLE * abs(now) / stride or round(ahead) < 1:
                raise UserError(
                    f"{trajectory.path}: frame {number} at {now:g} does not follow {last:g} at the stride of "
                    f"{stride:g} that the first frames have: one Δt is needed (--skip leaves out frames at the start)"
                )
            if round(ahead) > 1:
                gaps += 1
                segment += 1
            place += round(ahead)
            last = now
        yield Placed(number, place, segment, frame)
    if repeats:
        warn(f"{trajectory.path}: {repeats} frames repeat the step before and are left out")
    if gaps:
        warn(f"{trajectory.path}: frames are missing in {gaps} places; no lag or window reaches across them")


def stride_and_dt(path: Path, first: Sequence[Placed], options: TrajectoryOptions) -> tuple[int, float]:
    """Return MD steps (1 where unknown) and time between two frames of the file; raise UserError where none is known.

    Args:
        path: for messages.
        first: the first two frames used.
        options: of which --dt goes before --timestep, and both before times in the file.
    """
    one, two = first[0].frame, first[1].frame
    steps = 1 if one.step is None or two.step is None else two.step - one.step
    if options.dt is not None:
        dt = options.dt
    elif options.timestep is not None:
        if one.step is None:
            raise UserError(f"{path} has no steps, so --timestep does not give Δt: use --dt, the time between frames")
        dt = options.timestep * steps
    elif one.time is not None and two.time is not None:
        dt = float(f"{two.time - one.time:.9g}")
    else:
        raise UserError(
            f"{path} does not say the time between two frames: give --timestep (of the MD) or --dt (between frames)"
        )
    if not 0 < dt < float("inf"):
        raise UserError(f"{path}: the time between the first two frames is {dt:g}: give --dt")
    return steps, dt
