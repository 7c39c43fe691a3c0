"""Sizes of chains from their modes.

| symbol | variable | meaning |
|---|---|---|
| R | end_to_end | vector from the first bead to the last, R = -4 Σ_{odd j} z_j cos(πj/2N) |
| R_g² | squared_gyration | mean squared distance of beads from their centre, R_g² = 2 Σ_j z_j² |

Both sums are over all modes 1..N-1; with modes 1..k they are what these carry, a little less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.laplacian import eigenvalues_of
from mlgle_lammps.observe.equilibrium import end_to_end_weights
from mlgle_lammps.records import Float64


def end_to_end(modes: np.ndarray, n_beads: int | None) -> Float64:
    """Return the end-to-end vector that modes 1..k carry, (.., 3), length.

    Args:
        modes: (.., mode, 3), length.
        n_beads: N; None takes N much larger than k.

    Limit: with k = N - 1 the vector from the first bead to the last.
    """
    result: Float64 = np.einsum("...mx,m->...x", modes, end_to_end_weights(modes.shape[-2], n_beads))
    return result


def squared_gyration(modes: np.ndarray) -> Float64:
    """Return the squared radius of gyration that modes 1..k carry, (..), length²; modes (.., mode, 3)."""
    result: Float64 = 2.0 * np.einsum("...mx,...mx->...", modes, modes, dtype=np.float64)
    return result


@dataclass(frozen=True)
class ChainSize:
    """Mean squared sizes with standard errors over chains, length².

    Attributes:
        end_to_end: <R²>.
        end_to_end_se: likewise.
        gyration: <R_g²>.
        gyration_se: likewise.
        missing: share of <R_g²> that modes beyond k would add for an ideal chain; None where N is unknown.
    """

    end_to_end: float
    end_to_end_se: float
    gyration: float
    gyration_se: float
    missing: float | None


def chain_size(
    squared_end_to_end: Float64,
    squared_radius: Float64,
    n_modes: int,
    n_beads: int | None,
    eigenvalues: Sequence[float] = (),
) -> ChainSize:
    """Return mean sizes from each chain's own time averages, chains as independent units.

    Args:
        squared_end_to_end: (chain,) length².
        squared_radius: (chain,) length².
        n_modes: k.
        n_beads: N.
        eigenvalues: λ_1..λ_{N-1} of molecules that are not linear, whose <R²> is NaN.

    Limit: <R²>/<R_g²> is 6 for long ideal chains and k = N - 1.
    """
    missing = None
    if n_beads:
        share = 1.0 / eigenvalues_of(n_beads, eigenvalues)
        missing = float(share[n_modes:].sum() / share.sum())
    return ChainSize(*_mean_and_error(squared_end_to_end), *_mean_and_error(squared_radius), missing)


def _mean_and_error(values: Float64) -> tuple[float, float]:
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
