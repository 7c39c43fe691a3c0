"""Autocorrelations by FFT, with standard errors, and the relaxation times read from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.errors import jackknife_error, left_out_means

FORGOTTEN = 0.01  # of what was there a lag before: less is noise, of either sign
_SAMPLES_AT_ONCE = 2**24
_GROUPS = 20  # of chains, the units from which errors are taken


@dataclass(frozen=True)
class Autocorrelation:
    """Normalized autocorrelation of the modes.

    Attributes:
        nacf: (lag, mode), 1 at lag 0; 0 at all lags of a mode that does not move.
        se: (lag, mode) standard error (Mélard and Roy), chains as independent units.
        variance: (mode,) stationary variance per component, length².
        by_group: (group, lag, mode) autocovariance of groups of chains, length²; for errors over chains.
        group_sizes: (group,) chains in each.
    """

    nacf: Float64
    se: Float64
    variance: Float64
    by_group: Float64
    group_sizes: Int64


def autocorrelation(modes: np.ndarray, segments: Int64, n_lags: int) -> Autocorrelation:
    """Return the NACF of every mode, averaged over chains and dimensions (JCP eq. 36 with the stationary norm).

    The mean is not subtracted: it is zero by symmetry. No pair of frames crosses two segments.

    Args:
        modes: (time, chain, mode, d), length.
        segments: (time,) non-decreasing segment numbers.
        n_lags: lags 0..n_lags - 1 in frames.

    Limit: for a Rouse chain exp(-t/τ_p).
    """
    groups = chain_groups(modes.shape[1])
    products = [lagged_products(modes[:, c[0] : c[-1] + 1], segments, n_lags) for c in groups]
    return join_groups(products, [len(chains) for chains in groups], segments, modes.shape[3])


def chain_groups(n_chains: int) -> list[Int64]:
    """Return the numbers of the chains in each of at most twenty groups, alike in size but for one chain."""
    return np.array_split(np.arange(n_chains), min(_GROUPS, n_chains))


def lagged_products(modes: np.ndarray, segments: Int64, n_lags: int) -> Float64:
    """Sum z(t)·z(t + lag) over time, chains and xyz, (lag, mode); no pair crosses two segments.

    Args:
        modes: (time, chain, mode, d), length.
        segments: (time,) non-decreasing segment numbers.
        n_lags: lags 0..n_lags - 1, cut to the longest segment.
    """
    starts = np.flatnonzero(np.diff(segments, prepend=segments[0] - 1))
    lengths = np.diff(np.append(starts, len(segments)))
    n_lags = min(n_lags, int(lengths.max()))
    total = np.zeros((n_lags, modes.shape[2]))
    for start, length in zip(starts, lengths, strict=True):
        total[: min(n_lags, int(length))] += _lagged_products(modes[start : start + length], n_lags)
    return total


def join_groups(
    products: Sequence[Float64], n_chains: Sequence[int], segments: Int64, n_dimensions: int = 3
) -> Autocorrelation:
    """Return the autocorrelation from the lagged products of groups of chains.

    Args:
        products: (lag, mode) of each group.
        n_chains: chains in each group.
        segments: (time,) non-decreasing segment numbers.
        n_dimensions: d, columns that were summed.
    """
    by_group, chains = np.array(products), np.array(n_chains)
    lengths = np.unique(segments, return_counts=True)[1]
    counts = np.maximum(lengths[:, None] - np.arange(by_group.shape[1]), 0).sum(axis=0)
    acf = by_group.sum(axis=0) / (counts * float(n_dimensions) * chains.sum())[:, None]
    nacf = acf / np.maximum(acf[0], 1e-300)
    by_group /= counts[:, None] * float(n_dimensions) * chains[:, None, None]
    error = melard_roy_error(nacf, len(segments), int(chains.sum()), n_dimensions)
    return Autocorrelation(nacf, error, acf[0], by_group, chains)


def _lagged_products(modes: np.ndarray, n_lags: int) -> Float64:
    """Sum z(t)·z(t + lag) over time and chains, (lag, mode), a few chains at a time to bound the memory."""
    n_time, n_chains, n_modes, n_dimensions = modes.shape
    size = fft.next_fast_len(n_time + min(n_lags, n_time), real=True)
    at_once = max(1, _SAMPLES_AT_ONCE // (size * n_modes * n_dimensions))
    total = np.zeros((min(n_lags, n_time), n_modes))
    for first in range(0, n_chains, at_once):
        spectrum = fft.rfft(modes[:, first : first + at_once].astype(np.float64), size, axis=0)
        power = (spectrum.real**2 + spectrum.imag**2).sum(axis=(1, 3))
        total += fft.irfft(power, size, axis=0)[: len(total)]
    return total


def melard_roy_error(nacf: Float64, n_time: int, n_series: int, n_dimensions: int = 3) -> Float64:
    """Return the standard error of a NACF, sqrt((1 + 2 Σ_{i<lag} ρ_i²)/n) (JCP eq. 34), over independent series.

    Args:
        nacf: (lag, mode).
        n_time: frames per series.
        n_series: independent series, each of d dimensions, which count too.
        n_dimensions: d.
    """
    squares = np.cumsum(nacf**2, axis=0)
    inner = np.concatenate([np.zeros((1, nacf.shape[1])), squares[:-1] - nacf[0] ** 2])
    error: Float64 = np.sqrt((1.0 + 2.0 * inner) / (n_time * float(n_dimensions) * n_series))
    error[0] = 0.0
    return error


def relaxation_times(nacf: Float64, dt: float) -> list[float | None]:
    """Return the first 1/e time of each column; None where it lies beyond the lags.

    Between lags the logarithm is interpolated, which is exact for an exponential; what is left after less than a
    hundredth is noise and taken as that. A mode that does not move has none.

    Args:
        nacf: (lag, mode).
        dt: time between lags.
    """
    level = np.exp(-1.0)
    times: list[float | None] = []
    for column in nacf.T:
        below = np.flatnonzero(column < level)
        if not len(below) or below[0] == 0:
            times.append(None)
            continue
        i = int(below[0])
        before, after = column[i - 1], max(column[i], FORGOTTEN * column[i - 1])
        part = np.log(before / level) / np.log(before / after)
        times.append(float(dt * (i - 1 + part)))
    return times


@dataclass(frozen=True)
class ModeStatistics:
    """What MD itself says of each mode, with standard errors over chains (jackknife).

    Attributes:
        variance: per component, length².
        variance_se: likewise.
        relaxation_time: 1/e time; None where beyond the lags.
        relaxation_time_se: None where it cannot be told.
    """

    variance: tuple[float, ...]
    variance_se: tuple[float, ...]
    relaxation_time: tuple[float | None, ...]
    relaxation_time_se: tuple[float | None, ...]


def mode_statistics(correlation: Autocorrelation, dt: float) -> ModeStatistics:
    """Return each mode's variance and relaxation time with errors from leaving out one group of chains at a time."""
    groups, sizes = correlation.by_group, correlation.group_sizes
    left_out = left_out_means(groups, sizes)
    variance_se = jackknife_error(left_out[:, 0], sizes, correlation.variance)
    times = relaxation_times(correlation.nacf, dt)
    replicas = [relaxation_times(acf / np.maximum(acf[0], 1e-300), dt) for acf in left_out]
    errors: list[float | None] = []
    for mode, time in enumerate(times):
        values = [replica[mode] for replica in replicas]
        if time is None or len(groups) < 2 or None in values:
            errors.append(None)
            continue
        errors.append(float(jackknife_error(np.array(values, dtype=np.float64), sizes, time)))
    return ModeStatistics(tuple(correlation.variance), tuple(variance_se), tuple(times), tuple(errors))
