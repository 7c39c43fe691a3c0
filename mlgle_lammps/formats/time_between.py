"""The time between two frames: from --dt, from --timestep and steps, or from the file's times; what differs is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.clock import SINGLE, UNEVEN, Clock
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import SAME_DT

DIGITS = 6
"""Of a Δt that is taken from a span of times."""


@dataclass(frozen=True)
class Ruler:
    """Frames that tell Δt, by their places in the clock.

    Attributes:
        one: a frame.
        two: the frame one stride after it.
        last: the last frame of the same uninterrupted piece.
        strides: from ``one`` to ``last``.
        usual: the distance of the first two frames that are used, on the clock.
    """

    one: int
    two: int
    last: int
    strides: int
    usual: float


def time_between(
    path: Path, clock: Clock, ruler: Ruler, options: TrajectoryOptions
) -> tuple[int, float, tuple[str, ...]]:
    """Return MD steps (1 where unknown) and time between two frames of the stream, and remarks.

    Args:
        path: for messages.
        clock: that placed the frames.
        ruler: frames to measure with.
        options: of which --dt goes before --timestep, and both before times in the file.

    Raises:
        UserError: none is known, or --dt is given for frames that are not even.
    """
    steps = int(clock.now[ruler.two] - clock.now[ruler.one]) if clock.steps else 1
    in_file = _told(path, clock, ruler, options)
    by_steps = None if options.timestep is None or not clock.steps else options.timestep * steps
    others: tuple[tuple[str, float | None], ...] = ()
    if options.dt is not None:
        stride = float(clock.now[ruler.two] - clock.now[ruler.one])
        if abs(stride - ruler.usual) > (UNEVEN + SINGLE * abs(clock.now[ruler.last]) / stride) * ruler.usual:
            raise UserError(
                f"{path}: `dt` is the time between two frames, and these are not evenly spaced: give `timestep`"
            )
        dt, given = options.dt, "--dt"
        others = (("--timestep and steps", by_steps), ("times in the file", in_file))
    elif options.timestep is not None:
        if by_steps is None:
            steps_are = "has no steps" if clock.kind == "frame" else "has no steps that can be used"
            raise UserError(f"{path} {steps_are}, so `timestep` does not give Δt: use `dt`, the time between frames")
        dt, given = by_steps, "--timestep"
        others = (("times in the file", in_file),)
    elif in_file is not None:
        dt, given = in_file, ""
    else:
        raise UserError(
            f"{path} does not say the time between two frames: give `timestep` (of the MD) or `dt` (between frames)"
        )
    if not 0 < dt < float("inf"):
        raise UserError(f"{path}: the time between the first two frames is {dt:g}: give `dt`")
    remarks = tuple(
        f"{path}: {given} makes Δt {dt:g} and is used, though {name} say {value:g}"
        for name, value in others
        if value is not None and abs(value - dt) > UNEVEN * dt
    )
    return steps, dt, remarks


def _told(path: Path, clock: Clock, ruler: Ruler, options: TrajectoryOptions) -> float | None:
    """Return Δt by the file's times; None where they are too coarse, which is an error where nothing else is given."""
    times = clock.times
    if times is None:
        return None
    dt, span = float(f"{times[ruler.two] - times[ruler.one]:.9g}"), float(times[ruler.last] - times[ruler.one])
    mean, rounding = span / ruler.strides, SINGLE * float(np.abs(times).max())
    if not np.isfinite(span) or abs(dt - mean) <= SAME_DT * abs(mean):
        return dt
    if abs(dt - mean) <= UNEVEN * abs(mean) or rounding <= UNEVEN * abs(span):
        return _shortest(mean, rounding / ruler.strides)
    if options.dt is None and options.timestep is None:
        raise UserError(
            f"{path}: its times (up to {np.abs(times).max():g}) are too coarse to tell the time between two frames: "
            "give `dt` or `timestep`"
        )
    return None


def _shortest(value: float, error: float) -> float:
    """Return the number of fewest digits, six at most, that is within ``error`` of a value."""
    rounded = [float(f"{value:.{digits}g}") for digits in range(1, DIGITS + 1)]
    return next((found for found in rounded if abs(found - value) <= error), rounded[-1])
