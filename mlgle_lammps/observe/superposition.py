"""Time-temperature superposition of the modes: one factor a_T a temperature, and whether one serves all modes.

| symbol | variable | meaning |
|---|---|---|
| y_ip | times | ln of the time in which mode p forgets at temperature i: mean over levels of its correlation |
| m_p | modes | the same at the reference temperature |
| ln a_i | shifts | of temperature i; 0 at the reference |
| v_i | | mean squared size over that at the reference |

y_ip = m_p + ln a_i. Rouse chains: τ_p = ζb²/(3kTλ_p) and D = kT/(Nζ), so that D τ_p ~ b², D_i ~ v_i/a_i. (The a_T of
rheology, with the modulus shifted too, is that of the friction, ζ/ζ_0 = a_T T/(T_0 v) here: D ~ T over that one.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import optimize, stats

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.replicas import Replicas
from mlgle_lammps.statistics.shift_law import ARRHENIUS, QUADRATIC, VOGEL, log_shift

LEVELS = (0.7, 0.5, float(np.exp(-1.0)))
LAW_LEVEL = 0.01


def forgetting_times(nacf: Float64) -> Float64:
    """Return ln of the lag at which each mode's correlation passes each level, (mode, level).

    NaN where that happens within the first frame, whose inside is not seen, or beyond the lags. Between lags the
    logarithm is interpolated, which is exact for an exponential.

    Args:
        nacf: (lag, mode).
    """
    found = np.full((nacf.shape[1], len(LEVELS)), np.nan)
    for p, column in enumerate(nacf.T):
        for j, level in enumerate(LEVELS):
            below = np.flatnonzero(column < level)
            if len(below) and below[0] > 1:
                i = int(below[0])
                before, after = column[i - 1], max(column[i], 1e-6)
                found[p, j] = np.log(i - 1 + np.log(before / level) / np.log(before / after))
    return found


@dataclass(frozen=True)
class Shifts:
    """Factors of all temperatures from all modes.

    Attributes:
        modes: (mode,) m_p, ln of a time at the reference.
        shifts: (temperature,) ln a_i.
        variances: (temperature,) of Σ_p w_p y_ip, temperature by temperature, that of the reference among them.
        covariance: (temperature, temperature) of the shifts: zero at the reference, whose variance is in all others.
        chi2: what one factor for all modes leaves over.
        dof: degrees of freedom of that.
        by_mode: (temperature, mode) ln a of each mode by itself.
        by_mode_se: its standard error.
    """

    modes: Float64
    shifts: Float64
    variances: Float64
    covariance: Float64
    chi2: float
    dof: int
    by_mode: Float64
    by_mode_se: Float64

    @property
    def p(self) -> float:
        """Probability of more than ``chi2`` where one factor serves all modes."""
        return float(stats.chi2.sf(self.chi2, self.dof)) if self.dof > 0 else float("nan")


def shrunk_covariance(found: Replicas) -> Float64:
    """Return the covariance of the entries with correlations drawn to zero, by as much as few units leave them open."""
    covariance = found.covariance
    n, p = len(found.left_out), len(covariance)
    shrunk = covariance * (n / (n + p))
    np.fill_diagonal(shrunk, np.diag(covariance))
    return shrunk


def fit_shifts(times: list[Replicas], reference: int) -> Shifts:
    """Return the factors from all modes, and whether one factor serves them all.

    ln a_i = Σ_p w_p (y_ip - y_0p), one weight a mode and smooth over modes, with the covariance of the jackknife:
    weights that follow the scatter of few groups of chains would make the error too small by a third. The test is
    generalized least squares of all y_ip with that covariance, its correlations drawn to zero.

    Args:
        times: y_i of each temperature, (mode,), with replicas; temperatures are independent.
        reference: index of the temperature where a is 1.

    Limit: modes that are all slower by a factor of two have ln a = ln 2, whatever their own times.
    """
    y = np.array([own.value for own in times])
    weights = _smooth_weights(y, np.array([own.se for own in times]))
    own_variance = np.array([float(weights @ run.covariance @ weights) for run in times])
    shifts = (y - y[reference]) @ weights
    errors = np.array([own.se for own in times])
    chi2, dof = _one_factor(times, reference)
    others = (np.arange(len(times)) != reference)[:, None]
    return Shifts(
        (y - shifts[:, None]).mean(axis=0), shifts, own_variance, of_differences(own_variance, reference), chi2, dof,
        y - y[reference], np.hypot(errors, errors[reference]) * others,
    )  # fmt: skip


def of_differences(variances: Float64, reference: int) -> Float64:
    """Return the covariance of independent values with the variances given, each less that of the reference."""
    covariance: Float64 = np.diag(variances) + variances[reference]
    covariance[reference] = covariance[:, reference] = 0.0
    return covariance


def _smooth_weights(y: Float64, se: Float64) -> Float64:
    """Return weights of the modes, in sum 1: inverse variances that are a power of the modes' time."""
    log_variance = np.log(np.maximum(np.mean(se**2, axis=0), 1e-12))
    slow = y.mean(axis=0) - y.mean()
    slope = float(slow @ (log_variance - log_variance.mean()) / (slow @ slow)) if np.ptp(slow) > 1e-9 else 0.0
    weights = np.exp(-np.clip(slope, 0.0, 2.0) * slow)
    result: Float64 = weights / weights.sum()
    return result


