"""Covariance of time-averaged MSDs of Gaussian paths, and the least squares that uses it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mlgle_lammps.records import Float64, Int64


def pair_weights(segments: tuple[int, ...], lag: int, other: int, shift: Int64) -> Float64:
    """Count the pairs of displacements (t, t + lag) and (t + τ, t + τ + other) for every τ in ``shift``."""
    total = np.zeros(len(shift))
    for length in segments:
        first, second = length - lag, length - other
        if first > 0 and second > 0:
            total += np.maximum(np.minimum(first, second - shift) - np.maximum(0, -shift), 0)
    return total


def msd_covariance(curves: Sequence[Float64], lags: Int64, segments: tuple[int, ...]) -> list[Float64]:
    """Return, for each curve, the covariance of time-averaged MSDs of one Gaussian path with that MSD.

    For a Gaussian process with stationary increments cov(d², d'²) = 2 cov(d, d')² (Isserlis), and the
    covariance of two displacements is a second difference of the MSD. Displacements further apart than the
    curve reaches are taken as independent.

    Args:
        curves: each (reach + 1,), MSD at lags 0..reach in frames, length²; one reach for all.
        lags: (lag,) frames, the longest at most a third of reach.
        segments: frames in each uninterrupted piece of the record.

    Returns:
        One (lag, lag) array per curve, length⁴. In the limit of one lag l much shorter than a record of n
        frames, Brownian motion with MSD 2 D t gives 4 D² l² · (4 l² + 2)/(3 l n).
    """
    reach = len(curves[0]) - 1
    counts = [sum(max(length - int(lag), 0) for length in segments) for lag in lags]
    results = [np.empty((len(lags), len(lags))) for _ in curves]
    for i, a in enumerate(int(lag) for lag in lags):
        for j, b in enumerate(int(lag) for lag in lags[: i + 1]):
            shift = np.arange(-(reach - a), reach - b + 1)
            weights = pair_weights(segments, a, b, shift) * (2.0 / (counts[i] * counts[j]))
            plus, minus, both, none = abs(shift - a), abs(shift + b), abs(shift + b - a), abs(shift)
            for curve, result in zip(curves, results, strict=True):
                overlap = 0.5 * (curve[plus] + curve[minus] - curve[both] - curve[none])
                result[i, j] = result[j, i] = weights @ overlap**2
    return results


@dataclass(frozen=True)
class GlsSolution:
    """Coefficients, their standard errors, and the residuals' chi-square."""

    values: tuple[float, ...]
    errors: tuple[float, ...]
    chi2: float
    dof: int

    @property
    def p(self) -> float:
        """Probability of a larger chi-square; NaN without degrees of freedom."""
        return float(stats.chi2.sf(self.chi2, self.dof)) if self.dof > 0 else math.nan


def generalized_least_squares(design: Float64, y: Float64, covariance: Float64) -> GlsSolution:
    """Return the minimum-variance linear unbiased solution of y ≈ design · values.

    Args:
        design: (point, coefficient).
        y: (point,).
        covariance: (point, point) of y.
    """
    whiten = np.linalg.cholesky(covariance)
    a, b = np.linalg.solve(whiten, design), np.linalg.solve(whiten, y)
    normal = np.linalg.inv(a.T @ a)
    values = normal @ (a.T @ b)
    residual = b - a @ values
    errors = np.sqrt(np.diag(normal))
    return GlsSolution(
        tuple(float(v) for v in values),
        tuple(float(e) for e in errors),
        float(residual @ residual),
        len(y) - len(values),
    )
