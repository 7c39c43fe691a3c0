"""Evenly spaced pieces of frames: as the first two frames have it, or at the spacing that uses most of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.formats.clock import SINGLE, UNEVEN
from mlgle_lammps.records import Float64, Int64

SEARCHED = 20_000
"""Frames by which spacings are compared."""
PAIRED = 256
"""Frames of which all distances are looked at."""
CANDIDATES = 48
OFTEN = 0.1
"""Share of steps between frames that may be gaps where a file still counts as even."""


@dataclass(frozen=True)
class Spacing:
    """Frames of one spacing.

    Attributes:
        stride: the spacing.
        used: (used,) places in the list of frames, increasing.
        places: (used,) in strides from the first one; one apart within a piece.
        segments: (used,) number of the uninterrupted piece.
        even: whether all frames are used, and gaps are few.
    """

    stride: float
    used: Int64
    places: Int64
    segments: Int64
    even: bool

    def longest(self) -> int:
        """Return the frames of the longest piece."""
        return int(np.bincount(self.segments).max(initial=0))

    def usable(self, needed: int) -> int:
        """Return how many frames are in pieces of at least so many."""
        sizes = np.bincount(self.segments)
        return int(sizes[sizes >= needed].sum())


def evenly_spaced(now: Float64, needed: int) -> Spacing:
    """Return the frames at the spacing of the first two, or at that which uses most frames where those are too few.

    Args:
        now: (frame,) times, strictly increasing, 2 or more.
        needed: frames that an uninterrupted piece must have to be of use.
    """
    first = spaced(now, float(now[1] - now[0]))
    if first.even or (len(first.used) == len(now) and 2 * first.usable(needed) >= len(now)):
        return first
    best, most = first, first.usable(needed)
    beginning = now[:SEARCHED]
    for stride in _candidates(beginning):
        found = spaced(beginning, stride)
        if found.usable(needed) > most:
            best, most = found, found.usable(needed)
    return spaced(now, best.stride)


def spaced(now: Float64, stride: float) -> Spacing:
    """Return pieces of frames one stride apart; frames between them are left out, and a gap begins a new piece."""
    tolerance = UNEVEN * stride + SINGLE * np.abs(now)
    after = np.searchsorted(now, now + stride - tolerance)
    reached = after < len(now)
    after = np.where(reached, after, 0)
    follows = reached & (np.abs(now[after] - now - stride) <= tolerance) & (after > np.arange(len(now)))
    used, segments, i, segment = [0], [0], 0, 0
    following, goes_on = after.tolist(), follows.tolist()
    while i < len(now) - 1:
        if goes_on[i]:
            i = following[i]
        else:
            i, segment = i + 1, segment + 1
        used.append(i)
        segments.append(segment)
    chosen, pieces = np.array(used, dtype=np.int64), np.array(segments, dtype=np.int64)
    ahead = np.diff(now[chosen]) / stride
    steps = np.where(
        np.diff(pieces) > 0, np.maximum(np.ceil(ahead - UNEVEN - SINGLE * np.abs(now[chosen[1:]]) / stride), 1), 1
    )
    places = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    whole = np.abs(ahead - np.rint(ahead)) <= UNEVEN + SINGLE * np.abs(now[chosen[1:]]) / stride
    gaps = np.count_nonzero(np.diff(pieces))
    even = len(chosen) == len(now) and bool(whole.all()) and bool(gaps <= max(OFTEN * len(now), 1))
    return Spacing(stride, chosen, places, pieces, even)


def _candidates(now: Float64) -> Iterator[float]:
    """Yield distances between frames that occur often."""
    pairs = now[:PAIRED, np.newaxis] - now[np.newaxis, :PAIRED]
    for distances in (np.diff(now), pairs[pairs > 0]):
        rounded = np.array([float(f"{d:.5g}") for d in distances])
        values, counts = np.unique(rounded, return_counts=True)
        for value in values[np.argsort(-counts, kind="stable")[:CANDIDATES]]:
            yield float(np.median(distances[rounded == value]))