def _one_factor(times: list[Replicas], reference: int) -> tuple[float, int]:
    """Return chi-square of one factor for all modes, and its degrees of freedom."""
    n, P = len(times), len(times[0].value)
    others = [i for i in range(n) if i != reference]
    design, weight = np.zeros((n * P, P + n - 1)), np.zeros((n * P, n * P))
    for i, own in enumerate(times):
        rows = slice(i * P, (i + 1) * P)
        design[rows, :P] = np.eye(P)
        weight[rows, rows] = np.linalg.inv(shrunk_covariance(own))
        if i != reference:
            design[rows, P + others.index(i)] = 1.0
    y = np.concatenate([own.value for own in times])
    residual = y - design @ np.linalg.solve(design.T @ weight @ design, design.T @ weight @ y)
    return float(residual @ weight @ residual), n * P - (P + n - 1)


@dataclass(frozen=True)
class ShiftLaw:
    """ln a as a function of T, through what was measured.

    Attributes:
        name: "Arrhenius", "Vogel-Fulcher-Tammann" or "quadratic in 1/T".
        parameters: of the law.
        covariance: of the parameters.
        chi2: of the fit.
        dof: degrees of freedom of chi2.
        reference: temperature where a is 1 by definition.
        influence: (parameter, temperature) of ln of each temperature's own times on each parameter.
        offset: by how much all measured shifts together lie above the law, whose a is 1 at the reference: what the run
            there has of an error of its own. 0 where the law has a parameter for each of them.
        offset_influence: (temperature,) of ln of each temperature's own times on the offset and those of the reference.
    """

    name: str
    parameters: Float64
    covariance: Float64
    chi2: float
    dof: int
    reference: float
    influence: Float64
    offset: float = 0.0
    offset_influence: Float64 = field(default_factory=lambda: np.zeros(0))

    @property
    def p(self) -> float:
        """Probability of a larger chi-square; NaN without degrees of freedom."""
        return float(stats.chi2.sf(self.chi2, self.dof)) if self.dof > 0 else float("nan")

    def log_a(self, T: float) -> float:
        """Return ln a at a temperature."""
        return float(log_shift(self.name, T, self.parameters, self.reference))

    def gradient(self, T: float) -> Float64:
        """Return the derivative of ln a by the parameters."""
        result = []
        for i, value in enumerate(self.parameters):
            step = 1e-6 * max(abs(value), 1e-3)
            up, down = self.parameters.copy(), self.parameters.copy()
            up[i] += step
            down[i] -= step
            high, low = (log_shift(self.name, T, own, self.reference) for own in (up, down))
            result.append((high - low) / (2 * step))
        return np.array(result)

    def through_shifts(self, T: float) -> float:
        """Return what the measured shifts, which are relative to a run, say of ln a: the law and the offset."""
        return self.log_a(T) + self.offset

    def influence_at(self, T: float) -> Float64:
        """Return the derivative of ln of the times at a temperature by ln of each temperature's own; their sum is 1."""
        result: Float64 = self.offset_influence + self.gradient(T) @ self.influence
        return result

    def wlf(self) -> tuple[float, float] | None:
        """Return C1 and C2 of log10 a = -C1 (T - T_0)/(C2 + T - T_0); None unless the law is Vogel's."""
        if self.name != VOGEL:
            return None
        B, T_v = self.parameters
        return float(B / (np.log(10) * (self.reference - T_v))), float(self.reference - T_v)


