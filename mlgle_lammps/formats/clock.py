"""When frames are: steps, times, --timestep and --dt held against one another; what was given wins, and is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import Stamp
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import Float64

UNEVEN = 1e-3
"""Share of the stride by which a time may be off its place."""
SINGLE = 4e-7
"""Relative rounding of times in single precision."""
WRAP = 2.0**32
"""Steps that are stored in 32 bits begin anew after so many."""


@dataclass(frozen=True)
class Clock:
    """What places the frames.

    Attributes:
        kind: "step", "time" or "frame" (their order in the file).
        now: (frame,) of each frame.
        times: (frame,) as the file says them, None where it does not, or where they are of no use.
        steps: whether ``now`` counts MD steps.
        remarks: what was found and decided, one line each.
    """

    kind: str
    now: Float64
    times: Float64 | None
    remarks: tuple[str, ...] = ()

    @property
    def steps(self) -> bool:
        """Whether places are MD steps."""
        return self.kind == "step"


def choose_clock(path: Path, stamps: Sequence[Stamp], options: TrajectoryOptions) -> Clock:
    """Return steps, else times, else the order in the file; of two that contradict one another the one that is right.

    Args:
        path: for messages.
        stamps: of the frames that are used.
        options: with --dt and --timestep.

    Raises:
        UserError: nothing tells when the frames are.
    """
    steps, times = _steps(stamps), _times(stamps)
    stamped = steps is not None or times is not None
    remarks: list[str] = []
    if steps is not None and _useless(steps):
        remarks.append(f"{path}: all steps are {steps[0]:.0f}: they are not used")
        steps = None
    if times is not None and _useless(times):
        times = None
    if steps is not None and times is not None:
        steps, times = _agreed(path, steps, times, options, remarks)
    if steps is not None:
        return Clock("step", steps, times, tuple(remarks))
    coarse = [times] if times is not None and _coarse(times) else []
    if times is not None and not coarse:
        return Clock("time", times, times, tuple(remarks))
    if stamped and options.dt is None and coarse:
        raise UserError(
            f"{path}: its times (up to {np.abs(coarse[0]).max():g}) are too coarse to tell its frames apart: "
            "give `dt` (between two frames)"
        )
    if stamped and options.dt is None:
        raise UserError(f"{path}: its steps and times do not tell when the frames are: give `dt` (between two frames)")
    if stamped:
        remarks = [f"{path}: its steps and times do not tell its frames apart: they are taken to be --dt apart"]
    return Clock("frame", np.arange(len(stamps), dtype=np.float64), None, tuple(remarks))


def _steps(stamps: Sequence[Stamp]) -> Float64 | None:
    """Return the steps, those that were stored in 32 bits counted on."""
    if any(stamp.step is None for stamp in stamps):
        return None
    steps = np.array([float(stamp.step or 0) for stamp in stamps])
    if np.abs(steps).max(initial=0.0) <= WRAP / 2:
        steps = steps + WRAP * np.cumsum(np.diff(steps, prepend=steps[:1]) < -0.9 * WRAP)
    return steps


def _times(stamps: Sequence[Stamp]) -> Float64 | None:
    if any(stamp.time is None for stamp in stamps):
        return None
    return np.array([float(stamp.time or 0.0) for stamp in stamps])


def _useless(values: Float64) -> bool:
    """Tell whether frames cannot be told apart by these; some that repeat are another matter."""
    return len(values) > 2 and bool(np.all(values == values[0]))


def _coarse(times: Float64) -> bool:
    """Tell whether times in single precision are too large to tell frames apart."""
    later = np.diff(times)
    if not np.isfinite(times).all() or len(later) < 2:
        return False
    rounding = float(np.spacing(np.abs(times).max().astype(np.float32)))
    return rounding >= 0.5 * abs(float(later.mean())) and float(np.ptp(later)) > UNEVEN * abs(float(later.mean()))


def _agreed(
    path: Path, steps: Float64, times: Float64, options: TrajectoryOptions, remarks: list[str]
) -> tuple[Float64 | None, Float64 | None]:
    """Return steps and times, None for those that are wrong; say what was found."""
    ahead, later = np.diff(steps), np.diff(times)
    if (later < -_rounding(times)).any() and not (ahead < 0).any():
        remarks.append(
            f"{path}: its times go back at frame {_first(later < 0) + options.skip}, its steps do not: "
            "times are not used"
        )
        return steps, None
    if (ahead < 0).any() and not (later < 0).any():
        remarks.append(
            f"{path}: its steps begin anew at frame {_first(ahead < 0) + options.skip}, its times go on: frames are "
            "placed by their times"
        )
        return None, times
    forward = ahead > 0
    if not forward.any() or not np.isfinite(times).all():
        return steps, times
    per_step = float(np.median(later[forward] / ahead[forward]))
    off = np.abs(later - per_step * ahead) > UNEVEN * np.abs(per_step * ahead) + _rounding(times)
    off &= forward
    if not off.any():
        return steps, times
    rates, numbers = later[forward] / ahead[forward], np.flatnonzero(forward)
    changed = numbers[np.abs(rates - rates[0]) > UNEVEN * np.abs(rates[0]) + _rounding(times) / ahead[forward]]
    what = f"{path}: the time step changes within it, from {rates.min():.6g} to {rates.max():.6g}"
    what += f" (first after frame {changed[0] + options.skip})" if len(changed) else ""
    if options.timestep is not None or options.dt is not None:
        given = "--timestep" if options.dt is None else "--dt"
        remarks.append(f"{what}: {given} was given and is used, for frames placed by their steps")
        return steps, None
    remarks.append(f"{what}: frames are placed by their times")
    return None, times


def _first(where: np.ndarray) -> int:
    return int(np.argmax(where)) + 1


def _rounding(times: Float64) -> float:
    return SINGLE * float(np.abs(times).max(initial=0.0))
