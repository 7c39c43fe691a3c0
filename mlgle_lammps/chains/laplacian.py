"""Normal modes of any molecule: eigenvectors of its bond graph's Laplacian.

L = degree - adjacency, L u_p = λ_p u_p, u_p orthonormal, λ_0 = 0 < λ_1 ≤ λ_2 ..: z_p = (1/√(2N)) Σ_n u_p(n) x_n and
x_n = z_0 + √(2N) Σ_p u_p(n) z_p. For a linear chain, λ_p = 4 sin²(pπ/2N), that is the DCT-II of `modes`, which is used
there as it stands. For ideal (Rouse) molecules of any architecture, b² = 3kT/K of the springs:

| quantity | |
|---|---|
| variance of mode p per component | b²/(6Nλ_p) |
| its relaxation time | ζb²/(3kTλ_p) |
| diffusion coefficient | kT/(Nζ) |
| <Rg²> | (b²/N) Σ 1/λ_p, of any molecule <Rg²> = 2 Σ <|z_p|²> |
| mean squared bond of a tree | b² |

Modes of one eigenvalue are one mode in several copies: any basis of theirs will do, so it is fixed by a rule, and they
are taken all or none (`whole_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from mlgle_lammps.chains.modes import mode_matrix
from mlgle_lammps.records import Float64, Int64, Species

Edges = tuple[tuple[int, int], ...]
SAME_EIGENVALUE = 1e-9
"""Difference of eigenvalues, of the largest, below which they are one."""
TIE = 1e-6
"""Relative difference of squared components below which the bead that comes first fixes a basis."""
INVARIANT = 1e-7
"""Difference of components of beads that symmetry makes equal, above which a mode is not symmetric."""
MOST_BEADS = 3000
"""Of molecules that are not linear: their Laplacian is a dense matrix of that size, squared."""
SLOW = 2.0
"""Modes up to this eigenvalue belong into the sum of the GLE fit: those up to N/2 of a linear chain."""


def linear_eigenvalues(n_beads: int) -> Float64:
    """Return λ_1..λ_{N-1} of a linear chain, 4 sin²(pπ/2N)."""
    result: Float64 = 4.0 * np.sin(np.arange(1, n_beads) * np.pi / (2 * n_beads)) ** 2
    return result


def eigenvalues_of(n_beads: int, given: Sequence[float] = ()) -> Float64:
    """Return λ_1..λ_{N-1}: those that a species names, or a linear chain's where it names none."""
    return np.array(given, dtype=np.float64) if len(given) else linear_eigenvalues(n_beads)


def laplacian(n_beads: int, edges: Edges) -> Float64:
    """Return degree - adjacency, (bead, bead); a bond named twice counts once."""
    matrix = np.zeros((n_beads, n_beads))
    for one, other in set(edges):
        matrix[one, other] = matrix[other, one] = -1.0
    matrix[np.diag_indices(n_beads)] = -matrix.sum(axis=1)
    return matrix


@lru_cache(maxsize=64)
def laplacian_modes(n_beads: int, edges: Edges) -> tuple[Float64, Float64]:
    """Return λ_0..λ_{N-1}, ascending, and the orthonormal u_p as rows, (mode, bead); read-only.

    The basis of each eigenvalue's modes follows from its projector alone, bead by bead: the bead that holds most of it
    (the first of equals) gives the first vector, what is left of the projector the next. So signs and bases do not
    hang on the eigenvalue solver, and the bead that fixes a vector has a positive component in it.

    Args:
        n_beads: N.
        edges: (bead, bead) of each bond; the molecule is connected.
    """
    values, vectors = np.linalg.eigh(laplacian(n_beads, edges))
    values[0] = 0.0
    rows = np.empty((n_beads, n_beads))
    rows[0] = 1.0 / np.sqrt(n_beads)
    for group in groups_of(values[1:]):
        own = slice(group.start + 1, group.stop + 1)
        rows[own] = _ruled_basis(vectors[:, own])
        values[own] = values[own].mean()
    values.flags.writeable = rows.flags.writeable = False
    return values, rows


