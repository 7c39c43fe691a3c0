"""Distributions of displacements and modes, gathered group of chains by group, against the normal one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means

_BINS = np.linspace(-8.0, 8.0, 641)  # in units of the scale
_MERGED = 8  # fine bins in one of the bins that are shown


@dataclass(frozen=True)
class Distribution:
    """What samples of one quantity say, by groups of chains, which are the independent units for errors.

    Attributes:
        edges: (bin + 1,) fine bins in the quantity's unit; samples beyond the ends are counted in ``size`` only.
        counts: (group, bin).
        size: (group,) samples.
        powers: (group, 4) sums of x, x², x³, x⁴.
    """

    edges: Float64
    counts: Float64
    size: Float64
    powers: Float64

    @property
    def std(self) -> float:
        """Standard deviation about the mean."""
        first, second = (self.powers.sum(axis=0) / self.size.sum())[:2]
        return float(np.sqrt(second - first**2))

    @property
    def excess_kurtosis(self) -> tuple[float, float]:
        """Return <(x-<x>)⁴>/<(x-<x>)²>² - 3 and its jackknife error over groups (NaN for one); 0 for a normal one."""
        n_groups = len(self.size)
        value = _kurtosis(self.powers.sum(axis=0) / self.size.sum())
        if n_groups < 2:
            return value, float("nan")
        left_out = np.array([_kurtosis(p) for p in left_out_means(self.powers / self.size[:, None], self.size)])
        return value, float(jackknife_error(left_out, self.size, value))

    def density(self, unit: float) -> tuple[Float64, Float64, Float64]:
        """Return bin centres in ``unit``, the density there and its standard error over groups, each (bin,)."""
        counts = self.counts.reshape(len(self.counts), -1, _MERGED).sum(axis=2)
        edges = self.edges[::_MERGED] / unit
        by_group = counts / self.size[:, None] / np.diff(edges)
        total = counts.sum(axis=0) / self.size.sum() / np.diff(edges)
        se = jackknife_error(left_out_means(by_group, self.size), self.size, total)
        return (edges[1:] + edges[:-1]) / 2, total, se

    def normal_probability(self, n_points: int = 61) -> tuple[Float64, Float64]:
        """Return the quantiles of a standard normal and those of (x - <x>)/std: a straight line for a normal x.

        The furthest quantile still has some ten samples beyond it.
        """
        n = self.size.sum()
        reach = min(4.0, float(stats.norm.isf(min(10.0 / n, 0.4))))
        normal = np.linspace(-reach, reach, n_points)
        below = (n - self.counts.sum()) / 2  # beyond the bins: taken as even on both sides
        cumulated = np.concatenate([[0.0], np.cumsum(self.counts.sum(axis=0))]) + below
        found = np.interp(stats.norm.cdf(normal) * n, cumulated, self.edges)
        mean = float(self.powers[:, 0].sum() / n)
        return normal, (found - mean) / self.std


def _kurtosis(moments: Float64) -> float:
    """Return the excess kurtosis from the raw moments <x>, <x²>, <x³>, <x⁴>."""
    a, b, c, d = moments
    return float((d - 4 * a * c + 6 * a**2 * b - 3 * a**4) / (b - a**2) ** 2 - 3.0)


class DistributionGatherer:
    """Add one group of chains at a time, then ask for the distribution; memory does not grow with the samples."""

    def __init__(self, scale: float | None = None) -> None:
        """Take bins of ``scale``/40 out to 8 scales; None takes the first group's standard deviation."""
        self._scale = scale
        self._counts: list[Int64] = []
        self._sizes: list[int] = []
        self._powers: list[Float64] = []

    def add(self, samples: ArrayLike) -> None:
        """Add all samples, of any shape, of one group of chains."""
        x = np.asarray(samples, dtype=np.float64).ravel()
        if self._scale is None:
            self._scale = float(x.std()) or 1.0
        self._counts.append(np.histogram(x, _BINS * self._scale)[0])
        self._sizes.append(len(x))
        square = x**2
        self._powers.append(np.array([x.sum(), square.sum(), square @ x, square @ square]))

    def distribution(self) -> Distribution:
        """Return what has been added."""
        edges = _BINS * (self._scale or 1.0)
        counts, sizes = np.array(self._counts, dtype=float), np.array(self._sizes, dtype=float)
        return Distribution(edges, counts, sizes, np.array(self._powers))
