"""How far two estimates are apart, and what each costs at equal interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlgle_lammps.records import Estimate


def z_score(estimate: Estimate, reference: Estimate) -> float:
    """Return (estimate - reference) in their combined standard errors; they are taken as independent."""
    return (estimate.value - reference.value) / math.hypot(estimate.se, reference.se)


@dataclass(frozen=True)
class Cost:
    """What a D costs by a surrogate and by plain MD.

    Attributes:
        frames: MD frames that the surrogate used.
        plain_frames: MD frames with which plain MD would have the same standard error.
        speed_up: plain_frames/frames, MD alone.
        md_s: wall seconds of the surrogate's MD; None where they are unknown (a replay).
        learning_s: wall seconds of training and generation.
        plain_s: wall seconds of plain MD at equal error; None where unknown.
        speed_up_with_learning: plain_s/(md_s + learning_s); None where unknown.
    """

    frames: int
    plain_frames: float
    speed_up: float
    md_s: float | None
    learning_s: float
    plain_s: float | None
    speed_up_with_learning: float | None


def cost_at_equal_error(
    estimate: Estimate,
    frames: int,
    plain: Estimate,
    plain_frames: int,
    seconds_per_frame: float | None,
    learning_s: float,
) -> Cost:
    """Return the costs; plain MD's standard error is taken to fall as one over the root of its frames.

    Args:
        estimate: by the surrogate, from ``frames``.
        frames: MD frames that it used.
        plain: the slope of the MSD of plain MD, from ``plain_frames``.
        plain_frames: MD frames that this used.
        seconds_per_frame: wall time of MD per frame; None where unknown.
        learning_s: wall seconds of training and generation.

    Limit: equal errors from equally many frames are a speed-up of 1.
    """
    needed = plain_frames * (plain.se / estimate.se) ** 2
    md_s = None if seconds_per_frame is None else seconds_per_frame * frames
    plain_s = None if seconds_per_frame is None else seconds_per_frame * needed
    with_learning = None if md_s is None or plain_s is None else plain_s / (md_s + learning_s)
    return Cost(frames, needed, needed / frames, md_s, learning_s, plain_s, with_learning)
