"""Correlations of molecules' velocities: a molecule with itself, with others at a distance, and hydrodynamic modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.centre_motion import correlate

_FRAMES_AT_ONCE = 500


def shell_cross_correlations(
    centres: np.ndarray, velocities: np.ndarray, box: Float64, shells: Sequence[tuple[float, float]], n_lags: int
) -> Float64:
    """Return <V_i(0)·V_j(t)>/3 of pairs whose distance at time 0 is in a shell, (shell, lag).

    For each molecule and time the velocities of those in its shell are added up; that sum's correlation with its own
    velocity is the wanted one, over all times by FFT.

    Args:
        centres: (time, M, 3), wrapped or not.
        velocities: (time, M, 3).
        box: (3,) edges.
        shells: (from, to) in length, below half the box.
        n_lags: lags 0..n_lags - 1.

    Limit: 0 at lag 0 but for -kT/(mass (M - 1)) where momentum is conserved.
    """
    sums, counts = np.zeros((len(shells), *centres.shape)), np.zeros(len(shells))
    for start in range(0, len(centres), _FRAMES_AT_ONCE):
        part = slice(start, start + _FRAMES_AT_ONCE)
        distance = _distances(centres[part], box)
        for number, (low, high) in enumerate(shells):
            inside = (distance >= low) & (distance < high)
            counts[number] += inside.sum()
            sums[number, part] = np.matmul(inside.astype(np.float32), velocities[part].astype(np.float32))
    per_time = np.maximum(counts / len(centres), 1e-300)
    return np.stack([correlate(total, velocities, n_lags) / (3 * n) for total, n in zip(sums, per_time, strict=True)])


def _distances(centres: np.ndarray, box: Float64) -> np.ndarray:
    """Return (time, M, M) distances of nearest images, those of a molecule to itself infinite."""
    squares = np.zeros((*centres.shape[:2], centres.shape[1]), dtype=np.float32)
    for axis in range(3):
        own = np.mod(centres[:, :, axis], box[axis]).astype(np.float32)
        apart = np.abs(own[:, :, None] - own[:, None, :])
        np.minimum(apart, np.float32(box[axis]) - apart, out=apart)
        squares += apart * apart
    squares[:, range(squares.shape[1]), range(squares.shape[1])] = np.inf
    return np.sqrt(squares)


def current_correlations(
    centres: np.ndarray, velocities: np.ndarray, box: Float64, n_lags: int
) -> tuple[Float64, Float64, float]:
    """Return C_L(t) and C_T(t) at the smallest wave vectors, (lag,) both, kT/mass at lag 0, and |k|.

    u = Σ_j V_j e^{ik·Q_j}/√M along and across k = 2π/box of each axis; in boxes of unequal edges the longest one.

    Args:
        centres: (time, M, 3), wrapped or not.
        velocities: (time, M, 3).
        box: (3,) edges.
        n_lags: lags 0..n_lags - 1.

    Limit: C_T decays as exp(-η k² t/ρ) in a simple fluid at long times.
    """
    axes = [axis for axis in range(3) if box[axis] > 0.999 * box.max()]
    along, across = np.zeros((2, n_lags))
    for axis in axes:
        phase = np.exp(2j * np.pi / box[axis] * centres[:, :, axis])
        current = np.einsum("tj,tjx->tx", phase, velocities) / np.sqrt(centres.shape[1])
        along += correlate(current[:, axis], current[:, axis], n_lags)
        others = np.delete(current, axis, axis=1)
        across += correlate(others, others, n_lags) / 2
    return along / len(axes), across / len(axes), float(2 * np.pi / box.max())


def viscosity(transverse: Float64, dt: float, k: float, mass_density: float) -> float:
    """Return η = ρ/(k² ∫C_T/C_T(0)), the integral up to where C_T falls below a hundredth; NaN where it does not.

    Args:
        transverse: (lag,) C_T.
        dt: time between lags.
        k: wave number.
        mass_density: ρ.
    """
    normal = transverse / transverse[0]
    below = np.flatnonzero(normal < 0.01)
    if not len(below):
        return float("nan")
    return float(mass_density / (k**2 * np.trapezoid(normal[: below[0] + 1], dx=dt)))
