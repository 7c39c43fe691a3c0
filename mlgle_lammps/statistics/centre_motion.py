"""Velocity correlations, displacements and distances of molecules' centres: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.displacements import mean_squared_displacements


def correlate(first: np.ndarray, second: np.ndarray, n_lags: int) -> Float64:
    """Return <a(t)* · b(t + lag)> over all times, summed over the other axes, (lag,).

    Args:
        first: a, (time, ..), real or complex.
        second: b, the same shape.
        n_lags: lags 0..n_lags - 1, fewer than there are times.
    """
    n_time = len(first)
    size = fft.next_fast_len(n_time + n_lags)
    a, b = (fft.fft(values.reshape(n_time, -1), size, axis=0) for values in (first, second))
    products = fft.ifft((a.conj() * b).sum(1))[:n_lags].real
    result: Float64 = products / (n_time - np.arange(n_lags))
    return result


def velocity_autocorrelation(velocities: np.ndarray, n_lags: int) -> Float64:
    """Return <V(0)·V(t)>/3 over molecules, (lag,), of velocities (time, M, 3). Limit: kT/mass at lag 0."""
    return correlate(velocities, velocities, n_lags) / (3 * velocities.shape[1])


def frames_to_forget(velocities: np.ndarray, most: int = 400) -> float:
    """Return the frames after which velocities' autocorrelation has fallen to 1/e, at most so many."""
    longest = min(most, len(velocities) - 1)
    products = np.array([np.mean(velocities[lag:] * velocities[: len(velocities) - lag]) for lag in range(longest)])
    below = products < products[0] / np.e
    return float(np.argmax(below)) if below.any() else float(longest)


def mean_squared_displacement(centres: np.ndarray, n_lags: int) -> Float64:
    """Return <|Q(t) - Q(0)|²> over molecules and times, (lag,), of unwrapped centres (time, M, 3)."""
    result: Float64 = mean_squared_displacements(centres, np.zeros(len(centres), dtype=np.int64), n_lags).mean(axis=1)
    return result


def distinct_van_hove(
    centres: np.ndarray, box: Float64, edges: Float64, lags: Sequence[int], n_origins: int = 200
) -> Float64:
    """Return G(r, t) over that of points without correlation, (lag, bin); 1 everywhere in the end.

    Args:
        centres: (time, M, 3), unwrapped, without a drift of the whole.
        box: (3,) edges.
        edges: (bin + 1,) of distances, up to half the box.
        lags: in frames, ascending.
        n_origins: times 0 to take, evenly.

    Limit: at lag 0 the radial distribution function.
    """
    n_time, n_molecules, _ = centres.shape
    shells = 4 / 3 * np.pi * np.diff(edges**3) / np.prod(box) * n_molecules * (n_molecules - 1)
    found = np.zeros((len(lags), len(edges) - 1))
    others = ~np.eye(n_molecules, dtype=bool)
    for number, lag in enumerate(lags):
        origins = np.unique(np.linspace(0, n_time - 1 - lag, min(n_origins, n_time - lag)).astype(int))
        for origin in origins:
            vector = centres[origin + lag][None] - centres[origin][:, None]
            vector -= box * np.round(vector / box)
            distance = np.sqrt((vector * vector).sum(-1))[others]
            found[number] += np.histogram(distance, edges)[0]
        found[number] /= len(origins) * shells
    return found
