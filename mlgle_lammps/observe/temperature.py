"""How D depends on temperature: the laws of Arrhenius and of Vogel, Fulcher and Tammann.

| symbol | variable | meaning |
|---|---|---|
| D0 | log_D0 | limit of D at infinite temperature, its logarithm |
| E/k_B | activation | activation energy as a temperature, D = D0 exp(-E/k_B T) |
| B | B | D = D0 exp(-B/(T - T0)) |
| T0 | T0 | where that D would vanish |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.msd_covariance import generalized_least_squares

LEAST_FOR_VOGEL = 5
NOTHING = 2.0
"""Standard errors from 0 up to which a T0 is consistent with it."""


class NotDetermined(ValueError):
    """The data do not fix the law's parameters; the message says why."""


@dataclass(frozen=True)
class ArrheniusFit:
    """ln D = ln D0 - (E/k_B)/T by least squares weighted with the errors of D.

    Attributes:
        log_D0: ln D0, D in its own unit.
        activation: E/k_B, in the unit of T.
        covariance: (2, 2) of (log_D0, activation).
        chi2: residuals over errors, squared and summed.
        dof: temperatures less two.
    """

    log_D0: float
    activation: float
    covariance: Float64
    chi2: float
    dof: int

    @property
    def activation_se(self) -> float:
        """Standard error of E/k_B."""
        return float(np.sqrt(self.covariance[1, 1]))

    @property
    def log_D0_se(self) -> float:
        """Standard error of ln D0."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def p(self) -> float:
        """Probability of a larger chi-square; NaN without degrees of freedom."""
        return float(stats.chi2.sf(self.chi2, self.dof)) if self.dof > 0 else float("nan")

    def D(self, temperature: Float64) -> tuple[Float64, Float64]:
        """Return the fitted D at each temperature and its standard error."""
        x = np.stack([np.ones_like(temperature), -1.0 / temperature], axis=1)
        value = np.exp(x @ np.array([self.log_D0, self.activation]))
        return value, value * np.sqrt(np.einsum("ti,ij,tj->t", x, self.covariance, x))


def fit_arrhenius(temperature: Float64, D: Float64, se: Float64) -> ArrheniusFit:
    """Return the Arrhenius law of D; ln D has the standard error se/D.

    Args:
        temperature: (run,) above 0; at least two that differ.
        D: (run,) above 0.
        se: (run,) standard errors of D, above 0; runs are independent.

    Raises:
        NotDetermined: fewer than two temperatures, all but the same, or a D or an error that is not positive.

    Limit: two temperatures give E/k_B = ln(D2/D1)/(1/T1 - 1/T2) exactly.
    """
    _check(temperature, D, se, 2)
    middle = float(np.mean(1.0 / temperature))
    design = np.stack([np.ones_like(temperature), middle - 1.0 / temperature], axis=1)
    solution = generalized_least_squares(design, np.log(D), np.diag((se / D) ** 2))
    weighted = design / (se / D)[:, None]
    to_zero = np.array([[1.0, middle], [0.0, 1.0]])  # from the value at the middle to that at 1/T = 0
    covariance = to_zero @ np.linalg.inv(weighted.T @ weighted) @ to_zero.T
    at_middle, activation = solution.values
    if not (np.all(np.isfinite(covariance)) and np.all(np.diag(covariance) > 0)):
        raise NotDetermined("temperatures too close to one another, or too far apart, for the precision of numbers")
    return ArrheniusFit(at_middle + activation * middle, activation, covariance, solution.chi2, solution.dof)


@dataclass(frozen=True)
class VogelFit:
    """ln D = ln D0 - B/(T - T0).

    Attributes:
        log_D0: ln D0.
        B: in the unit of T.
        T0: in the unit of T.
        covariance: (3, 3) of (log_D0, B, T0).
        chi2: residuals over errors, squared and summed.
        dof: temperatures less three.
    """

    log_D0: float
    B: float
    T0: float
    covariance: Float64
    chi2: float
    dof: int

    @property
    def T0_se(self) -> float:
        """Standard error of T0."""
        return float(np.sqrt(self.covariance[2, 2]))

    @property
    def is_arrhenius(self) -> bool:
        """Whether T0 is consistent with 0, where the law is that of Arrhenius."""
        return NOTHING * self.T0_se >= self.T0

    def D(self, temperature: Float64) -> Float64:
        """Return the fitted D at each temperature."""
        result: Float64 = np.exp(self.log_D0 - self.B / (temperature - self.T0))
        return result


def fit_vogel(temperature: Float64, D: Float64, se: Float64) -> VogelFit:
    """Return the law of Vogel, Fulcher and Tammann with T0 between 0 and the lowest temperature.

    Args:
        temperature: (run,) at least five that differ.
        D: (run,) above 0.
        se: (run,) standard errors of D; runs are independent.

    Raises:
        NotDetermined: fewer than five temperatures, no convergence, a T0 of 0, or one that the data leave open: at
            the lowest temperature, or with a standard error above half its distance from that.

    Limit: T0 -> 0 is Arrhenius.
    """
    _check(temperature, D, se, LEAST_FOR_VOGEL)
    lowest = float(temperature.min())
    start = fit_arrhenius(temperature, D, se)
    T0 = 0.5 * lowest
    slope = start.activation * (1 - T0 / float(temperature.mean())) ** 2
    guess = [float(np.log(D).mean()) + slope / (float(temperature.mean()) - T0), slope, T0]

    def law(T: Float64, log_D0: float, B: float, T0: float) -> Float64:
        result: Float64 = log_D0 - B / (T - T0)
        return result

    bounds = ([-np.inf, -np.inf, 0.0], [np.inf, np.inf, lowest * (1 - 1e-6)])
    try:
        best, covariance = optimize.curve_fit(
            law,
            temperature,
            np.log(D),
            p0=guess,
            sigma=se / D,
            absolute_sigma=True,
            bounds=bounds,
            x_scale=np.abs(guess),
        )
    except RuntimeError:
        raise NotDetermined("the Vogel-Fulcher-Tammann fit does not converge") from None
    error = float(np.sqrt(covariance[2, 2]))
    zero = best[2] <= NOTHING * error
    if not np.isfinite(error) or error > 0.5 * (lowest - best[2]) or best[2] >= (1 - 1e-3) * lowest:
        besides = ", 0 among what it may be, where the law is that of Arrhenius" if zero else ""
        raise NotDetermined(
            f"the data leave the T0 of Vogel-Fulcher-Tammann open (T0 = {best[2]:.3g} ± {error:.2g}){besides}: "
            "more temperatures, lower ones, or smaller errors of D are needed"
        )
    if best[2] <= 1e-3 * lowest:
        raise NotDetermined(
            f"its T0 is consistent with 0 (T0 = {best[2]:.3g} ± {error:.2g}), where the law is that of Arrhenius, "
            "whose activation energy is the statement"
        )
    chi2 = float((((law(temperature, *best) - np.log(D)) / (se / D)) ** 2).sum())
    return VogelFit(float(best[0]), float(best[1]), float(best[2]), covariance, chi2, len(D) - 3)


def _check(temperature: Float64, D: Float64, se: Float64, least: int) -> None:
    found = len(np.unique(temperature))
    if found < least:
        raise NotDetermined(f"{found} temperatures; the fit needs {least}")
    if not 1e-6 * temperature.max() < np.ptp(temperature) < (1 - 1e-6) * temperature.max():
        raise NotDetermined(f"temperatures of {temperature.min():g} to {temperature.max():g} do not fix it")
    if np.any(temperature <= 0) or np.any(D <= 0) or not np.all(se > 0):
        raise NotDetermined("every temperature, D and its error must be above 0")
