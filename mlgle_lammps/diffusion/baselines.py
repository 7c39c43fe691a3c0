"""What there is to beat: the classical models of chain and mode dynamics, fitted to the same short data.

| symbol | variable | meaning |
|---|---|---|
| ρ(t) | nacf | normalized autocorrelation of a mode, 1 at t = 0 |
| D | D | diffusion coefficient per dimension, length²/time |
| N | n_terms | terms of the Prony series, beads of a chain |
| ρ | power | exponent of the diffusive spectrum, γ_j = (j/N)^ρ / τ_1 |
| τ_1 | shortest_time | shortest relaxation time of the spectrum |
| ν | subdiffusive_power | exponent of the transient MSD, 1 - 1/ρ |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from mlgle_lammps.records import Estimate, Float64, Int64
from mlgle_lammps.statistics.correlation import autocorrelation
from mlgle_lammps.statistics.errors import jackknife_error, student_estimate
from mlgle_lammps.statistics.moments import Moments

_POWERS = (1.05, 6.0)
_CHAIN_GROUPS = 10


@dataclass(frozen=True)
class StretchedExponential:
    """Kohlrausch relaxation ρ(t) = exp(-(t/τ)^a) (JCP eq. 33, C_a = 1 so that ρ(0) = 1).

    With a = 1 it is the Ornstein-Uhlenbeck process of rate 1/τ. τ is the 1/e time for every a.

    Attributes:
        relaxation_time: τ, time_unit.
        exponent: a, above 0 and at most 1.
    """

    relaxation_time: float
    exponent: float = 1.0

    def nacf(self, time: Float64) -> Float64:
        """Return ρ at each ``time`` (time_unit), the same shape."""
        result: Float64 = np.exp(-((np.asarray(time) / self.relaxation_time) ** self.exponent))
        return result


def fit_ornstein_uhlenbeck(nacf: Float64, dt: float) -> StretchedExponential:
    """Return exp(-t/τ) fitted to a NACF by unweighted least squares, as in JCP fig. 6 (top).

    Args:
        nacf: (lag,) of one mode from lag 0 on.
        dt: time between lags, time_unit.
    """
    return _fit_relaxation(nacf, dt, stretched=False)


def fit_stretched_exponential(nacf: Float64, dt: float) -> StretchedExponential:
    """Return exp(-(t/τ)^a), 0 < a <= 1, fitted to a NACF by unweighted least squares (JCP eq. 33, fig. 6).

    Args:
        nacf: (lag,) of one mode from lag 0 on.
        dt: time between lags, time_unit.

    Limit: for a Rouse chain a is 1.
    """
    return _fit_relaxation(nacf, dt, stretched=True)


def _fit_relaxation(nacf: Float64, dt: float, stretched: bool) -> StretchedExponential:
    lag = np.arange(1.0, len(nacf))
    below = np.flatnonzero(nacf < np.exp(-1.0))
    start = np.log(max(float(below[0]) if len(below) else len(nacf), 0.5))
    box = ([-5.0, 0.1], [np.log(1e3 * len(nacf)), 1.0])
    size = 2 if stretched else 1

    def residual(parameters: Float64) -> Float64:
        exponent = parameters[1] if stretched else 1.0
        result: Float64 = np.exp(-((lag / np.exp(parameters[0])) ** exponent)) - nacf[1:]
        return result

    bounds = tuple(side[:size] for side in box)
    fit = optimize.least_squares(residual, np.clip([start, 0.8], *box)[:size], bounds=bounds)
    return StretchedExponential(float(np.exp(fit.x[0])) * dt, float(fit.x[1]) if stretched else 1.0)


@dataclass(frozen=True)
class LinearAutoregression:
    """AR(p) of one mode, z_t = Σ_i a_i z_{t-i} + s ε_t per component, stationary.

    Attributes:
        coefficients: a_1..a_p.
        innovation_variance: s², length².
        variance: stationary variance per component, length².
        correlation: ρ_0..ρ_p, which the coefficients reproduce.
    """

    coefficients: Float64
    innovation_variance: float
    variance: float
    correlation: Float64

    def nacf(self, n_lags: int) -> Float64:
        """Return the exact NACF at lags 0..n_lags - 1: the fitted ρ up to lag p, ρ_t = Σ_i a_i ρ_{t-i} beyond."""
        order = len(self.coefficients)
        result = np.empty(max(n_lags, order + 1))
        result[: order + 1] = self.correlation
        for t in range(order + 1, n_lags):
            result[t] = self.coefficients @ result[t - order : t][::-1]
        return result[:n_lags]


def fit_yule_walker(modes: np.ndarray, segments: Int64, order: int) -> list[LinearAutoregression]:
    """Return AR(p) of every mode by the Yule-Walker equations Σ_j ρ_{|i-j|} a_j = ρ_i, i = 1..p.

    The biased autocorrelation (sums over n instead of n - t) is used: it is positive definite, so the process is
    always stationary. Of order 1 it is the Ornstein-Uhlenbeck process sampled every frame.

    Args:
        modes: (time, chain, mode, 3), length.
        segments: (time,).
        order: p, below the length of the longest segment.
    """
    lengths = np.unique(segments, return_counts=True)[1]
    pairs = np.maximum(lengths[:, None] - np.arange(order + 1), 0).sum(axis=0)
    sample = autocorrelation(modes, segments, order + 1)
    biased = sample.nacf * (pairs / pairs[0])[:, None]
    result = []
    for rho, variance in zip(biased.T, sample.variance, strict=True):
        coefficients = linalg.solve_toeplitz(rho[:-1], rho[1:])
        innovation = float(variance * (1.0 - coefficients @ rho[1:]))
        result.append(LinearAutoregression(coefficients, innovation, float(variance), rho))
    return result


@dataclass(frozen=True)
class GeneralizedRouseKernel:
    """A centre of mass that obeys JCP eq. 8 with the power-law spectrum γ_j = (j/N)^ρ/τ_1 of eq. 9.

    Eq. 8 is X = √(2D) B(t) + σ c Σ_{j<N} z_j(t), σ²/(N τ̄) = 2D, with independent stationary processes
    dz_j = -γ_j z_j dt + dW_j. Their displacements have variance (1 - e^{-γ_j t})/γ_j, hence per dimension

        MSD(t) = 2 D t + A τ_1 Σ_{j=1}^{N-1} (N/j)^ρ [1 - exp(-(j/N)^ρ t/τ_1)],        A = σ² c².

    Eq. 10 as printed lacks A. The amplitude is free here: with A = σ² the two terms of eq. 10 differ in dimension.

    Attributes:
        D: per dimension, length²/time.
        amplitude: A, length²/time.
        power: ρ.
        shortest_time: τ_1, time_unit.
        n_terms: N.
    """

    D: float
    amplitude: float
    power: float
    shortest_time: float
    n_terms: int

    @property
    def subdiffusive_power(self) -> float:
        """Exponent ν = 1 - 1/ρ of the MSD between τ_1 and the slowest time (JCP eq. 11); 1/2 for Rouse's ρ = 2."""
        return 1.0 - 1.0 / self.power

    def msd(self, time: Float64) -> Float64:
        """Return the MSD per dimension at each ``time``, (n,), length²; 2 D t beyond τ_1 N^ρ, plus a constant."""
        slowest = self.shortest_time * self.n_terms**self.power
        time = np.asarray(time, dtype=float)
        result: Float64 = 2 * self.D * time + self.amplitude * _spectrum_msd(time, self.power, slowest, self.n_terms)
        return result


