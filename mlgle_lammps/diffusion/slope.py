"""D from a trajectory long enough to diffuse normally: full MD, or one that the integrator generated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgle_lammps.records import Estimate, Float64, Species
from mlgle_lammps.statistics.errors import student_estimate
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments
from mlgle_lammps.statistics.msd_covariance import generalized_least_squares, msd_covariance
from mlgle_lammps.statistics.species_moments import SpeciesMoments

TRUST_LEVEL = 0.10
SAFETY = 2.0  # the window starts at this multiple of the shortest lag from which a straight line fits
RELAXATIONS = 1.5  # and not before this many relaxation times of mode 1: what is left then bends the MSD by 1-2%
LAGS_PER_OCTAVE = 4  # for the accumulator whose moments come here
LEAST_LAGS = 4


def species_slopes(
    species: Sequence[Species], n_frames: int, center_held: bool = False, n_dimensions: int = 3
) -> SpeciesMoments:
    """Return what ``slope_accumulator`` does for several species, about the centre of all: of the first is spoken."""
    return SpeciesMoments(
        species, {own.name: 0 for own in species}, max(4, n_frames // 4), center_held, n_dimensions, LAGS_PER_OCTAVE
    )


def slope_accumulator(
    n_chains: int, n_frames: int, center_held: bool = False, n_dimensions: int = 3
) -> MomentAccumulator:
    """Return an accumulator of displacements at lags up to a quarter of ``n_frames``: what a slope is read from."""
    return MomentAccumulator(n_chains, 0, max(4, n_frames // 4), LAGS_PER_OCTAVE, center_held, n_dimensions)


def normal_diffusion(moments: Moments, dt: float, slowest: float = 0.0) -> Estimate | None:
    """Return D from the straight part of the MSD, or None while there is none.

    The MSD at late times is 2 D t + c per dimension; c is what subdiffusion left behind and spoils MSD/(2t)
    (JCP eq. 35) by c/(2t), so the slope is taken instead, by generalized least squares. The diffusive window is
    found from the data: a straight line must fit from its first lag on (chi-square, p >= 0.1); the window
    starts at twice that lag, and not before 1.5 relaxation times of the slowest mode.

    Args:
        moments: displacements, lags in frames; lags should reach a quarter of the record.
        dt: time between frames.
        slowest: relaxation time of mode 1 in frames, 0 where unknown.

    Returns:
        D per dimension, length²/time, with a Student interval (chains, time blocks, and how far the chains of
        one box move together).

    Limit: for Brownian motion MSD/(2t).
    """
    found = _diffusive_points(moments, slowest)
    if found is None:
        return None
    lags, y, covariance = found
    design = np.stack([lags, np.ones_like(lags)], axis=1)
    solution = generalized_least_squares(design, y, covariance)
    method = f"MSD slope by generalized least squares, {_described(lags, moments)}"
    return student_estimate(solution.values[0] / (2 * dt), solution.errors[0] / (2 * dt), moments.design_dof, method)


def mean_over_time(moments: Moments, dt: float, slowest: float = 0.0) -> Estimate | None:
    """Return the mean of MSD/(2dt), d directions, over the diffusive window (JCP eq. 35), or None while there is none.

    The window is that of ``normal_diffusion``, every lag in it weighs alike as in eq. 35. The constant c that
    subdiffusion leaves in the MSD adds c/(2t), so that this D is too large where the window begins early.

    Args:
        moments: displacements, lags in frames.
        dt: time between frames.
        slowest: relaxation time of mode 1 in frames, 0 where unknown.

    Limit: for Brownian motion D.
    """
    found = _diffusive_points(moments, slowest)
    if found is None:
        return None
    lags, y, covariance = found
    weights = np.gradient(lags) / (lags[-1] - lags[0])  # of each lag that is there for those up to the next
    weights[[0, -1]] /= 2
    weights /= weights.sum() * 2 * dt * lags
    method = f"mean of MSD/({2 * moments.n_dimensions}t) (JCP eq. 35), {_described(lags, moments)}"
    error = float(np.sqrt(weights @ covariance @ weights))
    return student_estimate(float(weights @ y), error, moments.design_dof, method)


def _diffusive_points(moments: Moments, slowest: float) -> tuple[Float64, Float64, Float64] | None:
    """Return lags, MSD and its covariance in the diffusive window; None where there is none."""
    long_enough = moments.lags * 4 <= max(moments.segment_lengths, default=0)
    lags = moments.lags[long_enough].astype(float)
    if len(lags) < 2 * LEAST_LAGS:
        return None
    y = moments.msd_com[long_enough]
    covariance = _covariance(moments, y) * moments.design_effect / (moments.n_dimensions * moments.n_chains)
    design = np.stack([lags, np.ones_like(lags)], axis=1)
    start = _straight_from(design, y, covariance)
    if start is None:
        return None
    earliest = max(RELAXATIONS * slowest, SAFETY * lags[start] if start else 0.0)
    start = int(np.searchsorted(lags, earliest))
    if len(lags) - start < LEAST_LAGS - 1:
        return None
    keep = slice(start, None)
    return lags[keep], y[keep], covariance[keep, keep]


def _straight_from(design: Float64, y: Float64, covariance: Float64) -> int | None:
    """Return from which point on a straight line fits; None where none does, or where the MSD is no path's.

    The MSD of one or two short trajectories is so rough that no Gaussian process has it.
    """
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return None
    for start in range(len(y) - LEAST_LAGS + 1):
        keep = slice(start, None)
        if generalized_least_squares(design[keep], y[keep], covariance[keep, keep]).p >= TRUST_LEVEL:
            return start
    return None


def _described(lags: Float64, moments: Moments) -> str:
    return (
        f"lags {lags[0]:.0f}..{lags[-1]:.0f} frames of "
        f"{moments.n_frames}, {moments.n_chains} chains; design effect {moments.design_effect:.2f}"
    )


def _covariance(moments: Moments, y: Float64) -> Float64:
    """Covariance of one path's MSD points, its MSD interpolated and continued along its last slope."""
    lags = moments.lags[: len(y)]
    time = np.arange(3 * int(lags[-1]) + 1, dtype=float)
    slope = (y[-1] - y[-3]) / (lags[-1] - lags[-3])
    curve = np.interp(time, np.append(0, lags), np.append(0.0, y))
    curve = np.where(time > lags[-1], y[-1] + slope * (time - lags[-1]), curve)
    return msd_covariance([curve], lags, moments.segment_lengths)[0]
