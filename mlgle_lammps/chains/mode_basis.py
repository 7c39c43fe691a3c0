"""The modes of a molecule as one thing: bead n's share in mode p, and the mode's eigenvalue.

u_p(n) are orthonormal eigenvectors of the bonds' Laplacian with eigenvalue λ_p > 0. In the package's own scale
z_p = (1/√(2N)) Σ_n u_p(n) x_n and x_n = z_0 + √(2N) Σ_p u_p(n) z_p; for linear chains that is the DCT-II of `modes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.laplacian import linear_eigenvalues, mode_rows
from mlgle_lammps.records import Float64


@dataclass(frozen=True)
class ModeBasis:
    """Modes of one kind of molecule.

    Attributes:
        vectors: (mode, bead) u_p(n), orthonormal; mode 0, the centroid, is left out.
        eigenvalues: (mode,) λ_p, increasing.
    """

    vectors: Float64
    eigenvalues: Float64

    @property
    def n_beads(self) -> int:
        """N, beads of a molecule."""
        return self.vectors.shape[1]

    @property
    def n_modes(self) -> int:
        """N - 1 for a molecule in one piece."""
        return self.vectors.shape[0]


def linear_basis(n_beads: int) -> ModeBasis:
    """Return the modes of a linear chain: u_p(n) = √(2/N) cos[πp(n+1/2)/N], λ_p = 4 sin²(πp/2N), p = 1..N-1."""
    vectors = mode_rows(n_beads, (), n_beads - 1)[1:] * np.sqrt(2.0 * n_beads)
    return ModeBasis(vectors, linear_eigenvalues(n_beads))