def _spectrum_msd(time: Float64, power: float, slowest: float, n_terms: int) -> Float64:
    """Return Σ_{j<N} (1 - e^{-γ_j t})/γ_j with γ_j = j^ρ/slowest, (time,)."""
    rates = np.arange(1, n_terms) ** power / slowest
    result: Float64 = (-np.expm1(-time[:, None] * rates) / rates).sum(axis=1)
    return result


def fit_generalized_rouse_kernel(time: Float64, msd: Float64, n_terms: int) -> GeneralizedRouseKernel:
    """Return the kernel whose MSD has the least squared relative error; D and A are solved for and kept >= 0.

    Args:
        time: (point,) time_unit, positive.
        msd: (point,) per dimension, length².
        n_terms: N >= 2.

    Limit: for Brownian motion A is 0 and D is MSD/(2t).
    """
    scale = float(time[-1])
    box = (np.array([_POWERS[0], np.log(time[0])]), np.array([_POWERS[1], np.log(10 * scale)]))

    def solve(parameters: Float64) -> tuple[Float64, Float64]:
        extra = _spectrum_msd(time, parameters[0], float(np.exp(parameters[1])), n_terms)
        norm = max(float(extra[-1]), 1e-300)
        design = np.stack([2 * time / scale, extra / norm], axis=1) * (msd[-1] / msd)[:, None]
        weights, _ = optimize.nnls(design, np.ones(len(msd)))
        residual: Float64 = design @ weights - 1.0
        return weights * msd[-1] / np.array([scale, norm]), residual

    grid = [np.array([rho, slow]) for rho in np.linspace(*_POWERS, 8) for slow in np.linspace(box[0][1], box[1][1], 12)]
    start = min(grid, key=lambda parameters: float((solve(parameters)[1] ** 2).sum()))
    inside = np.clip(start, box[0] + 1e-6, box[1] - 1e-6)
    best = optimize.least_squares(lambda parameters: solve(parameters)[1], inside, bounds=box).x
    (diffusion, amplitude), _ = solve(best)
    shortest = float(np.exp(best[1])) / n_terms ** float(best[0])
    return GeneralizedRouseKernel(float(diffusion), float(amplitude), float(best[0]), shortest, n_terms)


