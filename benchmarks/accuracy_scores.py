"""Errors of many segments as bias, root mean square and coverage, each with its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.errors import NORMAL


@dataclass(frozen=True)
class Score:
    """How a method does; errors are relative.

    Attributes:
        n: segments with an answer.
        missing: segments without one.
        bias: mean error.
        bias_se: its standard error over segments (the reference's own is not in it).
        rmse: root mean squared error.
        rmse_se: its standard error.
        held: intervals that hold the reference, None where there are no intervals.
        held_wide: the same with the reference's standard error added in quadrature.
        mean_se: mean of the standard errors that the method claims, relative.
    """

    n: int
    missing: int
    bias: float
    bias_se: float
    rmse: float
    rmse_se: float
    held: int | None = None
    held_wide: int | None = None
    mean_se: float = float("nan")


def score_values(values: Sequence[float], truth: float) -> Score:
    """Score bare numbers; NaN counts as missing."""
    numbers = np.asarray(values, dtype=float)
    errors = numbers[np.isfinite(numbers)] / truth - 1.0
    n = len(errors)
    if n == 0:
        nan = float("nan")
        return Score(0, len(numbers), nan, nan, nan, nan)
    rmse = float(np.sqrt((errors**2).mean()))
    spread = float(errors.std(ddof=1)) if n > 1 else float("nan")
    rmse_se = float((errors**2).std(ddof=1)) / (2 * max(rmse, 1e-300) * np.sqrt(n)) if n > 1 else float("nan")
    return Score(n, len(numbers) - n, float(errors.mean()), spread / np.sqrt(n), rmse, rmse_se)


def score_estimates(estimates: Sequence[Estimate], truth: float, truth_se: float) -> Score:
    """Score estimates and their intervals."""
    plain = score_values([e.value for e in estimates], truth)
    low, high = np.array([e.ci95 for e in estimates]).T
    value = np.array([e.value for e in estimates])
    held = int(np.sum((low <= truth) & (truth <= high)))
    below, above = np.hypot(value - low, NORMAL * truth_se), np.hypot(high - value, NORMAL * truth_se)
    wide = int(np.sum((value - below <= truth) & (truth <= value + above)))
    claimed = float(np.mean([e.se for e in estimates])) / truth
    return Score(
        plain.n, plain.missing, plain.bias, plain.bias_se, plain.rmse, plain.rmse_se, held, wide, claimed
    )  # fmt: skip


def binomial_range(n: int, level: float = 0.95) -> tuple[int, int]:
    """Return the 95% range of intervals that hold, if each does with probability ``level``."""
    return int(stats.binom.ppf(0.025, n, level)), int(stats.binom.ppf(0.975, n, level))


def joint_chi_square(errors: Float64) -> tuple[float, int, float]:
    """Return χ², degrees of freedom and p of mean errors (sample, quantity) against zero (Hotelling's T²).

    NaN where samples are too few for their covariance.
    """
    n, size = errors.shape
    if n < size + 2:
        return float("nan"), size, float("nan")
    covariance = np.cov(errors.T).reshape(size, size) / n
    mean = errors.mean(axis=0)
    statistic = float(mean @ np.linalg.solve(covariance, mean))
    p = stats.f.sf(statistic * (n - size) / (size * (n - 1)), size, n - size)
    return statistic, size, float(p)


def percent(score: Score) -> str:
    """Return bias and RMSE in per cent with their standard errors, as two table cells."""
    return (
        f"{100 * score.bias:+6.1f} ± {100 * score.bias_se:4.1f} | {100 * score.rmse:5.1f} ± {100 * score.rmse_se:4.1f}"
    )
