"""How targets depend on parameters and on the chains' length, fitted to noisy evaluations: a response surface.

y = y0 + S x + c l for each target, x the logarithms of the parameters over their start, l = 1 for long chains and 0 for
short ones, with wide priors on S and c (ridge).  What is proposed next is where the fit comes nearest to the targets of
long chains within a step's length.  Without a long evaluation c is known to its prior only: the errors say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Array = NDArray[np.float64]
Values = dict[str, tuple[float, float]]  # target -> measured value (of its logarithm where so) and standard error
Measure = Callable[[dict[str, float], int], Values]  # parameters and the evaluation's number, of which seeds are made

PRIOR_SLOPE = 8.0  # of a target, in tolerances, per unit of ln parameter: one standard deviation
PRIOR_LENGTH = 4.0  # of a target, in tolerances, between long and short chains: one standard deviation
FIRST_LONG, LONG_EVERY = 6, 4  # the number of the first long evaluation, and from one to the next
FIRST_STEP = 0.2  # of ln parameter, in the first evaluations
LONGEST_STEP = 0.25  # of ln parameter, from the best point so far


@dataclass(frozen=True)
class Parameter:
    """A number that may be changed, within limits."""

    name: str
    start: float
    least: float
    most: float


@dataclass(frozen=True)
class Target:
    """What a measured value should be; ``logarithm``: value and tolerance are of its logarithm."""

    name: str
    wanted: float
    tolerance: float
    logarithm: bool = False

    def shown(self, value: float) -> float:
        """Return the quantity itself."""
        return math.exp(value) if self.logarithm else value


@dataclass(frozen=True)
class Evaluation:
    """One set of parameters and what was measured with it: of short chains all targets, of long ones some."""

    parameters: dict[str, float]
    values: Values
    long: bool = False


@dataclass(frozen=True)
class LinearModel:
    """y = coefficients·(1, x, l) for each target, in units of its tolerance from what is wanted.

    Attributes:
        coefficients: (target, 1 + parameter + 1).
        covariance: (target, 1 + parameter + 1, 1 + parameter + 1).
    """

    coefficients: Array
    covariance: Array

    def residuals(self, x: Array) -> Array:
        """Return each target's distance from what is wanted of long chains, in tolerances."""
        result: Array = self.coefficients @ np.concatenate([[1.0], x, [1.0]])
        return result

    def errors(self, x: Array) -> Array:
        """Return the standard errors of the residuals."""
        row = np.concatenate([[1.0], x, [1.0]])
        result: Array = np.sqrt(np.einsum("tij,i,j->t", self.covariance, row, row))
        return result


def logarithms(parameters: Mapping[str, float], known: Sequence[Parameter]) -> Array:
    """Return x = ln(parameter / start)."""
    return np.array([math.log(parameters[p.name] / p.start) for p in known])


def fit(evaluations: Sequence[Evaluation], known: Sequence[Parameter], targets: Sequence[Target]) -> LinearModel:
    """Return the linear model of all evaluations, weighted by their errors, with a prior of no slope and no offset.

    Each target is fitted to the evaluations that have it.

    Limit: with exact values and as many evaluations as coefficients, the exact plane, but for the priors' pull.
    """
    x = np.array([np.concatenate([[1.0], logarithms(e.parameters, known), [float(e.long)]]) for e in evaluations])
    prior = np.diag(np.concatenate([[0.0], np.full(len(known), PRIOR_SLOPE**-2), [PRIOR_LENGTH**-2]]))
    coefficients, covariance = [], []
    for target in targets:
        has = np.array([target.name in e.values for e in evaluations])
        value, se = np.array([e.values[target.name] for e in evaluations if target.name in e.values]).T
        y, weights = (value - target.wanted) / target.tolerance, (target.tolerance / se) ** 2
        inverse = np.linalg.inv(x[has].T @ (weights[:, None] * x[has]) + prior)
        coefficients.append(inverse @ (x[has].T @ (weights * y)))
        covariance.append(inverse)
    return LinearModel(np.array(coefficients), np.array(covariance))


def propose(
    evaluations: Sequence[Evaluation], known: Sequence[Parameter], targets: Sequence[Target]
) -> dict[str, float]:
    """Return the next parameters.

    First the start, then a step of each parameter alone, with short chains; then where the fit comes nearest to the
    targets: within ``LONGEST_STEP`` of the evaluated point that the fit likes best, and within the limits.
    """
    done = sum(not evaluation.long for evaluation in evaluations)
    if done == 0:
        return {p.name: p.start for p in known}
    if done <= len(known):
        moved = known[done - 1]
        up, down = moved.start * math.exp(FIRST_STEP), moved.start * math.exp(-FIRST_STEP)
        there = up if up <= moved.most else max(down, moved.least)
        return {p.name: there if p is moved else p.start for p in known}
    model = fit(evaluations, known, targets)
    points = [logarithms(e.parameters, known) for e in evaluations]
    centre = min(points, key=lambda x: float(np.sum(model.residuals(x) ** 2)))
    limits = np.array([[math.log(p.least / p.start), math.log(p.most / p.start)] for p in known])
    low, high = np.maximum(limits[:, 0], centre - LONGEST_STEP), np.minimum(limits[:, 1], centre + LONGEST_STEP)

    def cost(x: Array) -> Array:
        return np.concatenate([model.residuals(x), 0.3 * (x - centre) / LONGEST_STEP])

    best = least_squares(cost, np.clip(centre, low + 1e-9, high - 1e-9), bounds=(low, high)).x
    return {p.name: float(p.start * math.exp(v)) for p, v in zip(known, best, strict=True)}


def calibrate(
    measure: Measure,
    evaluations: list[Evaluation],
    n_evaluations: int,
    known: Sequence[Parameter],
    targets: Sequence[Target],
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    measure_long: Measure | None = None,
    n_given: int = 0,
    begun: Callable[[int], dict[str, float] | None] = lambda number: None,
) -> dict[str, float]:
    """Evaluate until there are ``n_evaluations``; return the parameters that the fit would choose then.

    Args:
        measure: measures short chains.
        evaluations: those there are already; new ones are appended.
        n_evaluations: how many there shall be in all.
        known: the parameters.
        targets: what is wanted.
        on_evaluation: hears of each new one.
        measure_long: measures long chains; None: none are.
        n_given: of the evaluations, the first, that come from elsewhere and do not count in the order of the others.
        begun: the parameters of a long evaluation that was ended before it was there, by its number.
    """
    while len(evaluations) < n_evaluations:
        number = len(evaluations) - n_given
        parameters = propose(evaluations, known, targets)
        if measure_long is not None and number >= FIRST_LONG and (number - FIRST_LONG) % LONG_EVERY == 0:
            parameters = begun(number) or parameters
            evaluation = Evaluation(parameters, measure_long(parameters, number), long=True)
        else:
            evaluation = Evaluation(parameters, measure(parameters, number))
        evaluations.append(evaluation)
        on_evaluation(evaluations[-1])
    return propose(evaluations, known, targets)
