"""Correlations of fluctuating forces on many centres: all lags by FFT, pairs in range only, averaged where lags spread.

Lags are resolved one by one where they are short and spread logarithmically behind. Between spread lags the
correlations are not thrown away: each kept lag holds the mean over its neighbourhood, weighted by the hat function that
is 1 there and falls to 0 at the next kept lags. Hat functions add up to 1, so that the trapezoid rule over the kept
lags gives what it gives over all lags, with all of its statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from mlgle_lammps.records import Float32, Float64, Int64

RESOLVED = 16
"""Lags that are kept one by one."""
GROWTH = 1.12
"""From one kept lag to the next behind them."""
CHUNK_BYTES = 2**26


@dataclass(frozen=True)
class ForceCorrelations:
    """Correlations of the two halves of a run; see `store.constrained_file.ConstrainedRun` for what they mean.

    Attributes:
        mean_force: (2, M, 3).
        pair: (2, L, P, 3, 3).
        own: (2, L, M, 3, 3).
        motions: (2, L, 18) of the collective motions.
    """

    mean_force: Float64
    pair: Float32
    own: Float32
    motions: Float64


def spread_lags(longest: int, resolved: int = RESOLVED, growth: float = GROWTH) -> Int64:
    """Return lags from 0 to ``longest``: one by one up to ``resolved``, then each a ``growth`` longer."""
    lags = list(range(min(resolved, longest) + 1))
    while lags[-1] < longest:
        lags.append(min(max(lags[-1] + 1, round(lags[-1] * growth)), longest))
    return np.array(lags, dtype=np.int64)


def hat_weights(lags: Int64) -> Float64:
    """Return (L, lags[-1] + 1) weights, each row a normalised hat function around a kept lag."""
    every = np.arange(lags[-1] + 1)
    weights = np.zeros((len(lags), len(every)))
    for row, unit in zip(weights, np.eye(len(lags)), strict=True):
        row[:] = np.interp(every, lags, unit)
    normalised: Float64 = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def pairs_within(centres: Float64, box: Float64, distance: float) -> Int64:
    """Return (P, 2) pairs i < j whose nearest images are no further apart than ``distance``.

    Args:
        centres: (M, 3).
        box: (3,) edges of the periodic box.
        distance: at most half the shortest edge, beyond which a pair has several images.
    """
    first, second = np.triu_indices(len(centres), 1)
    apart = centres[first] - centres[second]
    apart -= box * np.rint(apart / box)
    near = np.einsum("pk,pk->p", apart, apart) <= distance**2
    return np.stack([first[near], second[near]], axis=1).astype(np.int64)


def collective_motions(centres: Float64, box: Float64) -> Float64:
    """Return the motions of the smallest wave vectors, (3M, 18), each of length 1.

    The columns are axis by axis, for each the cosine and the sine, for each of these the three components.

    Args:
        centres: (M, 3).
        box: (3,) edges of the periodic box.
    """
    vectors = []
    for phase in (2 * np.pi * centres / box).T:
        for wave in (np.cos(phase), np.sin(phase)):
            vectors += [np.outer(wave, unit).ravel() for unit in np.eye(3)]
    found = np.stack(vectors, axis=1)
    lengths = np.sqrt(np.sum(found**2, axis=0))
    result: Float64 = found / np.where(lengths > 0, lengths, 1.0)
    return result


def correlate_forces(forces: Float64, lags: Int64, pairs: Int64, motions: Float64) -> ForceCorrelations:
    """Return the correlations of δF = F - <F> within each half of a run.

    C_ij(t) = <δF_i(t) δF_j(0)ᵀ>, the mean with C_ji(t)ᵀ, which time reversal makes the same; <F> is of the whole run,
    and each lag is divided by the products that it has.

    Args:
        forces: (time, M, 3), an even spacing apart.
        lags: ascending from 0, as `spread_lags` gives them; the last one within half of the run.
        pairs: (P, 2) whose correlations are wanted.
        motions: (3M, 18) collective ones, whose forces are sums over all molecules.

    Raises:
        ValueError: lags that reach beyond half of the run.
    """
    half, n = len(forces) // 2, forces.shape[1]
    if lags[-1] >= half:
        raise ValueError(f"lag {lags[-1]} reaches beyond the {half} samples of half a run")
    fluctuations = forces - forces.mean(axis=0)
    every = np.concatenate([np.repeat(np.arange(n, dtype=np.int64)[:, None], 2, axis=1), pairs])
    weights = hat_weights(lags) / (half - np.arange(lags[-1] + 1))
    found = np.empty((2, len(lags), len(every), 3, 3), dtype=np.float32)
    together = np.empty((2, len(lags), motions.shape[1]))
    for part in range(2):
        own_half = fluctuations[part * half : (part + 1) * half]
        found[part] = _correlated(own_half, every, weights)
        together[part] = _autocorrelated(own_half.reshape(half, -1) @ motions, weights)
    means = np.stack([forces[:half].mean(axis=0), forces[half : 2 * half].mean(axis=0)])
    return ForceCorrelations(means, found[:, :, n:], found[:, :, :n], together)


def _autocorrelated(series: Float64, weights: Float64) -> Float64:
    """Return (L, column) weighted sums over lags of Σ_t x(t + lag) x(t)."""
    n_lags = weights.shape[1]
    length = fft.next_fast_len(len(series) + n_lags, real=True)
    power = np.abs(fft.rfft(series, length, axis=0)) ** 2
    result: Float64 = weights @ fft.irfft(power, length, axis=0)[:n_lags]
    return result


def _correlated(fluctuations: Float64, pairs: Int64, weights: Float64) -> Float64:
    """Return (L, P, 3, 3) weighted sums over lags of Σ_t δF_i(t + lag) δF_j(t)ᵀ, symmetric in time and pair."""
    n_lags = weights.shape[1]
    length = fft.next_fast_len(len(fluctuations) + n_lags, real=True)
    spectra = fft.rfft(fluctuations, length, axis=0)
    spectra = np.ascontiguousarray(spectra.transpose(1, 2, 0))  # (M, 3, frequency)
    chunk = max(CHUNK_BYTES // (9 * length * 8), 1)
    parts = []
    for start in range(0, len(pairs), chunk):
        i, j = pairs[start : start + chunk].T
        product = spectra[i][:, :, None] * spectra[j][:, None].conj()
        # the real part of the spectrum is that of the mean over lag and -lag, which swaps the two molecules in time
        series = fft.irfft(product.real, length, axis=-1)[..., :n_lags]
        parts.append(np.einsum("lt,pabt->lpab", weights, series, optimize=True))
    joined: Float64 = np.concatenate(parts, axis=1)
    return joined


def correlation_time(series: Float64) -> float:
    """Return the lag, in samples and interpolated, at which the series' own correlation has fallen to 1/e.

    Args:
        series: (time, ..), means of zero; correlations are summed over all but the first axis.

    Returns:
        infinity where it has not fallen so far within half of the series.
    """
    n, flat = len(series), series.reshape(len(series), -1)
    length = fft.next_fast_len(2 * n, real=True)
    power = np.zeros(length // 2 + 1)
    for column in flat.T:
        spectrum = fft.rfft(column, length)
        power += spectrum.real**2 + spectrum.imag**2
    products = fft.irfft(power, length)[: max(n // 2, 1)]
    correlation = products / (n - np.arange(len(products)))
    if not correlation[0] > 0:
        return float("inf")
    below = correlation < correlation[0] / np.e
    if not below.any():
        return float("inf")
    k = int(below.argmax())
    high, low = correlation[k - 1], correlation[k]
    return float(k - 1 + (high - correlation[0] / np.e) / (high - low))
