"""Is the motion bounded in some direction: walls, tethers or frozen layers that no deck tells of.

| symbol | variable | meaning |
|---|---|---|
| P | n_chains | chains, the independent units |
| T | longest | frames of the longest uninterrupted piece |
| ν_x | exponent | log2[MSD_x(2l)/MSD_x(l)] of the centres, l = T/8: 1 where they diffuse, 0 where they are held |
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from mlgle_lammps.directions import AXES, Directions
from mlgle_lammps.records import Float64, Frames
from mlgle_lammps.statistics.displacements import mean_squared_displacements
from mlgle_lammps.statistics.errors import jackknife_error
from mlgle_lammps.statistics.pieces import longest_piece

HELD = 0.5
"""Exponent below which a direction is bounded, beyond its error; centres of entangled chains come down to about 0.5."""
BEHIND = 0.5
"""Of another direction's MSD: a bounded direction's must be smaller than that."""
LEVEL = 3e-5
"""Probability of a chance difference that is taken for none (four standard errors of a normal number)."""
STILL = 1e-12
LEAST_FRAMES = 32
LEAST_CHAINS = 5
"""Of fewer the scatter says too little: only a direction in which they stand still is bounded."""


def bounded_by_motion(frames: Frames, known: Directions, design_effect: float = 1.0) -> dict[str, str]:
    """Return the directions in which the centres' motion is bounded while it goes on in another, each with the reason.

    A direction x is bounded where all of these hold, y being the direction whose MSD at 2l is the largest: ν_x is
    below 1/2 by two standard errors; ν_x is below ν_y beyond chance (Student's t of the jackknife over chains, level
    3e-5); and MSD_x(2l) < MSD_y(2l)/2. A direction in which chains do not move at all is bounded too.

    Args:
        frames: all three columns, raw.
        known: directions that are known to be closed are not looked at.
        design_effect: variance of the box average over that of independent chains.

    Limit: none for an isotropic melt, whatever its subdiffusion: all its directions have one exponent.
    """
    longest = longest_piece(frames.segments)
    n_chains = frames.com.shape[1]
    if longest < LEAST_FRAMES or n_chains < 2 or known.n < 2:
        return {}
    lag = longest // 8
    short, long = _displacements(frames, known, lag)
    means = long.mean(axis=1)
    first = int(means.argmax())
    if not means[first] > 0:
        return {}
    found = {}
    for i, axis in enumerate(known.free):
        if means[i] <= STILL * means[first]:
            found[axis] = "the chains' centres do not move there"
        elif i != first and n_chains >= LEAST_CHAINS and _is_held(short, long, i, first, design_effect):
            ratio = means[i] / short[i].mean()
            found[axis] = (
                f"its motion is bounded (MSD {means[i]:.3g} at {2 * lag} frames, {ratio:.2f} times that at {lag}; "
                f"along {known.free[first]} {means[first]:.3g}, {means[first] / short[first].mean():.2f} times)"
            )
    return found


def _displacements(frames: Frames, known: Directions, lag: int) -> tuple[Float64, Float64]:
    """Return each chain's MSD at lags l and 2l in the directions looked at, (direction, chain) both."""
    com = frames.com - frames.com.mean(axis=1, keepdims=True)
    columns = [AXES.index(axis) for axis in known.free]
    curves = [mean_squared_displacements(com[:, :, i : i + 1], frames.segments, 2 * lag + 1) for i in columns]
    return np.array([curve[lag] for curve in curves]), np.array([curve[2 * lag] for curve in curves])


def _is_held(short: Float64, long: Float64, i: int, other: int, design_effect: float) -> bool:
    """Return whether direction ``i`` is bounded and ``other`` is not; MSDs are (direction, chain)."""
    n_chains = short.shape[1]
    exponent, left_out = _exponents(short, long)
    se, behind_se = (np.sqrt(design_effect) * jackknife_error(x) for x in (left_out[i], left_out[other] - left_out[i]))
    behind = exponent[other] - exponent[i]
    beyond_chance = stats.t.sf(behind / max(behind_se, 1e-300), n_chains - 1) < LEVEL
    return bool(exponent[i] + 2 * se < HELD and beyond_chance and long[i].mean() < BEHIND * long[other].mean())


def _exponents(short: Float64, long: Float64) -> tuple[Float64, Float64]:
    """Return ν (direction,), and without each of the chains, (direction, chain)."""
    sums, longer = short.sum(axis=1), long.sum(axis=1)
    tiny = 1e-300
    without = np.maximum(longer[:, None] - long, tiny) / np.maximum(sums[:, None] - short, tiny)
    return np.log2(np.maximum(longer, tiny) / np.maximum(sums, tiny)), np.log2(without)
