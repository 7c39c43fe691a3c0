"""What the frames of a stream say of its modes and displacements, whoever made them, gathered block by block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mlgle_lammps.diffusion.slope import slope_accumulator
from mlgle_lammps.observe.bead_motion import BeadMotion, BeadMotionGatherer
from mlgle_lammps.records import Float32, Float64, Frames, Int64
from mlgle_lammps.statistics.correlation import Autocorrelation, autocorrelation
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.statistics.pieces import longest_piece

_BYTES_FOR_CORRELATION = 2**28
LAGS = (2, 8, 32, 128)
"""Of the motion of centres and modes together, in frames, as far as blocks reach."""

MOTIONLESS = 1e-150  # a mean square below that: its square is no number


@dataclass(frozen=True)
class ModeSummary:
    """What a stream says of its modes; chains, or generated trajectories, are the independent units.

    Attributes:
        correlation: NACF and variance from ``n_correlated`` chains.
        variance: (mode,) per component from all chains, length².
        variance_se: (mode,) its standard error.
        kurtosis: (mode,) <x⁴>/<x²>² per component, 3 for a normal one.
        kurtosis_se: (mode,) likewise.
        segment_lengths: frames in each uninterrupted piece.
        n_chains: chains.
        n_correlated: chains that ``correlation`` is from, the first ones.
        n_dimensions: d, directions that were averaged over.
    """

    correlation: Autocorrelation
    variance: Float64
    variance_se: Float64
    kurtosis: Float64
    kurtosis_se: Float64
    segment_lengths: tuple[int, ...]
    n_chains: int
    n_correlated: int
    n_dimensions: int = 3

    @property
    def n_frames(self) -> int:
        """Frames that have modes."""
        return sum(self.segment_lengths)

    def first_modes(self, n_modes: int) -> ModeSummary:
        """Return what is said of modes 1..n_modes."""
        if n_modes >= len(self.variance):
            return self
        told = {name: getattr(self, name)[:n_modes] for name in ("variance", "variance_se", "kurtosis", "kurtosis_se")}
        found = self.correlation
        correlation = Autocorrelation(
            found.nacf[:, :n_modes],
            found.se[:, :n_modes],
            found.variance[:n_modes],
            found.by_group[:, :, :n_modes],
            found.group_sizes,
        )
        return replace(self, correlation=correlation, **told)


@dataclass(frozen=True)
class StreamSummary:
    """What a stream says.

    Attributes:
        moments: displacements of its centres of mass, at lags up to a quarter of its frames.
        modes: of its modes.
        motion: of centres and modes together at a few lags; None where too little was gathered.
    """

    moments: Moments
    modes: ModeSummary
    motion: BeadMotion | None = None

    @property
    def correlation(self) -> Autocorrelation:
        """NACF of its modes."""
        return self.modes.correlation

    @property
    def n_frames(self) -> int:
        """Frames, one a step where a model made them."""
        return self.modes.n_frames


def power_sums(modes: Float32) -> tuple[Float64, Float64]:
    """Return each chain's sums of x² and x⁴ over time and xyz, (chain, mode) both.

    Args:
        modes: (time, chain, mode, d).
    """
    squares = np.square(modes)
    second = np.einsum("tcmx->cm", squares, dtype=np.float64)
    return second, np.einsum("tcmx,tcmx->cm", squares, squares, dtype=np.float64)


def kurtosis(second: Float64, fourth: Float64) -> tuple[Float64, Float64]:
    """Return <x⁴>/<x²>² and its standard error, chains or trajectories as independent units, (mode,) both.

    The error is that of the ratio to first order in its numerator and denominator; NaN for a single unit. Of a mode
    that does not move both are NaN.

    Args:
        second: (unit, mode) each unit's mean of x².
        fourth: (unit, mode) each unit's mean of x⁴.

    Limit: 3 for a normal x, whatever its correlation in time.
    """
    mean = second.mean(axis=0)
    mean = np.where(mean > MOTIONLESS, mean, np.nan)
    value: Float64 = fourth.mean(axis=0) / mean**2
    if len(second) < 2:
        return value, np.full(len(value), np.nan)
    influence = fourth / mean**2 - 2.0 * value * second / mean
    return value, influence.std(axis=0, ddof=1) / np.sqrt(len(second))


def summarize_modes(
    sums: tuple[Float64, Float64],
    correlation: Autocorrelation,
    segments: Int64,
    n_correlated: int | None = None,
    n_dimensions: int = 3,
) -> ModeSummary:
    """Return the record of a stream's modes from its sums.

    Args:
        sums: of x² and x⁴ over time and xyz, (chain, mode) both, as by ``power_sums``.
        correlation: NACF of the modes.
        segments: (time,) segment of each frame that has modes.
        n_correlated: chains that ``correlation`` is from; None for all.
        n_dimensions: d, columns that were summed.
    """
    second, fourth = (power / (n_dimensions * len(segments)) for power in sums)
    n_chains = len(second)
    value, value_se = kurtosis(second, fourth)
    return ModeSummary(
        correlation=correlation,
        variance=second.mean(axis=0),
        variance_se=second.std(axis=0, ddof=min(1, n_chains - 1)) / np.sqrt(n_chains),
        kurtosis=value,
        kurtosis_se=value_se,
        segment_lengths=tuple(np.unique(segments, return_counts=True)[1].tolist()),
        n_chains=n_chains,
        n_correlated=n_chains if n_correlated is None else n_correlated,
        n_dimensions=n_dimensions,
    )


def summarize_window(window: Frames, correlation: Autocorrelation) -> ModeSummary:
    """Return what frames that are held in memory say of their modes; ``correlation`` is of the same frames."""
    return summarize_modes(power_sums(window.modes), correlation, window.segments, n_dimensions=window.modes.shape[3])


class StreamStatistics:
    """Add blocks of frames as they come, then ask for the summary; memory does not grow with the blocks."""

    def __init__(self, n_chains: int, n_modes: int, n_frames: int, n_dimensions: int = 3) -> None:
        """Make room.

        Args:
            n_chains: chains, or generated trajectories.
            n_modes: k.
            n_frames: that will come, at most.
            n_dimensions: d, columns of the frames.
        """
        per_chain = max(1, n_frames * n_modes * n_dimensions * 4)
        kept = int(np.clip(_BYTES_FOR_CORRELATION // per_chain, 1, n_chains))
        self._kept = np.empty((n_frames, kept, n_modes, n_dimensions), dtype=np.float32)
        self._segments = np.empty(n_frames, dtype=np.int64)
        self._accumulator = slope_accumulator(n_chains, n_frames, n_dimensions=n_dimensions)
        self._sums = np.zeros((n_chains, n_modes)), np.zeros((n_chains, n_modes))
        self._motion = BeadMotionGatherer(n_chains, n_modes, LAGS)
        self._done = 0

    def add(self, frames: Frames) -> None:
        """Add the next frames, with modes 1..k; a new segment number starts afresh."""
        starts = np.flatnonzero(np.diff(frames.segments, prepend=frames.segments[0] - 1)).tolist()
        for first, after in pairwise([*starts, len(frames)]):
            self._accumulator.add_centers(frames.com[first:after], segment=int(frames.segments[first]))
        for total, power in zip(self._sums, power_sums(frames.modes), strict=True):
            total += power
        self._motion.add(frames)
        own = slice(self._done, self._done + len(frames))
        self._kept[own] = frames.modes[:, : self._kept.shape[1]]
        self._segments[own] = frames.segments
        self._done = own.stop

    def summary(self) -> StreamSummary:
        """Return the statistics of all frames added, of which there must be one."""
        kept, segments = self._kept[: self._done], self._segments[: self._done]
        longest = longest_piece(segments)
        correlation = autocorrelation(kept, segments, max(2, longest // 2))
        modes = summarize_modes(self._sums, correlation, segments, kept.shape[1], kept.shape[3])
        return StreamSummary(self._accumulator.moments(), modes, self._motion.motion())
