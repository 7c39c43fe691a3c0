"""Do the modes of one chain move independently, as the generator draws them?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mlgle_lammps.records import Float64, Frames
from mlgle_lammps.statistics.correlation import Autocorrelation

LEAST_CORRELATION = 0.1
LEVEL = 1e-3  # of all pairs together


@dataclass(frozen=True)
class CrossCorrelation:
    """Equal-time correlation of different modes.

    Attributes:
        value: (mode, mode) c_ij = <z_i·z_j>/(d σ_i σ_j), d directions, 1 on the diagonal.
        se: (mode, mode) its standard error at c_ij = 0.
        dof: degrees of freedom of the error.
    """

    value: Float64
    se: Float64
    dof: int


def cross_correlation(window: Frames, correlation: Autocorrelation) -> CrossCorrelation:
    """Return c_ij of all pairs of modes; the larger of two errors is taken.

    The one is Bartlett's for two independent processes, var = Σ_τ ρ_i(τ) ρ_j(τ)/(d n P) over lags of both signs; the
    other the scatter of chains and dimensions, which assumes nothing about ρ.

    Args:
        window: frames.
        correlation: NACF of the same frames.

    Limit: zero within the errors for Rouse chains.
    """
    modes = window.modes
    n_time, n_chains, n_modes, n_dimensions = modes.shape
    n_units = n_dimensions * n_chains
    sigma = np.sqrt(np.maximum(correlation.variance, 1e-300))
    per_unit = np.empty((n_chains, n_dimensions, n_modes, n_modes))
    for chain in range(n_chains):
        scaled = modes[:, chain] / sigma[:, None]
        per_unit[chain] = np.einsum("tix,tjx->xij", scaled, scaled, optimize=True) / n_time
    flat = per_unit.reshape(n_units, n_modes, n_modes)
    scatter = flat.std(axis=0, ddof=1) / np.sqrt(n_units)
    n_lags = len(correlation.nacf)
    taper = 1.0 - np.arange(n_lags) / n_time
    both = np.einsum("t,ti,tj->ij", taper, correlation.nacf, correlation.nacf) * 2.0 - 1.0
    bartlett = np.sqrt(np.maximum(both, 1.0) / (n_time * n_units))
    return CrossCorrelation(flat.mean(axis=0), np.maximum(scatter, bartlett), n_units - 1)


def cross_correlation_warnings(found: CrossCorrelation) -> list[str]:
    """Return a warning where modes are correlated by more than 0.1, beyond chance in all pairs together."""
    first, second = np.triu_indices(len(found.value), 1)
    if not len(first):
        return []
    value, se = found.value[first, second], found.se[first, second]
    p = 2.0 * stats.t.sf(np.abs(value) / se, found.dof) * len(first)
    off = np.flatnonzero((p < LEVEL) & (np.abs(value) > LEAST_CORRELATION))
    if not len(off):
        return []
    worst = int(off[np.argmax(np.abs(value[off]))])
    pairs = "1 pair of modes is" if len(off) == 1 else f"{len(off)} pairs of modes are"
    return [
        f"{pairs} correlated, most of all modes {first[worst] + 1} and {second[worst] + 1} "
        f"({value[worst]:.2f} ± {se[worst]:.2f}), while the generator draws modes independently: take chain shapes "
        "such as <R_ee^2> from MD; cross terms level off in time, so D suffers only where t_max is short: raise "
        "--memory"
    ]
