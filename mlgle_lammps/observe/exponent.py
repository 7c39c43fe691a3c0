"""The anomalous exponent: how the MSD grows at each time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means

_HALF_WINDOW = np.sqrt(2.0)  # a window of one octave about each lag


@dataclass(frozen=True)
class AnomalousExponent:
    """ν(t) = d ln MSD/d ln t.

    Attributes:
        lags: (point,) in frames.
        value: (point,) ν; 1 where chains diffuse normally, 2 where they fly.
        se: (point,) standard error over groups of chains; NaN for one group.
    """

    lags: Int64
    value: Float64
    se: Float64


def anomalous_exponent(
    msd_groups: Float64, lags: Int64, design_effect: float = 1.0, sizes: Int64 | None = None
) -> AnomalousExponent:
    """Return the slope of ln MSD against ln t about each lag, by least squares over one octave of lags.

    Args:
        msd_groups: (group, lag) MSD at lags 0, 1, 2, .. frames of groups of chains, length².
        lags: (point,) where it is wanted, 2 or more; the octave about each must lie within the lags given.
        design_effect: variance of the box average over that of independent chains.
        sizes: (group,) chains in each group; None where they are equally many.

    Limit: t^ν gives ν at every lag.
    """
    whole = np.log(np.average(msd_groups, axis=0, weights=sizes)[1:])
    left_out = np.log(left_out_means(msd_groups, sizes)[:, 1:])
    log_lag = np.log(np.arange(1, msd_groups.shape[1]))
    values, errors = [], []
    for lag in lags:
        window = slice(int(np.floor(lag / _HALF_WINDOW)) - 1, int(np.ceil(lag * _HALF_WINDOW)))
        weights = _slope_weights(log_lag[window])
        values.append(weights @ whole[window])
        errors.append(jackknife_error(left_out[:, window] @ weights, sizes, values[-1]))
    return AnomalousExponent(np.asarray(lags), np.array(values), np.sqrt(design_effect) * np.array(errors))


def _slope_weights(x: Float64) -> Float64:
    """Return w with w·y the least-squares slope of y(x), points weighted evenly in x = ln lag."""
    density = np.exp(-x)
    centred = x - (density @ x) / density.sum()
    result: Float64 = density * centred / (density @ centred**2)
    return result