def generalized_rouse_diffusion(moments: Moments, dt: float, n_terms: int) -> Estimate:
    """Return D of a Generalized Rouse Kernel fitted to all lags; the interval is a jackknife over chains.

    Args:
        moments: displacements, lags in frames.
        dt: time between frames.
        n_terms: N, the beads of a chain.
    """
    time = moments.lags.astype(np.float64) * dt

    def diffusion(msd: Float64) -> float:
        return fit_generalized_rouse_kernel(time, msd, n_terms).D

    method = f"Generalized Rouse Kernel of {n_terms} terms, lags {moments.lags[0]}..{moments.lags[-1]} frames"
    return _jackknife(diffusion, moments, method)


def _jackknife(statistic: Callable[[Float64], float], moments: Moments, method: str) -> Estimate:
    """Return the statistic of the mean MSD with a standard error from leaving out groups of chains.

    Chains of one box move together, by the design effect; of two, seen from their common centre, nobody can tell.
    """
    n_groups = min(_CHAIN_GROUPS, moments.n_chains)
    group = np.arange(moments.n_chains) % n_groups
    value = statistic(moments.msd_com)
    if n_groups < 3:
        return Estimate(value, np.nan, (np.nan, np.nan), method)
    left = np.array([statistic(moments.msd_com_chain[:, group != g].mean(axis=1)) for g in range(n_groups)])
    sizes = np.bincount(group)
    se = float(jackknife_error(left, sizes, value)) * np.sqrt(moments.design_effect)
    return student_estimate(value, float(se), n_groups - 1, method)


def msd_over_time(moments: Moments, dt: float) -> Estimate:
    """Return MSD/(2t) at the longest lag (JCP eq. 35).

    Args:
        moments: displacements, lags in frames.
        dt: time between frames.

    Limit: D for Brownian motion; too large by c/(2t) where the MSD is 2 D t + c.
    """
    weights = np.zeros(len(moments.lags))
    weights[-1] = 1.0 / (2 * dt * moments.lags[-1])
    return _linear(weights, moments, f"MSD/(2t) at lag {moments.lags[-1]}")


def msd_slope(moments: Moments, dt: float) -> Estimate:
    """Return half the slope of the MSD over the lags of its second half, by unweighted least squares.

    Args:
        moments: displacements, lags in frames; those from half the longest lag on are used.
        dt: time between frames.

    Limit: D for Brownian motion; too large while the slowest mode has not relaxed.
    """
    used = moments.lags >= moments.lags[-1] / 2
    lags = moments.lags[used].astype(float)
    weights = np.zeros(len(moments.lags))
    weights[used] = (lags - lags.mean()) / ((lags - lags.mean()) ** 2).sum() / (2 * dt)
    return _linear(weights, moments, f"MSD slope, lags {lags[0]:.0f}..{lags[-1]:.0f}")


def _linear(weights: Float64, moments: Moments, method: str) -> Estimate:
    """Return a linear function of the MSD and its standard error over chains, times the design effect's root."""
    per_chain = weights @ moments.msd_com_chain
    n_chains = len(per_chain)
    se = float(per_chain.std(ddof=1) * np.sqrt(moments.design_effect / n_chains)) if n_chains > 2 else np.nan
    return student_estimate(float(per_chain.mean()), se, n_chains - 1, method)
