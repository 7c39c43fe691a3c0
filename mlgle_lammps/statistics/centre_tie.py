"""How far the centre of a chain moves with its modes: <ΔX·Δz_p> in units of <Δz_p²>."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.records import Float64, Frames
from mlgle_lammps.statistics.errors import ratio_of_means
from mlgle_lammps.statistics.moments import logarithmic_lags
from mlgle_lammps.statistics.pieces import longest_piece

RELAXED = 0.25
"""Relaxation times of a mode after which its tie is looked at."""


@dataclass(frozen=True)
class CentreTie:
    """Displacements of the centres against those of each mode, at a lag near a quarter of its relaxation time.

    They are tied most, and best known, where the mode has not yet relaxed.

    Attributes:
        value: (mode,) c_p = <ΔX·Δz_p>/<Δz_p²>; zero where symmetry forbids a tie.
        se: (mode,) its standard error, chains as independent units.
        lags: (mode,) in frames.
        early: (mode,) <ΔX·Δz_p>/<Δz_p²> at the shortest lag.
        dof: degrees of freedom of the errors.
    """

    value: Float64
    se: Float64
    lags: tuple[int, ...]
    early: Float64
    dof: float = math.inf


def centre_tie(frames: Frames, shortest: int = 1) -> CentreTie | None:
    """Return c_p of every mode; None where frames or chains are too few to say anything.

    Args:
        frames: with centres, the system's own motion still in them, and modes.
        shortest: least lag in frames.

    Limit: zero for Rouse chains, β for X = αB + β Σ_p z_p.
    """
    com, modes = frames.com, frames.modes
    n_chains, n_modes = modes.shape[1:3]
    longest = longest_piece(frames.segments) // 4
    if n_chains < 3 or longest < shortest:
        return None
    com = com - com.mean(axis=1, keepdims=True)
    variance = np.maximum(np.mean(np.square(modes, dtype=np.float64), axis=(0, 1, 3)), 1e-300)
    value, se, chosen = np.zeros(n_modes), np.full(n_modes, np.inf), [0] * n_modes
    early: Float64 | None = None
    for lag in logarithmic_lags(longest, 1):
        open_modes = [p for p in range(n_modes) if not chosen[p]]
        if lag < shortest or not open_modes:
            continue
        pairs = frames.segments[lag:] == frames.segments[:-lag]
        if not pairs.any():
            break
        dx = (com[lag:] - com[:-lag])[pairs]
        dz = (modes[lag:][:, :, open_modes] - modes[:-lag][:, :, open_modes])[pairs].astype(np.float64)
        square = np.einsum("tckx,tckx->ck", dz, dz) / (len(dz) * modes.shape[3])
        cross = np.einsum("tcx,tckx->ck", dx, dz) / (len(dz) * modes.shape[3])
        relaxed = square.mean(axis=0) > 2 * (1 - math.exp(-RELAXED)) * variance[open_modes]
        ratio, error = ratio_of_means(cross, square)
        early = ratio if early is None else early
        for i, p in enumerate(open_modes):
            value[p], se[p] = ratio[i], error[i]
            if relaxed[i]:
                chosen[p] = lag
    return CentreTie(
        value, se, tuple(lag or longest for lag in chosen), value if early is None else early, n_chains - 1
    )
