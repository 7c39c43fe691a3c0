"""Mean squared displacements at every lag by FFT."""

from __future__ import annotations

import numpy as np
from scipy import fft

from mlgle_lammps.records import Float64, Int64

_SAMPLES_AT_ONCE = 2**17  # they stay in a processor's cache
_DIRECT_LAGS = 32  # summed plainly: there the difference is smallest against its terms


def mean_squared_displacements(paths: np.ndarray, segments: Int64, n_lags: int) -> Float64:
    """Return each path's time-averaged MSD at every lag, summed over its d columns, by FFT (JCP eq. 36).

    MSD(l) = <x_t²> + <x_{t+l}²> - 2 <x_t·x_{t+l}>: the squares by running sums, the product by FFT. These terms can be
    much larger than their difference, so each path's straight-line trend is taken out first and its share, exact, put
    back, and the shortest lags, where it matters most, are summed plainly: the result equals the plain sum to 1e-10
    (walks of 10^5 frames). No pair of frames crosses two segments.

    Args:
        paths: (time, chain, d), length.
        segments: (time,) non-decreasing segment numbers.
        n_lags: lags 0..n_lags - 1 in frames, at most the longest segment.

    Returns:
        (lag, chain), length², x + y + z where d is 3.

    Limit: Brownian motion gives 2 d D t; a uniform motion v² t².
    """
    starts = np.flatnonzero(np.diff(segments, prepend=segments[0] - 1))
    lengths = np.diff(np.append(starts, len(segments)))
    n_lags = min(n_lags, int(lengths.max()))
    total = np.zeros((paths.shape[1], n_lags))
    for start, length in zip(starts, lengths, strict=True):
        reach = min(n_lags, int(length))
        at_once = max(1, _SAMPLES_AT_ONCE // (paths.shape[2] * (int(length) + reach)))
        for first in range(0, paths.shape[1], at_once):
            block = paths[start : start + length, first : first + at_once].transpose(1, 2, 0)
            block = np.ascontiguousarray(block, dtype=np.float64)
            total[first : first + at_once, :reach] += _summed_squares(block, reach)
    pairs = np.maximum(lengths[:, None] - np.arange(n_lags), 0).sum(axis=0)
    result: Float64 = np.ascontiguousarray((total / pairs).T)
    return result


def _summed_squares(path: Float64, n_lags: int) -> Float64:
    """Sum |x(t + lag) - x(t)|² over the times of (chain, d, time), as (chain, lag)."""
    n_chains, _, n_time = path.shape
    lag = np.arange(n_lags)
    time = np.arange(n_time) - (n_time - 1) / 2
    rest = path - path.mean(axis=2, keepdims=True)
    velocity = rest @ time / max(float(time @ time), 1.0)
    rest -= velocity[:, :, None] * time
    begin, end = slice(n_lags), slice(n_time, n_time - n_lags, -1)  # lag, and n_time - lag
    squares = _running_sum(np.einsum("cxt,cxt->ct", rest, rest))
    steps = _running_sum(rest)
    size = fft.next_fast_len(n_time + n_lags, real=True)
    spectrum = fft.rfft(rest, size)
    product = fft.irfft((spectrum.real**2 + spectrum.imag**2).sum(axis=1), size)[:, :n_lags]
    own = squares[:, end] + (squares[:, -1:] - squares[:, begin]) - 2 * product
    moved = (steps[:, :, -1:] - steps[:, :, begin]) - steps[:, :, end]
    shift = velocity[:, :, None] * lag
    result: Float64 = own + (n_time - lag) * (shift**2).sum(axis=1) + 2 * np.einsum("cxl,cxl->cl", shift, moved)
    for short in range(min(_DIRECT_LAGS, n_lags)):
        moves = (path[:, :, short:] - path[:, :, : n_time - short]).reshape(n_chains, -1)
        result[:, short] = np.einsum("ct,ct->c", moves, moves)
    return result


def _running_sum(values: Float64) -> Float64:
    """Return sums of the first 0, 1, 2, .. entries along the last axis."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums
