"""Is the stream sampled soundly: Δt beyond the ballistic regime, and a system that stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mlgle_lammps.records import Float64, Frames
from mlgle_lammps.statistics.errors import jackknife_error
from mlgle_lammps.statistics.pieces import longest_piece

BALLISTIC = 1.1  # exponents above this; 1 is diffusion, 2 free flight
SIGNIFICANT = 4.0  # standard errors
DRIFT_SHARE = 0.01  # of the MSD at t_max: less than this is not worth a line
DRIFT_LEVEL = 1e-4
DRIFT_BLOCKS = 10


@dataclass(frozen=True)
class ShortTimeExponent:
    """Growth of a mean squared displacement between lags of one and two frames, MSD ~ t^a.

    Attributes:
        value: a; 2 for free flight, 1 for Brownian motion, below 1 where chains or modes hold back.
        se: its standard error, a jackknife over chains.
    """

    value: float
    se: float


def short_time_exponent(window: Frames) -> ShortTimeExponent | None:
    """Return a = log2[MSD(2)/MSD(1)] of the centres of mass, the system's own motion removed.

    None where fewer than two chains move or no three frames in one segment are there.

    The centre of mass decides, and no mode: it is the slowest to forget its velocity, and it is where the GLE puts
    white noise. A mode may oscillate, which the model of the modes can learn.

    Args:
        window: frames; no displacement crosses two segments.

    Limits: 1 for Brownian motion, 2 for free flight; velocities that last τ_v give 1.08 at Δt = 10 τ_v.
    """
    com = window.com - window.com.mean(axis=1, keepdims=True)
    inside = window.segments[2:] == window.segments[:-2]
    n_chains = com.shape[1]
    if not inside.any() or n_chains < 2:
        return None
    one, two = (_squared(com[lag:][: len(inside)] - com[: len(inside)], inside) for lag in (1, 2))
    if one.sum() <= one.max():
        return None
    value = float(np.log2(two.sum() / one.sum()))
    left_out = np.log2((two.sum() - two) / (one.sum() - one))
    return ShortTimeExponent(value, float(jackknife_error(left_out)))


def _squared(displacement: Float64, inside: np.ndarray) -> Float64:
    """Return the squared displacements of each chain, summed over the frames that count, (chain,)."""
    result: Float64 = np.einsum("tcx,tcx->c", displacement[inside], displacement[inside])
    return result


def ballistic_warnings(exponent: ShortTimeExponent) -> list[str]:
    """Return a warning where the centres of mass still fly between two frames."""
    if exponent.value <= BALLISTIC or exponent.value - 1.0 <= SIGNIFICANT * exponent.se:
        return []
    return [
        f"the frames lie in the ballistic regime: the centres' MSD grows as t^a with a = {exponent.value:.2f} ± "
        f"{exponent.se:.1g} between lags 1 and 2 (at most 1 is wanted): raise --every"
    ]


@dataclass(frozen=True)
class Drift:
    """Steady motion of the whole system, which is removed from every frame.

    Attributes:
        speed: |mean step of the system's centre|, length per frame.
        chain_step: root mean squared step of a chain's centre about it (3D), length per frame.
        share: what the drift would have added to the chains' MSD at the longest lag, as a part of it.
        p: probability of so steady a motion by chance.
    """

    speed: float
    chain_step: float
    share: float
    p: float


def system_drift(window: Frames, longest_lag: int) -> Drift | None:
    """Return the steady motion of the system's centre of mass (equal chains, so the mean of their centres).

    Whether it is steady is judged over ten blocks of frames: mean over scatter of their mean steps, Student's t with
    nine degrees of freedom, the likeliest of the dimensions. A centre that merely diffuses is not steady. None where
    there are fewer than ten steps.

    Args:
        window: frames, drift not removed.
        longest_lag: t_max in frames.

    Limit: a share of 0 where the total momentum is zero.
    """
    center = window.com.mean(axis=1)
    within = np.diff(window.segments) == 0
    steps = np.diff(center, axis=0)[within]
    if len(steps) < DRIFT_BLOCKS:
        return None
    blocks = np.stack([block.mean(axis=0) for block in np.array_split(steps, DRIFT_BLOCKS)])
    mean = steps.mean(axis=0)
    error = np.maximum(blocks.std(axis=0, ddof=1) / np.sqrt(DRIFT_BLOCKS), 1e-300)
    p = min(1.0, 2.0 * len(mean) * float(stats.t.sf(np.abs(mean) / error, DRIFT_BLOCKS - 1).min()))
    speed, chains = float(np.linalg.norm(mean)), window.com - center[:, None]
    lag = min(longest_lag, longest_piece(window.segments) - 1)
    step_sq, far_sq = (_mean_square(chains, window.segments, reach) for reach in (1, lag))
    return Drift(speed, float(np.sqrt(max(step_sq, 1e-300))), (speed * lag) ** 2 / max(far_sq, 1e-300), p)


def _mean_square(com: Float64, segments: np.ndarray, lag: int) -> float:
    """Return the mean squared displacement (3D) at one lag, over pairs of frames in one segment."""
    moved = (com[lag:] - com[:-lag])[segments[lag:] == segments[:-lag]]
    return float(np.mean(np.sum(moved**2, axis=-1)))


def drift_warnings(drift: Drift) -> list[str]:
    """Return a warning where a drift was removed that would have spoiled D."""
    if drift.share < DRIFT_SHARE or drift.p > DRIFT_LEVEL:
        return []
    return [
        f"the whole system drifts by {drift.speed:.3g} per frame ({drift.speed / drift.chain_step:.2g} of a chain's "
        f"step); it was removed, else the MSD at t_max would be {1 + drift.share:.3g} times as large: add "
        "'fix momentum' or check the thermostat"
    ]