def _ruled_basis(vectors: Float64) -> Float64:
    """Return an orthonormal basis of the space that columns (bead, g) span, (g, bead), by the rule above."""
    left, chosen = vectors.copy(), []
    for _ in range(vectors.shape[1]):
        held = np.sum(left**2, axis=1)
        bead = int(np.flatnonzero(held >= (1.0 - TIE) * held.max())[0])
        weights = left[bead] / np.linalg.norm(left[bead])
        chosen.append(left @ weights)
        left -= np.outer(chosen[-1], weights)
    return np.stack(chosen)


def groups_of(eigenvalues: Float64) -> list[range]:
    """Return the places of equal eigenvalues, one range each, in order."""
    if not len(eigenvalues):
        return []
    apart = np.flatnonzero(np.diff(eigenvalues) > SAME_EIGENVALUE * max(float(eigenvalues[-1]), 1.0)) + 1
    bounds = [0, *apart.tolist(), len(eigenvalues)]
    return [range(start, stop) for start, stop in pairwise(bounds)]


def whole_groups(n_modes: int, eigenvalues: Float64) -> int:
    """Return ``n_modes`` rounded up to where no group of equal eigenvalues is cut; at most all modes."""
    return next((group.stop for group in groups_of(eigenvalues) if group.stop >= n_modes), len(eigenvalues))


def mode_rows(n_beads: int, edges: Edges, n_modes: int) -> Float64:
    """Return the rows that take beads to z_0..z_k, (k+1, N): the DCT-II where there are no ``edges`` (a linear chain).

    Args:
        n_beads: N.
        edges: of the molecule, in its canonical order; empty for a linear chain in its order.
        n_modes: k, at most N-1.
    """
    if not edges:
        return mode_matrix(n_beads, n_modes)
    _, rows = laplacian_modes(n_beads, edges)
    result = rows[: n_modes + 1] / np.sqrt(2.0 * n_beads)
    result[0] = 1.0 / n_beads
    return result


def bead_columns(n_beads: int, edges: Edges, n_modes: int) -> Float64:
    """Return the (N, k+1) matrix that takes z_0..z_k to beads: 1, and √(2N) u_p(n)."""
    back = mode_rows(n_beads, edges, n_modes).T * n_beads
    back[:, 1:] *= 2.0
    return back


def bond_weights(n_beads: int, edges: Edges, eigenvalues: Float64) -> Float64:
    """Return w_p of b² = Σ_p w_p |z_p|², b² the mean squared bond: 2Nλ_p over the number of bonds."""
    n_bonds = len(set(edges)) if edges else n_beads - 1
    return 2.0 * n_beads / n_bonds * eigenvalues


def invariant_modes(n_beads: int, edges: Edges, colours: Int64, n_modes: int) -> tuple[int, ...]:
    """Return the modes, numbered from 1, that every automorphism of the molecule leaves as they are.

    They are those with equal components on beads that symmetry makes equal. A star has those in which all arms do the
    same, a homopolymer ring none.

    Args:
        n_beads: N.
        edges: of the molecule; empty for a linear chain.
        colours: (bead,) the same number for beads that an automorphism exchanges (`bond_graph.orbits`).
        n_modes: k.
    """
    rows = mode_rows(n_beads, edges, n_modes)[1:] * np.sqrt(2.0 * n_beads)
    _, orbit, sizes = np.unique(colours, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(orbit, row) / sizes for row in rows]) if n_modes else np.zeros((0, len(sizes)))
    apart = np.abs(rows - means[:, orbit]).max(axis=1, initial=0.0)
    return tuple(int(mode) + 1 for mode in np.flatnonzero(apart < INVARIANT))


def modes_taken(wanted: int, species: Species) -> int:
    """Return k of the modes that a species has in a stream, no group of modes that are alike cut."""
    k = min(wanted, species.n_modes)
    if not species.eigenvalues:
        return k
    return min(whole_groups(k, eigenvalues_of(0, species.eigenvalues)), species.n_modes)
