"""Standard errors from what is left when one unit is taken away, and the intervals that few units allow."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mlgle_lammps.records import Estimate, Float64


def jackknife_error(left_out: Float64) -> float:
    """Return the standard error sqrt((n - 1)/n Σ (x_i - <x>)²) of a statistic, x_i being it without unit i, (n,).

    Limit: for a mean, the standard error of the mean.
    """
    return float(np.sqrt((len(left_out) - 1) * np.mean((left_out - left_out.mean()) ** 2)))


def student_estimate(value: float, se: float, dof: float, method: str) -> Estimate:
    """Return an estimate with Student's 95% interval; NaN bounds where no degree of freedom is left."""
    half = float(stats.t.ppf(0.975, dof)) * se if dof > 0 else np.nan
    return Estimate(value, se, (value - half, value + half), method)
