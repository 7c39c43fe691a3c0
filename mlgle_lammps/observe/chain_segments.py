"""How far apart beads s bonds from one another are: <R²(s)>, which tells a chain's stiffness from its equilibrium."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Float64


def squared_segments(positions: np.ndarray) -> Float64:
    """Return the mean squared distance of beads s bonds apart, averaged over time and along the chain.

    Args:
        positions: (..., chain, bead, 3), unwrapped, length; what comes before the chain is averaged over.

    Returns:
        (chain, s - 1) for s = 1..N-1, length².

    Limit: b² s for an ideal chain.
    """
    frames = positions.reshape(-1, *positions.shape[-3:])
    n_beads = frames.shape[2]
    result = np.empty((frames.shape[1], n_beads - 1))
    for s in range(1, n_beads):
        apart = frames[:, :, s:].astype(np.float64) - frames[:, :, :-s]
        result[:, s - 1] = np.einsum("tcnx,tcnx->c", apart, apart) / (apart.shape[0] * apart.shape[2])
    return result


def inner_segments(positions: np.ndarray, n_end: int) -> Float64:
    """Return the same over the inner part of the chains only: both beads at least ``n_end`` beads from an end.

    Ends are more flexible than the middle and lie in other surroundings; away from them <R²(s)> grows as in a long
    chain.

    Args:
        positions: (..., chain, bead, 3), unwrapped, length.
        n_end: beads left out at each end.
    """
    return squared_segments(positions[..., n_end : positions.shape[-2] - n_end, :])


def segment_slope(segments: Float64, first: int, last: int) -> tuple[float, float]:
    """Return d<R²(s)>/ds between s = first and last by least squares, and its standard error over the chains.

    Args:
        segments: (chain, s - 1) from `squared_segments`, length².
        first: smallest s.
        last: largest s.

    Limit: b² for an ideal chain; C_∞ b² for a long one.
    """
    s = np.arange(first, last + 1, dtype=np.float64)
    weights = (s - s.mean()) / np.sum((s - s.mean()) ** 2)
    slopes = segments[:, first - 1 : last] @ weights
    return float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
