"""Estimates of many molecules against long MD of each: how well they agree, and what a fit on composition would do.

| symbol | name | meaning |
|---|---|---|
| r² | r2 | 1 - Σ (x_i - y_i)²/Σ (y_i - <y>)² about the line x = y; x estimates, y long MD |
| | mae | <|x - y|> |
| | bias | <x - y>/<y> |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means


@dataclass(frozen=True)
class Scores:
    """How well estimates of molecules agree with their reference; errors are those of the jackknife over molecules.

    Attributes:
        r2: share of the reference's variance.
        r2_se: its standard error.
        r2_corrected: the same with the reference's own errors taken out of both sums.
        mae: mean absolute error, in the quantity's unit.
        mae_se: its standard error.
        bias: mean error over the mean of the reference.
        bias_se: its standard error.
    """

    r2: float
    r2_se: float
    r2_corrected: float
    mae: float
    mae_se: float
    bias: float
    bias_se: float


def scores(reference: Sequence[Estimate], values: Sequence[float] | Float64) -> Scores:
    """Return how well ``values`` agree with the reference, molecule by molecule; three molecules or more."""
    y = np.array([own.value for own in reference])
    x = np.asarray(values, dtype=np.float64)
    n = len(y)
    if n < 3 or len(x) != n:
        raise ValueError(f"{len(x)} estimates of {n} molecules; three or more of each are needed")
    noise = float(np.mean([own.se**2 for own in reference]))
    keep = ~np.eye(n, dtype=bool)
    r2 = _r2(x, y)
    error, size = np.abs(x - y), float(y.mean())
    left_out_bias = np.array([(x[row] - y[row]).mean() / y[row].mean() for row in keep])
    return Scores(
        r2, float(jackknife_error(np.array([_r2(x[row], y[row]) for row in keep]))), _r2(x, y, noise),
        float(error.mean()), float(jackknife_error(left_out_means(error))),
        float((x - y).mean() / size), float(jackknife_error(left_out_bias)),
    )  # fmt: skip


def best_r2(reference: Sequence[Estimate]) -> float:
    """Return the r² that true values would have: 1 less the share of the reference's own errors in its variance."""
    y = np.array([own.value for own in reference])
    return 1.0 - float(np.mean([own.se**2 for own in reference]) / max(y.var(), 1e-300))


def composition_fit(compositions: Sequence[Mapping[str, float]], values: Sequence[float]) -> Float64:
    """Return leave-one-out predictions of log y = Σ_k c_k f_k, f_k the share of type k; (molecule,).

    Args:
        compositions: share of each type by its name.
        values: y above 0.

    Limit: exact where log y is linear in the composition.
    """
    kinds = sorted({kind for own in compositions for kind in own})
    shares = np.array([[own.get(kind, 0.0) for kind in kinds] for own in compositions])
    logs = np.log(np.asarray(values, dtype=np.float64))
    return np.array([_predicted(shares, logs, i) for i in range(len(logs))])


def composition_predictions(
    known: Sequence[Mapping[str, float]], values: Sequence[float], wanted: Sequence[Mapping[str, float]]
) -> Float64:
    """Return what the same fit, made to some molecules, says of others; (molecule,)."""
    kinds = sorted({kind for own in known for kind in own})
    shares, asked = (np.array([[own.get(k, 0.0) for k in kinds] for own in table]) for table in (known, wanted))
    result: Float64 = np.exp(asked @ np.linalg.lstsq(shares, np.log(np.asarray(values)), rcond=None)[0])
    return result


def _predicted(shares: Float64, logs: Float64, out: int) -> float:
    keep = np.arange(len(logs)) != out
    return float(np.exp(shares[out] @ np.linalg.lstsq(shares[keep], logs[keep], rcond=None)[0]))


def _r2(x: Float64, y: Float64, noise: float = 0.0) -> float:
    rest, spread = np.mean((x - y) ** 2) - noise, y.var() - noise
    return float(1.0 - max(rest, 0.0) / spread) if spread > 0 else float("nan")


def mean_scores(several: Sequence[Scores]) -> Scores:
    """Return the mean of scores of several models, or pieces, of the same molecules.

    Errors are those of one of them, averaged, and the scatter between them, added in squares: molecules are the same,
    so that several models do not make their choice less of a chance.
    """
    found = {}
    for name in ("r2", "r2_corrected", "mae", "bias"):
        values = np.array([getattr(own, name) for own in several])
        found[name] = float(values.mean())
        if name != "r2_corrected":
            scatter = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
            found[f"{name}_se"] = float(np.hypot(np.mean([getattr(own, f"{name}_se") for own in several]), scatter))
    return Scores(**found)
