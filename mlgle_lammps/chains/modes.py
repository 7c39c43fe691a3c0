"""Normal modes of linear chains: z_j = (1/N) Σ_n x_n cos[πj(n+1/2)/N], n = 0..N-1 (DESIGN.md, equation 1)."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Float64


def mode_matrix(n_beads: int, n_modes: int) -> Float64:
    """Return the DCT-II rows that take bead positions to modes 0..k (JCP eq. 14, with n+1/2 in the cosine).

    Rows 1..k are orthogonal to row 0, so that z_0 is the centroid and the others do not see it.

    Args:
        n_beads: N, beads per chain.
        n_modes: k, at most N-1.

    Returns:
        (k+1, N) float64; row j is cos[πj(n+1/2)/N]/N.
    """
    row = np.arange(n_modes + 1, dtype=np.float64)[:, None]
    bead = np.arange(n_beads, dtype=np.float64)[None, :]
    return np.cos(np.pi * row * (bead + 0.5) / n_beads) / n_beads


def chain_modes(positions: Float64, n_modes: int) -> Float64:
    """Return z_0..z_k of unwrapped chains.

    Args:
        positions: (..., bead, 3), unwrapped, in length units.
        n_modes: k.

    Returns:
        (..., k+1, 3); [..., 0, :] is the centroid. A chain with all beads in one point has z_j = 0 for j ≥ 1.
    """
    return mode_matrix(positions.shape[-2], n_modes) @ positions


def component_variances(modes: Float64) -> tuple[float, ...]:
    """Return the variance per component of each mode over the chains of one frame.

    Args:
        modes: z_1.. of all chains, (chain, mode, 3).

    Returns:
        One number per mode, length²; for Rouse chains about b²/[24 N sin²(pπ/2N)].
    """
    return tuple(float(variance) for variance in np.mean(modes**2, axis=(0, 2)))
