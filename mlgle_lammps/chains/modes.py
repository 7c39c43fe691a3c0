"""Normal modes of linear chains: z_j = (1/N) Σ_n x_n cos[πj(n+1/2)/N], n = 0..N-1 (after JCP eq. 14-15)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.chains.atom_places import AtomPlaces
from mlgle_lammps.chains.molecules import Centres
from mlgle_lammps.records import Float64, Int64


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


class LocalModeSum:
    """The part of all chains' modes that comes from the beads of one rank.

    Summed over the ranks (one Reduce) it gives the modes; no rank ever holds all positions of others.

    Args:
        chains: (chain, bead) atom ids, each chain in the order along its backbone.
        n_modes: k.
        centres: how centres of mass are summed, None where mode 0 is it.

    Attributes:
        n_slots: atoms that count: beads of the chains, and what else belongs to their molecules.
    """

    def __init__(self, chains: Int64, n_modes: int, centres: Centres | None = None) -> None:
        self.n_chains, self.n_beads = chains.shape
        self.n_modes = n_modes
        self._matrix = mode_matrix(self.n_beads, n_modes)
        side = np.empty(0, dtype=np.int64) if centres is None else centres.side.ids
        self._weights = None if centres is None else centres.weights
        self._places = AtomPlaces(chains, side)  # bead-major slots: one matrix product serves all chains
        self.n_slots = chains.size + len(side)
        self._positions = np.zeros((self.n_slots, 3))

    def slots(self, ids: NDArray[np.integer]) -> Int64:
        """Return each atom's slot, -1 for atoms of no chain's molecule.

        Beads have position along the chain · chains + chain; other atoms of the molecules follow.
        """
        return self._places(ids)

    def __call__(self, slots: Int64, positions: Float64) -> Float64:
        """Return this rank's part of centres and modes.

        Args:
            slots: (local atom,) from `slots`, without -1.
            positions: (local atom, 3), unwrapped.

        Returns:
            (chain, k+1, 3) float64, contiguous: the centre of mass, then z_1..z_k.
        """
        if len(slots) < self.n_slots:
            self._positions.fill(0.0)
        self._positions[slots] = positions
        beads = self._positions[: self.n_beads * self.n_chains]
        modes = self._matrix @ beads.reshape(self.n_beads, self.n_chains * 3)
        part = np.ascontiguousarray(modes.reshape(-1, self.n_chains, 3).transpose(1, 0, 2))
        if self._weights is not None:
            part[:, 0] = self._weights @ self._positions
        return part
