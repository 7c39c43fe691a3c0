"""What beads of molecules say about them, whoever made these: size, inner distances, contacts.

Beads are (time, molecule, bead, 3), relative to anything that a molecule's beads share, and not wrapped into a box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mlgle_lammps.records import Float64

_FRAMES_AT_ONCE = 256


def squared_gyration_of(beads: np.ndarray, weights: Sequence[float] | None = None) -> Float64:
    """Return Rg² = Σ_i w_i |x_i - Σ_j w_j x_j|², (time, molecule), length².

    Args:
        beads: (time, molecule, bead, 3), length.
        weights: (bead,) shares, such as beads in each super-bead; None for equal ones. They are made to sum to 1.

    Limit: half the squared distance of two beads is twice their Rg²: d²/4.
    """
    n_beads = beads.shape[2]
    share = np.full(n_beads, 1.0 / n_beads) if weights is None else np.asarray(weights, float) / np.sum(weights)
    result = np.empty(beads.shape[:2])
    for start in range(0, len(beads), _FRAMES_AT_ONCE):
        own = beads[start : start + _FRAMES_AT_ONCE].astype(np.float64)
        centred = own - np.einsum("tmnx,n->tmx", own, share)[:, :, None]
        result[start : start + len(own)] = np.einsum("tmnx,tmnx,n->tm", centred, centred, share)
    return result


def inner_distances(beads: np.ndarray) -> Float64:
    """Return <|x_i - x_j|²> of every pair of beads over frames, (molecule, bead, bead), length²."""
    total = np.zeros((beads.shape[1], beads.shape[2], beads.shape[2]))
    for squares in _squared_distances(beads):
        total += squares.sum(axis=0)
    return total / len(beads)


def contact_map(beads: np.ndarray, cutoff: float) -> Float64:
    """Return how often two beads are closer than ``cutoff``, (molecule, bead, bead); 1 on the diagonal."""
    total = np.zeros((beads.shape[1], beads.shape[2], beads.shape[2]))
    for squares in _squared_distances(beads):
        total += (squares < cutoff**2).sum(axis=0)
    return total / len(beads)


def along_the_chain(pairs: Float64) -> Float64:
    """Return the mean of pairs that are s beads apart along a linear chain, (.., s - 1) for s = 1..N-1.

    Args:
        pairs: (.., bead, bead), such as `inner_distances` or `contact_map`.
    """
    n = pairs.shape[-1]
    return np.stack([np.diagonal(pairs, s, -2, -1).mean(axis=-1) for s in range(1, n)], axis=-1)


def _squared_distances(beads: np.ndarray) -> Iterator[Float64]:
    """Yield |x_i - x_j|² of some frames at a time, (time, molecule, bead, bead)."""
    for start in range(0, len(beads), _FRAMES_AT_ONCE):
        own = beads[start : start + _FRAMES_AT_ONCE].astype(np.float64)
        norm = np.einsum("tmnx,tmnx->tmn", own, own)
        products = np.einsum("tmix,tmjx->tmij", own, own, optimize=True)
        yield np.maximum(norm[..., :, None] + norm[..., None, :] - 2.0 * products, 0.0)
