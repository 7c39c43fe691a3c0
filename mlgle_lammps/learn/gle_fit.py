"""The GLE fit: α and β from mean squared displacements up to t_max, and D = α²/2 with an interval that holds.

The model (JCP eq. 26) is MSD_X(t) = α² t + β² Σ_j MSD_zj(t) per dimension. The points at different lags come
from the same frames and are strongly correlated. Displacements of centres of mass and modes are Gaussian to a
good approximation, and for a Gaussian process with stationary increments the covariance of time-averaged MSDs
follows from the MSD itself; so it is computed from the fitted curve rather than estimated from few chains, and
generalized least squares is then close to maximum likelihood. What the curve cannot know is how much chains of
one box move together: that is measured (``Moments.design_effect``) and multiplies the covariance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from mlgle_lammps.records import Estimate, Float64, GleFit, Int64
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.statistics.msd_covariance import GlsSolution, generalized_least_squares, msd_covariance

FAST_MODE_TIMES = 3.0  # lags shorter than this many relaxation times of mode k feel the modes beyond k
TRUST_LEVEL = 0.05  # more lags are left out from the short end until the residuals' chi-square is as likely as this
LEAST_LAGS = 5


@dataclass(frozen=True)
class _Points:
    """The regression's points in units of frames: y ≈ α² t + β² s with covariance C."""

    lags: Int64
    y: Float64
    s: Float64
    covariance: Float64


def fit_gle(moments: Moments, dt: float, preset: str = "default") -> GleFit:
    """Return α², β² and D = α²/2 with its 95% interval (JCP eq. 26-27).

    ``default``: generalized least squares, β² free, the shortest lags left out until the residuals agree with
    their covariance. ``paper``: the published three points 1, m/2, m, unweighted, α² ≥ 0 and β² ≥ 0; its
    interval comes from the same covariance.

    Args:
        moments: displacements so far, lags in frames.
        dt: time between frames, time_unit.
        preset: "default" or "paper".

    Returns:
        The fit; α² and D in length²/time, D per dimension.

    Raises:
        ValueError: fewer than three lags have been reached.

    Limit: for a Rouse melt β² is 0 and D is kT/(Nζ).
    """
    if len(moments.lags) < 3:
        raise ValueError(f"{moments.n_frames} frames reach {len(moments.lags)} lags; the fit needs 3")
    points = _points(moments, *_rough_fit(moments))
    if preset == "paper":
        return _published(points, moments, dt)
    first = _first_lag(moments)
    solution, used = _trusted(points, first)
    for _ in range(2):
        points = _points(moments, max(solution.values[0], 1e-12 * points.y[-1]), solution.values[1])
        solution, used = _trusted(points, first)
    return _record(solution, used, moments, dt, "GLE fit, generalized least squares, free beta^2")


def _rough_fit(moments: Moments) -> tuple[float, float]:
    """Fit with residuals relative to the MSD: good enough to start from."""
    y, s = moments.msd_com, moments.msd_modes.sum(axis=1)
    design = np.stack([moments.lags / y, s / y], axis=1)
    (alpha_sq, beta_sq), *_ = np.linalg.lstsq(design, np.ones(len(y)), rcond=None)
    if alpha_sq <= 0:
        alpha_sq, beta_sq = y[-1] / moments.lags[-1] / 2, 0.0
    return float(alpha_sq), float(beta_sq)


def _points(moments: Moments, alpha_sq: float, beta_sq: float) -> _Points:
    """Attach to the points the covariance that the curve (alpha_sq, beta_sq) implies."""
    lags = moments.lags
    reach = 6 * int(lags[-1])
    time = np.arange(reach + 1, dtype=np.float64)
    curves = [
        saturating_msd(time, lags, moments.msd_modes[:, mode], moments.mode_variance[mode])
        for mode in range(moments.msd_modes.shape[1])
    ]
    com = alpha_sq * time + max(beta_sq, 0.0) * np.sum(curves, axis=0)
    covariance, *of_modes = msd_covariance([com, *curves], lags, moments.segment_lengths)
    covariance = covariance + beta_sq**2 * np.sum(of_modes, axis=0)
    covariance *= moments.design_effect / (3.0 * max(moments.n_chains - 1, 1))
    return _Points(lags, moments.msd_com, moments.msd_modes.sum(axis=1), covariance)


