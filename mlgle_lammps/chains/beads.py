"""Beads from modes: the inverse transform, fast modes drawn from their stationary distribution, sizes of chains.

x_n = z_0 + 2 Σ_{j≥1} z_j cos[πj(n+1/2)/N], n = 0..N-1 (inverse of JCP eq. 14) for linear chains; for other molecules
x_n = z_0 + √(2N) Σ_{j≥1} u_j(n) z_j, with the eigenvectors of `laplacian`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgle_lammps.chains.laplacian import Edges, bead_columns, bond_weights, eigenvalues_of
from mlgle_lammps.records import Float64

HIGHEST = 3
"""Recorded modes, from the fastest down, that the extrapolation is scaled to."""
SIZES = ("end_to_end_sq", "gyration_sq", "bond_sq")


def bead_matrix(n_beads: int, n_modes: int) -> Float64:
    """Return the (N, k+1) matrix that takes z_0..z_k to beads; its columns are 1 and 2 cos[πj(n+1/2)/N]."""
    bead, mode = np.arange(n_beads)[:, np.newaxis], np.arange(n_modes + 1)[np.newaxis, :]
    matrix: Float64 = 2.0 * np.cos(np.pi * mode * (bead + 0.5) / n_beads)
    matrix[:, 0] = 1.0
    return matrix


def bead_positions(centres: Float64, modes: Float64, n_beads: int, edges: Edges = ()) -> Float64:
    """Return bead positions; with all N-1 modes the transform is exact.

    Args:
        centres: z_0, (..., 3).
        modes: z_1..z_k, (..., mode, 3).
        n_beads: N.
        edges: of molecules that are not linear.

    Returns:
        (..., bead, 3), unwrapped.
    """
    matrix = bead_columns(n_beads, edges, modes.shape[-2]) if edges else bead_matrix(n_beads, modes.shape[-2])
    return matrix @ np.concatenate([centres[..., np.newaxis, :], modes], axis=-2)


def extrapolated_variances(recorded: Float64, n_beads: int, eigenvalues: Sequence[float] = ()) -> Float64:
    """Return variances of modes k+1..N-1 that continue the fastest recorded ones as Rouse modes do.

    σ_p² = c/λ_p, c the mean of σ_j² λ_j over the fastest recorded modes. Exact for ideal chains; for
    stiffer ones too large, because bonds then follow one another's direction only over a few beads.

    Args:
        recorded: (k,) variance per component of modes 1..k.
        n_beads: N.
        eigenvalues: λ_1..λ_{N-1} of molecules that are not linear.
    """
    k, values = len(recorded), eigenvalues_of(n_beads, eigenvalues)
    scale = np.mean((recorded * values[:k])[-HIGHEST:])
    result: Float64 = scale / values[k:]
    return result


def bond_shares(n_beads: int) -> Float64:
    """Return w_j of b² = Σ_j w_j |z_j|², j = 1..N-1, b² the mean squared bond: w_j = 8N/(N-1) sin²(πj/2N)."""
    sines = np.sin(np.pi * np.arange(1, n_beads) / (2 * n_beads))
    result: Float64 = 8.0 * n_beads / (n_beads - 1) * sines**2
    return result


def completed_variances(recorded: Float64, snapshot: Float64, shares: Float64 | None = None) -> Float64:
    """Return variances of modes k+1..N-1: those of one snapshot, scaled so that <b²> is the snapshot's.

    Bonds are stiff, so in one frame slow modes that happen to be large go with fast ones that are small, and the
    snapshot's fast modes alone do not fit to the slow ones' averages. The limit k = 0 is the snapshot itself.

    Args:
        recorded: (k,) averages per component of modes 1..k.
        snapshot: (N-1,) of all modes in one frame.
        shares: (N-1,) w_j of the mean squared bond, of molecules that are not linear.
    """
    k, shares = len(recorded), bond_shares(len(snapshot) + 1) if shares is None else shares
    fast = snapshot[k:]
    left = float(shares @ snapshot - shares[:k] @ recorded)
    scale = left / max(float(shares[k:] @ fast), 1e-300)
    return fast * scale if scale > 0 else fast


def draw_fast_modes(variances: Float64, shape: Sequence[int], generator: np.random.Generator) -> Float64:
    """Return independent normal modes (*shape, mode, 3) of the given variances per component, anew for each frame."""
    draw = generator.standard_normal((*shape, len(variances), 3))
    return draw * np.sqrt(variances)[:, np.newaxis]


def chain_sizes(beads: Float64, edges: Edges = ()) -> Float64:
    """Return R_ee², Rg² and mean squared bond of each chain: (..., bead, 3) -> (..., 3), in the order of SIZES.

    Molecules that are not linear (with ``edges``) have no ends: their R_ee² is NaN.
    """
    if edges:
        one, other = np.array(edges).T
        gyration = np.mean(np.sum((beads - beads.mean(axis=-2, keepdims=True)) ** 2, axis=-1), axis=-1)
        bonds = np.mean(np.sum((beads[..., other, :] - beads[..., one, :]) ** 2, axis=-1), axis=-1)
        return np.stack([np.full_like(gyration, np.nan), gyration, bonds], axis=-1)
    ends = np.sum((beads[..., -1, :] - beads[..., 0, :]) ** 2, axis=-1)
    gyration = np.mean(np.sum((beads - beads.mean(axis=-2, keepdims=True)) ** 2, axis=-1), axis=-1)
    bonds = np.mean(np.sum(np.diff(beads, axis=-2) ** 2, axis=-1), axis=-1)
    return np.stack([ends, gyration, bonds], axis=-1)


def sizes_from_modes(
    modes: Float64, fast_variances: Float64, n_beads: int, edges: Edges = (), eigenvalues: Sequence[float] = ()
) -> Float64:
    """Return the same sizes from modes 1..k and the mean share of modes k+1..N-1.

    R_ee = -4 Σ_{odd j} z_j cos(πj/2N); Rg² = 2 Σ_j |z_j|²; b² = 8N/(N-1) Σ_j sin²(πj/2N) |z_j|².

    Args:
        modes: (..., k, 3).
        fast_variances: (N-1-k,) per component.
        n_beads: N.
        edges: of molecules that are not linear.
        eigenvalues: λ_1..λ_{N-1} of those.

    Returns:
        (..., 3) in the order of SIZES; R_ee² is NaN of molecules that are not linear.
    """
    if edges:
        return _sizes_of_any(modes, fast_variances, bond_weights(n_beads, edges, np.array(eigenvalues)))
    k, j = modes.shape[-2], np.arange(1, n_beads)
    angle = np.pi * j / (2 * n_beads)
    ends = np.where(j % 2 == 1, -4.0 * np.cos(angle), 0.0)
    bonds = bond_shares(n_beads)
    squares = np.sum(modes**2, axis=-1)
    slow = np.stack(
        [
            np.sum(np.einsum("j,...jx->...x", ends[:k], modes) ** 2, axis=-1),
            2.0 * squares.sum(axis=-1),
            squares @ bonds[:k],
        ],
        axis=-1,
    )
    weights = np.stack([ends[k:] ** 2, np.full(n_beads - 1 - k, 2.0), bonds[k:]])
    result: Float64 = slow + 3.0 * weights @ fast_variances
    return result


def _sizes_of_any(modes: Float64, fast_variances: Float64, bonds: Float64) -> Float64:
    k, squares = modes.shape[-2], np.sum(modes**2, axis=-1)
    gyration = 2.0 * squares.sum(axis=-1) + 6.0 * fast_variances.sum()
    bond = squares @ bonds[:k] + 3.0 * float(bonds[k:] @ fast_variances)
    return np.stack([np.full_like(gyration, np.nan), gyration, bond], axis=-1)
