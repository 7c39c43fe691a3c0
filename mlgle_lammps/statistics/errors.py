"""Standard errors from what is left when one unit is taken away, and the intervals that few units allow."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

from mlgle_lammps.records import Estimate, Float64, Int64

Sizes = Int64 | Float64

NORMAL = 1.96
"""Half a 95% interval in standard errors, where these are known exactly."""
MOST_FREEDOM = 1e5
"""Degrees of freedom from which an error counts as known."""


def left_out_means(values: Float64, sizes: Sizes | None = None) -> Float64:
    """Return the mean of all groups but one, for each of them, shape of ``values``; NaN for a single group.

    Args:
        values: (group, ..) mean over each group's units.
        sizes: (group,) units in each; None where they are equally many.
    """
    n_groups = len(values)
    weights = np.ones(n_groups) if sizes is None else np.asarray(sizes, dtype=np.float64)
    if n_groups < 2:
        return np.full(np.shape(values), np.nan)
    weights = weights.reshape(-1, *[1] * (np.ndim(values) - 1))
    weighted = weights * values
    result: Float64 = (weighted.sum(axis=0) - weighted) / (weights.sum() - weights)
    return result


def jackknife_error(left_out: Float64, sizes: Sizes | None = None, whole: Float64 | float | None = None) -> Float64:
    """Return the standard error of a statistic from its values x_i without group i; the shape of one such value.

    Of n equally large groups sqrt((n - 1)/n Σ (x_i - <x>)²). Of others, of a share 1/h_i of all units each, that of
    pseudo-values p_i = h_i x - (h_i - 1) x_i about x_J = Σ p_i/h_i: sqrt(1/n Σ (p_i - x_J)²/(h_i - 1)) (Busing et al.
    1999, Statistics and Computing 9, 3). NaN for a single group.

    Args:
        left_out: (group, ..) the statistic without each group.
        sizes: (group,) units in each group; None where they are equally many.
        whole: (..) the statistic of all groups; needed with ``sizes``.

    Limit: for a mean, the standard error of the mean.
    """
    n_groups = len(left_out)
    if n_groups < 2:
        return np.full(np.shape(left_out)[1:], np.nan)[()]
    if sizes is None or np.ptp(sizes) == 0:
        equal: Float64 = np.sqrt((n_groups - 1) * np.mean((left_out - left_out.mean(axis=0)) ** 2, axis=0))
        return equal
    if whole is None:
        raise ValueError("a jackknife over groups of different sizes needs the statistic of them all")
    h = (np.sum(sizes) / np.asarray(sizes, dtype=np.float64)).reshape(-1, *[1] * (np.ndim(left_out) - 1))
    pseudo = h * whole - (h - 1.0) * left_out
    result: Float64 = np.sqrt(np.mean((pseudo - np.sum(pseudo / h, axis=0)) ** 2 / (h - 1.0), axis=0))
    return result


def ratio_of_means(above: Float64, below: Float64, axis: int = 0) -> tuple[Float64, Float64]:
    """Return <a>/<b> over independent units and its standard error to first order in both.

    Args:
        above: a, with the units on ``axis``.
        below: b, the same shape, its means above 0.
        axis: of the units, two or more.
    """
    mean = np.maximum(below.mean(axis=axis, keepdims=True), 1e-300)
    ratio = above.mean(axis=axis, keepdims=True) / mean
    influence = (above - ratio * below).std(axis=axis, ddof=1, keepdims=True) / (mean * np.sqrt(above.shape[axis]))
    return ratio.squeeze(axis), influence.squeeze(axis)


def student_estimate(value: float, se: float, dof: float, method: str) -> Estimate:
    """Return an estimate with Student's 95% interval; NaN bounds where no degree of freedom is left."""
    half = student_factor(dof) * se
    return Estimate(value, se, (value - half, value + half), method)


def student_limit(normal: float, dof: float) -> float:
    """Return the standard errors that Student's t is beyond as rarely as a normal variable is beyond ``normal``."""
    return float(stats.t.isf(stats.norm.sf(normal), max(dof, 1.0)))


def student_factor(dof: float) -> float:
    """Return half a 95% interval in standard errors that are known with so many degrees of freedom; NaN for none."""
    return float(stats.t.ppf(0.975, dof)) if dof > 0 else np.nan


def freedom_of(estimate: Estimate) -> float:
    """Return the degrees of freedom of which an estimate's interval is Student's; infinite for a normal one."""
    factor = interval_factor(estimate)
    if not student_factor(MOST_FREEDOM) < factor < student_factor(1.0):
        return np.inf if factor < NORMAL + 1.0 else 1.0
    return float(optimize.brentq(lambda dof: student_factor(dof) - factor, 1.0, MOST_FREEDOM))


def joint_freedom(se: Float64, dof: Float64) -> float:
    """Return the degrees of freedom of a sum's error, of independent parts (Welch and Satterthwaite)."""
    weights = np.asarray(se) ** 2 / np.sum(np.asarray(se) ** 2)
    return float(1.0 / max(np.sum(weights**2 / np.asarray(dof)), 1e-12))


def half_width(estimate: Estimate) -> float:
    """Return half the width of an estimate's 95% interval."""
    return (estimate.ci95[1] - estimate.ci95[0]) / 2


def interval_factor(estimate: Estimate) -> float:
    """Return half the width of an estimate's 95% interval in standard errors: Student's factor; 1.96 without."""
    return half_width(estimate) / estimate.se if estimate.se > 0 else NORMAL
