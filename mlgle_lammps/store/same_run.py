"""Which sources hold frames of one and the same run, told by what the frames show and by when they are.

Each frame is reduced to some random sums over the modes of its chains, which know neither the box's images nor a shift
of the whole system. Frames whose sums agree are the same frame, whatever file they are in. So one file given twice, a
copy, a prefix, the same run at another stride, and parts that overlap are found without trust in steps or times. Parts
that share no frame are one run where the second begins one frame after the first ends, and mode 1 has moved by no more
than it does from frame to frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import KDTree

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float32, Float64, Int64

SUMS = 16
"""Random sums that say which frame it is."""
SLOW_SUMS = 32
"""Random sums over mode 1, which say how far a frame is from another in time."""
SAME = 0.05
"""Share of the distance between neighbouring frames within which two frames are the same."""
NEAR = 2.0
"""Squared distance, in that of neighbours, up to which a frame may follow another."""
TELLING = 0.5
"""Share of the squared distance of unrelated frames above which neighbours are too far apart to tell what follows."""
TELLING_ALONE = 0.1
"""The same where nothing but what frames show says that one follows another."""


class FrameMarks:
    """Reduces frames to their random sums, the same ones for all sources of one melt.

    Args:
        n_chains: P.
        n_modes: modes that are looked at.
    """

    def __init__(self, n_chains: int, n_modes: int) -> None:
        random = np.random.default_rng(14)
        self.n_modes = n_modes
        of_all = random.choice([-1.0, 1.0], (SUMS, n_chains, n_modes, 3))
        self._of_all = of_all * np.arange(1, n_modes + 1)[:, np.newaxis]  # variances fall about as 1/p²
        self._of_slow = random.choice([-1.0, 1.0], (SLOW_SUMS, n_chains, 3))

    def __call__(self, modes: Float64 | Float32) -> Float64:
        """Return (time, SUMS + SLOW_SUMS) of modes 1.. (time, chain, mode, 3)."""
        modes = np.asarray(modes[:, :, : self.n_modes], dtype=np.float64)
        return np.concatenate(
            [
                np.einsum("tcmx,scmx->ts", modes, self._of_all, optimize=True),
                np.einsum("tcx,scx->ts", modes[:, :, 0], self._of_slow, optimize=True),
            ],
            axis=1,
        )


@dataclass(frozen=True)
class Track:
    """Frames of a run in their order, from one or several sources.

    Attributes:
        now: (frame,) when each is, increasing: steps or times where ``stamped``, else its place.
        stamped: whether the sources say when frames are.
        marks: (frame, sum) of `FrameMarks`.
        sources: (frame,) number of the source that gives it.
        numbers: (frame,) its number in that source.
        members: sources that belong to the run, also those of which no frame is needed.
        repeated: frames that were left out since another source has them.
        replaced: frames that were left out since the run was started again before them.
        shifted: sources whose steps or times were moved, as they begin anew.
    """

    now: Float64
    stamped: bool
    marks: Float64
    sources: Int64
    numbers: Int64
    members: frozenset[int]
    repeated: int = 0
    replaced: int = 0
    shifted: frozenset[int] = frozenset()

    @classmethod
    def of_source(cls, source: int, marks: Float64, now: Float64 | None = None, numbers: Int64 | None = None) -> Track:
        """Return the frames of one source, ``now`` None where it does not say when they are."""
        n = len(marks)
        return cls(
            now=np.arange(n, dtype=np.float64) if now is None else now,
            stamped=now is not None,
            marks=marks,
            sources=np.full(n, source, dtype=np.int64),
            numbers=np.arange(n, dtype=np.int64) if numbers is None else numbers,
            members=frozenset([source]),
        )

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.now)

    def __getitem__(self, where: slice | Int64 | np.ndarray) -> Track:
        """Return some of the frames."""
        own = {name: getattr(self, name)[where] for name in ("now", "marks", "sources", "numbers")}
        return replace(self, **own)

    @property
    def stride(self) -> float:
        """The usual distance of two frames; 1 where there is one."""
        return float(np.median(np.diff(self.now))) if len(self) > 1 else 1.0

    def neighbours(self) -> float:
        """Return the usual distance of the sums of neighbouring frames; infinite where there is one frame."""
        if len(self) < 2:
            return np.inf
        return float(np.median(np.linalg.norm(np.diff(self.marks[:, :SUMS], axis=0), axis=1)))

    def slow(self) -> tuple[float, float]:
        """Return the mean squared distances of neighbours and of unrelated frames by mode 1."""
        slow = self.marks[:, SUMS:]
        near = float((np.diff(slow, axis=0) ** 2).sum(axis=1).mean()) if len(self) > 1 else 0.0
        return near, 2 * float((slow**2).sum(axis=1).mean())

    def uses(self, source: int) -> bool:
        """Tell whether a frame of the source is needed."""
        return bool((self.sources == source).any())


def join_tracks(tracks: Sequence[Track], names: Sequence[str]) -> list[Track]:
    """Return the runs that there are, parts of one joined.

    Args:
        tracks: one for each source, in the order of the sources.
        names: of the sources, for messages.

    Raises:
        UserError: sources that share frames in another order, or in the middle of both.
    """
    runs: list[Track] = []
    for track in tracks:
        runs.append(track)
        while (found := _last_joined(runs, names)) is not None:
            i, whole = found
            runs[i : i + 1] = [whole]
            runs.pop()
            runs.append(runs.pop(i))  # what was joined may join with others now
    return sorted(runs, key=lambda run: min(run.members))


def _last_joined(runs: Sequence[Track], names: Sequence[str]) -> tuple[int, Track] | None:
    """Return what the last run joins with, and both as one."""
    for i in reversed(range(len(runs) - 1)):
        if (whole := joined_track(runs[i], runs[-1], names)) is not None:
            return i, whole
    return None


def joined_track(one: Track, other: Track, names: Sequence[str]) -> Track | None:
    """Return both as one where they are parts of one run; None where they are independent.

    Raises:
        UserError: they share frames in another order, or in the middle of both.
    """
    if not len(one) or not len(other):
        return None
    within = SAME * min(one.neighbours(), other.neighbours())
    if not 0 < within < np.inf:
        return None
    apart, nearest = KDTree(one.marks[:, :SUMS]).query(other.marks[:, :SUMS], distance_upper_bound=within)
    there = np.flatnonzero(np.isfinite(apart))
    if len(there):
        return _overlapping(one, other, nearest[there], there, names)
    return _interleaved(one, other) if one.stamped and other.stamped else _following(one, other)


def _overlapping(one: Track, other: Track, i: Int64, j: Int64, names: Sequence[str]) -> Track | None:
    """Return both as one by the frames i of one and j of the other, which are the same; None for two replicas."""
    pair = " and ".join(names[min(track.members)] for track in (one, other))
    if (np.diff(i) <= 0).any():
        raise UserError(f"{pair} hold the same frames in another order: give each part of a run once, in its own file")
    reach_i, reach_j = (int(np.diff(k).max(initial=1)) for k in (i, j))
    starts = i[0] < reach_i, j[0] < reach_j
    to_the_end = len(one) - 1 - i[-1] < reach_i or len(other) - 1 - j[-1] < reach_j
    if not any(starts):
        raise UserError(f"{pair} share {len(i)} frames in the middle of both: give each part of a run once")
    if not one.stamped and other.stamped:
        return _overlapping(other, one, j, i, names)
    moved = _in_time_of(one, other, i, j)
    if to_the_end and len(i) == len(one) < len(other):
        return _in_order(moved, one[:0], repeated=len(i))
    if to_the_end:
        early, late, again = (one, moved, j) if one.now[0] <= moved.now[0] else (moved, one, i)
        fresh = np.ones(len(late), dtype=bool)
        fresh[again] = False
        return _in_order(early, late[fresh], repeated=len(again))
    if all(starts):
        return None  # replicas from one configuration
    if starts[1]:
        return _restarted(one, int(i[0]), moved)
    return _restarted(moved, int(j[0]), one)


def _in_time_of(one: Track, other: Track, i: Int64, j: Int64) -> Track:
    """Return the other with its frames where one has them."""
    rate = one.stride / other.stride
    if len(i) > 1:
        rate = float((one.now[i[-1]] - one.now[i[0]]) / (other.now[j[-1]] - other.now[j[0]]))
    if one.stamped and other.stamped and (len(i) == 1 or abs(rate - 1) < 1e-6):
        rate = 1.0
    now = one.now[i[0]] + rate * (other.now - other.now[j[0]])
    if np.abs(now - other.now).max() <= 1e-6 * one.stride:
        return other
    return replace(other, now=now, shifted=other.shifted | other.members)


def _in_order(one: Track, other: Track, repeated: int = 0, replaced: int = 0) -> Track:
    """Return all frames of both in the order of time."""
    now = np.concatenate([one.now, other.now])
    order = np.argsort(now, kind="stable")
    arrays = {
        name: np.concatenate([getattr(one, name), getattr(other, name)])[order]
        for name in ("marks", "sources", "numbers")
    }
    return Track(
        now=now[order],
        stamped=one.stamped or other.stamped,
        members=one.members | other.members,
        repeated=one.repeated + other.repeated + repeated,
        replaced=one.replaced + other.replaced + replaced,
        shifted=one.shifted | other.shifted,
        **arrays,
    )


def _restarted(early: Track, at: int, later: Track) -> Track:
    """Return the early frames before ``at``, and the later ones, which the run was started again for from there."""
    return _in_order(early[:at], later, replaced=len(early) - at)


def _interleaved(one: Track, other: Track) -> Track | None:
    """Return both as one where each frame is as near to the other's as neighbours in time are."""
    stride = max(one.stride, other.stride)
    if len(one) < 2 or len(other) < 2:
        stride = one.stride if len(one) > 1 else other.stride
    after = np.clip(np.searchsorted(one.now, other.now), 1, max(len(one) - 1, 1))
    around = np.stack([after - 1, np.minimum(after, len(one) - 1)])
    between = np.abs(one.now[around] - other.now)
    nearest, between = around[between.argmin(axis=0), np.arange(len(other))], between.min(axis=0)
    if (between < 1e-3 * stride).any():
        return _following(one, other)  # other frames of the same times: times begin anew, or they are other runs
    close = between < 1.001 * stride
    if not close.any():
        return None
    apart = ((one.marks[nearest[close], SUMS:] - other.marks[close, SUMS:]) ** 2).sum(axis=1)
    return _in_order(one, other) if _near(float(apart.mean()), one, other, TELLING) else None


def _following(one: Track, other: Track) -> Track | None:
    """Return both as one where what frames show says that one begins a frame after the other ends."""
    found = [
        (float(((first.marks[-1, SUMS:] - second.marks[0, SUMS:]) ** 2).sum()), first, second)
        for first, second in ((one, other), (other, one))
    ]
    apart, first, second = min(found, key=lambda entry: entry[0])
    if not _near(apart, first, second, TELLING_ALONE):
        return None
    rate = first.stride / second.stride if not second.stamped else 1.0
    now = first.now[-1] + first.stride + rate * (second.now - second.now[0])
    return _in_order(first, replace(second, now=now, shifted=second.shifted | second.members))


def _near(apart: float, one: Track, other: Track, telling: float) -> bool:
    """Tell whether a squared distance is that of neighbours, and these are nearer than unrelated frames."""
    near, unrelated = (max(values) for values in zip(one.slow(), other.slow(), strict=True))
    return apart <= NEAR * near and near <= telling * unrelated
