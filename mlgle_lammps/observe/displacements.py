"""Mean squared displacements at every lag by FFT."""

from __future__ import annotations

import numpy as np
from scipy import fft

from mlgle_lammps.records import Float64, Int64

_SAMPLES_AT_ONCE = 2**23
_DIRECT_LAGS = 32  # summed plainly: there the difference is smallest against its terms


def mean_squared_displacements(paths: np.ndarray, segments: Int64, n_lags: int) -> Float64:
    """Return each path's time-averaged MSD at every lag, summed over xyz, by FFT (JCP eq. 36).

    MSD(l) = <x_t²> + <x_{t+l}²> - 2 <x_t·x_{t+l}>: the squares by running sums, the product by FFT. These terms can be
    much larger than their difference, so each path's straight-line trend is taken out first and its share, exact, put
    back, and the shortest lags, where it matters most, are summed plainly: the result equals the plain sum to 1e-10
    (walks of 10^5 frames). No pair of frames crosses two segments.

    Args:
        paths: (time, chain, 3), length.
        segments: (time,) non-decreasing segment numbers.
        n_lags: lags 0..n_lags - 1 in frames, at most the longest segment.

    Returns:
        (lag, chain), length², x + y + z.

    Limit: Brownian motion gives 6 D t; a uniform motion v² t².
    """
    starts = np.flatnonzero(np.diff(segments, prepend=segments[0] - 1))
    lengths = np.diff(np.append(starts, len(segments)))
    n_lags = min(n_lags, int(lengths.max()))
    total = np.zeros((n_lags, paths.shape[1]))
    for start, length in zip(starts, lengths, strict=True):
        reach = min(n_lags, int(length))
        at_once = max(1, _SAMPLES_AT_ONCE // (3 * (int(length) + reach)))
        for first in range(0, paths.shape[1], at_once):
            block = paths[start : start + length, first : first + at_once].astype(np.float64)
            total[:reach, first : first + at_once] += _summed_squares(block, reach)
    pairs = np.maximum(lengths[:, None] - np.arange(n_lags), 0).sum(axis=0)
    return total / pairs[:, None]


def _summed_squares(path: Float64, n_lags: int) -> Float64:
    """Sum |x(t + lag) - x(t)|² over time, (lag, chain)."""
    n_time = len(path)
    lag = np.arange(n_lags)
    time = np.arange(n_time) - (n_time - 1) / 2
    rest = path - path.mean(axis=0)
    velocity = np.tensordot(time, rest, axes=1) / max(float(time @ time), 1.0)
    rest -= time[:, None, None] * velocity
    squares = _running_sum((rest**2).sum(axis=2))
    steps = _running_sum(rest)
    size = fft.next_fast_len(n_time + n_lags, real=True)
    spectrum = fft.rfft(rest, size, axis=0)
    product = fft.irfft((spectrum.real**2 + spectrum.imag**2).sum(axis=2), size, axis=0)[:n_lags]
    own = squares[n_time - lag] + (squares[-1] - squares[lag]) - 2 * product
    moved = (steps[-1] - steps[lag]) - steps[n_time - lag]
    shift = lag[:, None, None] * velocity
    trend = (n_time - lag)[:, None] * (shift**2).sum(axis=2) + 2 * (shift * moved).sum(axis=2)
    result: Float64 = own + trend
    for short in range(min(_DIRECT_LAGS, n_lags)):
        result[short] = ((path[short:] - path[: n_time - short]) ** 2).sum(axis=(0, 2))
    return result


def _running_sum(values: Float64) -> Float64:
    """Return sums of the first 0, 1, 2, .. rows."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
