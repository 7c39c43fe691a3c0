"""Statistics of a generated ensemble, gathered while it streams by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.diffusion.slope import LAGS_PER_OCTAVE
from mlgle_lammps.records import Float32, Float64, Frames
from mlgle_lammps.statistics.correlation import Autocorrelation, autocorrelation
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments

_BYTES_FOR_CORRELATION = 2**28


@dataclass(frozen=True)
class GeneratedSummary:
    """What a generated ensemble says.

    Attributes:
        moments: displacements of its centres of mass.
        correlation: NACF of its modes, from as many trajectories as fit in 256 MB.
        variance: (mode,) per component, length².
        variance_se: (mode,) its standard error, trajectories as independent units.
        kurtosis: (mode,) <x⁴>/<x²>² per component, 3 for a normal one.
        kurtosis_se: (mode,) likewise.
        n_steps: steps per trajectory.
        n_kept: trajectories that ``correlation`` is from.
    """

    moments: Moments
    correlation: Autocorrelation
    variance: Float64
    variance_se: Float64
    kurtosis: Float64
    kurtosis_se: Float64
    n_steps: int
    n_kept: int


def power_sums(modes: Float32) -> tuple[Float64, Float64]:
    """Return each chain's sums of x² and x⁴ over time and xyz, (chain, mode) both.

    Args:
        modes: (time, chain, mode, 3).
    """
    squares = np.square(modes)
    second = np.einsum("tcmx->cm", squares, dtype=np.float64)
    return second, np.einsum("tcmx,tcmx->cm", squares, squares, dtype=np.float64)


def kurtosis(second: Float64, fourth: Float64) -> tuple[Float64, Float64]:
    """Return <x⁴>/<x²>² and its standard error, chains or trajectories as independent units, (mode,) both.

    The error is that of the ratio to first order in its numerator and denominator; NaN for a single unit.

    Args:
        second: (unit, mode) each unit's mean of x².
        fourth: (unit, mode) each unit's mean of x⁴.

    Limit: 3 for a normal x, whatever its correlation in time.
    """
    mean = np.maximum(second.mean(axis=0), 1e-300)
    value: Float64 = fourth.mean(axis=0) / mean**2
    if len(second) < 2:
        return value, np.full(len(value), np.nan)
    influence = fourth / mean**2 - 2.0 * value * second / mean
    return value, influence.std(axis=0, ddof=1) / np.sqrt(len(second))


class GeneratedStatistics:
    """Add chunks of generated steps, then ask for the summary; memory does not grow with the chunks."""

    def __init__(self, n_trajectories: int, n_modes: int, n_steps: int) -> None:
        per_trajectory = max(1, n_steps * n_modes * 3 * 4)
        kept = int(np.clip(_BYTES_FOR_CORRELATION // per_trajectory, 1, n_trajectories))
        self._kept = np.empty((n_steps, kept, n_modes, 3), dtype=np.float32)
        self._accumulator = MomentAccumulator(n_trajectories, 0, max(4, n_steps // 4), LAGS_PER_OCTAVE)
        self._second = np.zeros((n_trajectories, n_modes))
        self._fourth = np.zeros((n_trajectories, n_modes))
        self._done = 0

    def add(self, frames: Frames) -> None:
        """Add the next steps; trajectories are on the chain axis."""
        modes = frames.modes
        self._accumulator.add_centers(frames.com)
        second, fourth = power_sums(modes)
        self._second += second
        self._fourth += fourth
        self._kept[self._done : self._done + len(modes)] = modes[:, : self._kept.shape[1]]
        self._done += len(modes)

    def summary(self) -> GeneratedSummary:
        """Return the statistics of all steps added."""
        per_trajectory, fourth = self._second / (3 * self._done), self._fourth / (3 * self._done)
        n_trajectories = len(per_trajectory)
        kept = self._kept[: self._done]
        value, value_se = kurtosis(per_trajectory, fourth)
        return GeneratedSummary(
            moments=self._accumulator.moments(),
            correlation=autocorrelation(kept, np.zeros(self._done, dtype=np.int64), max(2, self._done // 2)),
            variance=per_trajectory.mean(axis=0),
            variance_se=per_trajectory.std(axis=0, ddof=min(1, n_trajectories - 1)) / np.sqrt(n_trajectories),
            kurtosis=value,
            kurtosis_se=value_se,
            n_steps=self._done,
            n_kept=kept.shape[1],
        )
