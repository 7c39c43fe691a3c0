"""G(t) by Green and Kubo at short times and from modes at long ones, joined where both agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.observe.green_kubo import StressRelaxation
from mlgle_lammps.observe.mode_relaxation import Relaxation
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.replicas import Replicas, combined

SPAN = 3.0
"""Agreement is judged over times t to 3 t."""
AGREE = 2.0
"""Standard errors."""
TELLING = 0.1
"""Relative error of the comparison above which it says nothing."""


@dataclass(frozen=True)
class JoinedRelaxation:
    """Both routes as one curve.

    Attributes:
        at: time from which modes are taken.
        ratio: of Green-Kubo's G to the modes' over [at, 3 at].
        ratio_se: its standard error.
        times: (lag,).
        G: (lag,); blocks of time and groups of chains are its units.
        source: (lag,) "Green-Kubo" or "modes".
        viscosity: ∫ G dt; the error holds that of the agreement, for all that is taken from modes.
    """

    at: float
    ratio: float
    ratio_se: float
    times: Float64
    G: Replicas
    source: list[str]
    viscosity: Replicas


def ratio_to_modes(stress: StressRelaxation, times: Float64, modes: Replicas, start: float) -> Replicas | None:
    """Return Green-Kubo's G over the modes', means over [start, 3 start]; None without lags."""
    inside = (stress.times >= start) & (stress.times <= SPAN * start)
    if not inside.any() or SPAN * start > times[-1]:
        return None
    at = stress.times[inside]
    below = modes.map(lambda values: float(np.interp(at, times, values).sum()))
    above = stress.G.map(lambda values: float(values[inside].sum()))
    if not below.value > 0:
        return None
    return combined(lambda a, b: float(a / b), above, below)


def join_relaxations(
    stress: StressRelaxation, times: Float64, modes: Replicas, relaxation: Relaxation, density: float
) -> JoinedRelaxation | None:
    """Return both joined at the first time from which they agree within two errors that are small enough to tell.

    Args:
        stress: by Green and Kubo.
        times: (lag,) of ``modes``.
        modes: G(t) from modes.
        relaxation: of the modes, at all lags.
        density: n kT/V, what turns that into G.
    """
    for start in times[times > 0]:
        found = ratio_to_modes(stress, times, modes, float(start))
        if found is None:
            return None
        if found.se <= TELLING and abs(found.value - 1.0) <= AGREE * found.se:
            return _joined(stress, times, modes, relaxation, density, float(start), found)
    return None


def _joined(
    stress: StressRelaxation, times: Float64, modes: Replicas, relaxation: Relaxation, density: float, at: float,
    ratio: Replicas,
) -> JoinedRelaxation:  # fmt: skip
    early, late = stress.times < at, times >= at
    beyond = relaxation.remaining.map(lambda own: density * float(np.interp(at, relaxation.times, own)))
    viscosity = combined(lambda a, b: float(a + b), stress.viscosity(at), beyond)
    # modes are right beyond only as far as both were seen to agree
    agreement = ratio.map(lambda own: float(beyond.value * (own - ratio.value)))
    return JoinedRelaxation(
        at,
        float(ratio.value),
        float(ratio.se),
        np.concatenate([stress.times[early], times[late]]),
        combined(lambda a, b: np.concatenate([a[early], b[late]]), stress.G, modes),
        ["Green-Kubo"] * int(early.sum()) + ["modes"] * int(late.sum()),
        combined(lambda a, b: float(a + b), viscosity, agreement),
    )