def shift_law(T: Float64, shifts: Float64, variances: Float64, reference: int) -> ShiftLaw:
    """Return the simplest law that the shifts agree with: Arrhenius, else Vogel's, else a parabola in 1/T.

    Generalized least squares of the differences to the reference with their covariance, which is that of all ln a_i
    with a free offset: the run at the reference counts as each other run does, and several may be of one T.

    Args:
        T: (temperature,) at least two that differ.
        shifts: (temperature,) ln a, 0 at the reference.
        variances: (temperature,) of each by itself, that of the reference among them.
        reference: index.
    """
    others = np.flatnonzero(np.arange(len(T)) != reference)
    covariance = of_differences(variances, reference)
    weight: Float64 = np.array(np.linalg.inv(covariance[np.ix_(others, others)]), dtype=np.float64)
    points = _Points(T[others], shifts[others], weight, float(T[reference]))
    law = _polynomial(points, 1, ARRHENIUS)
    if law.dof > 0 and law.p <= LAW_LEVEL and len(np.unique(T)) > 3:
        law = _vogel(points, law) or _polynomial(points, 2, QUADRATIC)
    law = replace(law, influence=np.insert(law.influence, reference, -law.influence.sum(axis=1), axis=1))
    share = 1.0 / variances / np.sum(1.0 / variances)
    offset = float(share @ (shifts - np.array([law.log_a(t) for t in T])))
    slopes = np.array([law.gradient(t) for t in T])
    return replace(law, offset=offset, offset_influence=share - share @ slopes @ law.influence)


@dataclass(frozen=True)
class _Points:
    """Shifts of the temperatures other than the reference, with the inverse of their covariance."""

    T: Float64
    shifts: Float64
    weight: Float64
    reference: float


def _polynomial(points: _Points, n: int, name: str) -> ShiftLaw:
    x = 1.0 / points.T - 1.0 / points.reference
    design = np.stack([x ** (i + 1) for i in range(n)], axis=1)
    covariance: Float64 = np.array(np.linalg.inv(design.T @ points.weight @ design), dtype=np.float64)
    influence: Float64 = covariance @ design.T @ points.weight
    parameters: Float64 = influence @ points.shifts
    residual = points.shifts - design @ parameters
    chi2 = float(residual @ points.weight @ residual)
    return ShiftLaw(name, parameters, covariance, chi2, len(x) - n, points.reference, influence)


def _vogel(points: _Points, first: ShiftLaw) -> ShiftLaw | None:
    """Return Vogel's law; None where the data leave its T_v open."""
    lowest = min(float(points.T.min()), points.reference)
    whiten = np.linalg.cholesky(points.weight).T
    slope = float(first.parameters[0])

    def residual(parameters: Float64) -> Float64:
        law = np.asarray(log_shift(VOGEL, points.T, parameters, points.reference))
        return np.asarray(whiten @ (points.shifts - law))

    start = np.array([0.25 * slope, 0.5 * lowest])
    found = optimize.least_squares(
        residual, start, x_scale=np.abs(start) + 1e-9, bounds=([-np.inf, 0], [np.inf, 0.999 * lowest])
    )
    covariance = np.linalg.pinv(found.jac.T @ found.jac)
    T_v = float(found.x[1])
    if not found.success or not 0.01 * lowest < T_v or np.sqrt(covariance[1, 1]) > 0.5 * (lowest - T_v):
        return None
    slopes = -np.linalg.solve(whiten, found.jac)
    influence = covariance @ slopes.T @ points.weight
    parameters: Float64 = np.array(found.x, dtype=np.float64)
    chi2 = float(2 * found.cost)
    return ShiftLaw(VOGEL, parameters, np.array(covariance), chi2, len(points.T) - 2, points.reference, influence)
