"""Stress relaxation and viscosity from the fluctuating pressure tensor (Green and Kubo).

G(t) = V/(5kT) Σ <σ_xy σ_xy> + V/(30kT) Σ <N_xy N_xy>, three terms each, N_xy = σ_xx - σ_yy (Likhtman, Sukumaran and
Ramirez 2007): all five independent components of an isotropic melt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.multi_tau import BlockCorrelation
from mlgle_lammps.statistics.replicas import Replicas

LEAST_BLOCKS = 4
SHEAR, NORMAL = 1.0 / 5.0, 1.0 / 30.0


@dataclass(frozen=True)
class StressRelaxation:
    """G(t) from stress.

    Attributes:
        times: (lag,) from 0.
        G: (lag,) blocks of time as units.
    """

    times: Float64
    G: Replicas

    def viscosity(self, until: float) -> Replicas:
        """Return ∫ G dt up to a time, or the last one, by the trapezoidal rule: the running integral."""
        end = min(until, float(self.times[-1]))
        last = int(np.searchsorted(self.times, end))
        times = np.append(self.times[:last], end)
        return self.G.map(lambda G: float(np.trapezoid([*G[:last], np.interp(end, self.times, G)], times)))

    def sure_viscosity(self, until: float, span: float, at_least: float) -> Replicas:
        """Return the same with an error that is not below that of Gaussian noise, 2η √(until / 5 span).

        The error by blocks grows and falls with the value: where noise happens to be small both are, and the value
        looks surer than it is. The noise's own size hangs on the true η, for which another estimate stands in where
        it is larger.

        Args:
            until: time up to which G is integrated, long against G's decay.
            span: of the record.
            at_least: η by another route, in units of the integral.

        Limit: for noise without memory the exact standard error over five components.
        """
        found = self.viscosity(until)
        least = 2.0 * max(float(found.value), at_least) * np.sqrt(until / (5.0 * span))
        return replace(found, effect=found.effect * max(1.0, (least / float(found.se)) ** 2))


def stress_relaxation(
    correlation: BlockCorrelation, spacing: float, factor: float, longest: float, block: float
) -> StressRelaxation | None:
    """Return G(t) with errors over blocks of time that are each as long as G takes to decay.

    Args:
        correlation: of xy, yz, zx and the three normal differences.
        spacing: time between two samples.
        factor: V/kT times the square of the unit of pressure.
        longest: time after which nothing is left of G; blocks are joined until they span that.
        block: time that a block spans now.

    Returns:
        None where fewer than four blocks are left: the record is too short.
    """
    joined = max(1, int(np.ceil(longest / block)))
    n_blocks = len(correlation.sums) // joined
    if n_blocks < LEAST_BLOCKS:
        return None
    starts = np.arange(n_blocks) * joined
    sums = np.add.reduceat(correlation.sums, starts, axis=0)
    counts = np.add.reduceat(correlation.counts, starts, axis=0)
    weights = factor * np.repeat([SHEAR, NORMAL], 3)
    together = BlockCorrelation(correlation.lags, sums, counts)
    kept = counts.sum(axis=0) > counts.max(axis=0)
    G = Replicas(together.mean @ weights, together.left_out() @ weights)
    return StressRelaxation(
        spacing * correlation.lags[kept].astype(np.float64), Replicas(G.value[kept], G.left_out[:, kept])
    )