def saturating_msd(time: Float64, lags: Int64, msd: Float64, variance: float) -> Float64:
    """Return a mode's MSD 2σ²(1 - ρ(t)) at every ``time``, ρ continued exponentially beyond the last lag.

    Args:
        time: (n,) in frames, from 0.
        lags: (lag,) in frames.
        msd: (lag,) length².
        variance: σ², length².
    """
    if variance <= 0:
        return np.zeros_like(time)
    decay = -np.log(np.clip(1.0 - msd / (2.0 * variance), 1e-3, 1.0))
    known_lags, known = np.concatenate([[0], lags]), np.concatenate([[0.0], decay])
    half = int(np.searchsorted(lags, lags[-1] / 2))
    half = min(half, len(lags) - 2)
    rate = max((decay[-1] - decay[half]) / float(lags[-1] - lags[half]), 1e-4)
    inside = np.interp(time, known_lags, known)
    decay_at = np.where(time > lags[-1], decay[-1] + rate * (time - lags[-1]), inside)
    result: Float64 = 2.0 * variance * (1.0 - np.exp(-decay_at))
    return result


def _first_lag(moments: Moments) -> int:
    """Return the index of the first lag at which the modes that were left out have relaxed.

    Modes beyond k relax faster than mode k and are missing from the sum of JCP eq. 26, as is inertia; mode k's
    own 1/e time therefore says from which lag on the sum is complete.
    """
    correlation = 1.0 - moments.msd_modes[:, -1] / (2.0 * max(moments.mode_variance[-1], 1e-300))
    relaxed = np.flatnonzero(correlation < math.exp(-1.0))
    if not len(relaxed):
        return max(len(moments.lags) - LEAST_LAGS, 0)
    i = int(relaxed[0])
    lags = np.concatenate([[0], moments.lags[: i + 1]])
    values = np.concatenate([[1.0], correlation[: i + 1]])
    time = lags[i] + (lags[i + 1] - lags[i]) * (values[i] - math.exp(-1.0)) / (values[i] - values[i + 1])
    first = int(np.searchsorted(moments.lags, FAST_MODE_TIMES * time))
    return min(first, max(len(moments.lags) - LEAST_LAGS, 0))


def _trusted(points: _Points, start: int) -> tuple[GlsSolution, Int64]:
    """Leave out the shortest lags until the residuals agree with their covariance."""
    while True:
        design = np.stack([points.lags[start:].astype(float), points.s[start:]], axis=1)
        solution = generalized_least_squares(design, points.y[start:], points.covariance[start:, start:])
        if len(points.lags) - start <= LEAST_LAGS or solution.p >= TRUST_LEVEL:
            return solution, points.lags[start:]
        start += 1


def _published(points: _Points, moments: Moments, dt: float) -> GleFit:
    """Unweighted non-negative least squares on lags 1, m/2, m (JCP eq. 27)."""
    middle = int(np.argmin(np.abs(points.lags - points.lags[-1] / 2)))
    keep = [0, middle, len(points.lags) - 1]
    lags, y, s = points.lags[keep], points.y[keep], points.s[keep]
    design = np.stack([lags.astype(float), s], axis=1)
    (alpha_sq, beta_sq), _ = optimize.nnls(design, y)
    active = [0, 1] if beta_sq > 0 else [0]
    weights = np.linalg.pinv(design[:, active])[0]
    covariance = points.covariance[np.ix_(keep, keep)]
    residual = y - design @ (alpha_sq, beta_sq)
    chi2 = float(residual @ np.linalg.solve(covariance, residual))
    errors = (float(np.sqrt(weights @ covariance @ weights)), math.nan)
    solution = GlsSolution((float(alpha_sq), float(beta_sq)), errors, chi2, 1)
    return _record(solution, lags, moments, dt, "GLE fit as published: lags 1, m/2, m, unweighted, beta >= 0")


def _record(solution: GlsSolution, lags: Int64, moments: Moments, dt: float, method: str) -> GleFit:
    value, se = solution.values[0] / (2 * dt), solution.errors[0] / (2 * dt)
    half = float(stats.t.ppf(0.975, moments.design_dof)) * se
    detail = f"{method}; lags {lags[0]}..{lags[-1]} frames; Student interval, design effect {moments.design_effect:.2f}"
    return GleFit(
        alpha_sq=2 * value,
        beta_sq=solution.values[1],
        D=Estimate(value, se, (value - half, value + half), detail),
        lags=tuple(int(lag) for lag in lags),
        chi2=solution.chi2,
        dof=solution.dof,
        p=solution.p,
        n_frames=moments.n_frames,
    )
