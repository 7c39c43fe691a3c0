"""How beads and chains move: g_1, g_2, g_3, and how the end-to-end vector and Rg² forget.

| symbol | meaning |
|---|---|
| g_1(t) | mean squared displacement of the inner beads |
| g_2(t) | the same relative to their chain's centre of mass |
| g_3(t) | mean squared displacement of the centres of mass |

All in three dimensions. Beads are rebuilt from the modes that are streamed, so that whatever these have in common with
the centre is in g_1; faster modes add what independent modes add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.mode_basis import ModeBasis
from mlgle_lammps.observe.chain_size import end_to_end, squared_gyration
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.correlation import lagged_products
from mlgle_lammps.statistics.displacements import mean_squared_displacements

INNER = 5
"""Beads in the middle of a chain that g_1 and g_2 are of."""


@dataclass(frozen=True)
class GroupMotion:
    """What one group of chains says, at chosen lags.

    Attributes:
        n_chains: chains.
        products: (lag 0, 1, 2 .., mode) autocovariance of the modes per component.
        g1: (lag,) of the streamed part.
        g2: (lag,) of the streamed part.
        g3: (lag,).
        ends: (lag,) <R(t)·R(0)>.
        gyration: (lag,) <Rg²(t) Rg²(0)>, streamed part.
        sizes: <R²> and <Rg²> of the streamed part.
    """

    n_chains: int
    products: Float64
    g1: Float64
    g2: Float64
    g3: Float64
    ends: Float64
    gyration: Float64
    sizes: Float64


def inner_beads(n_beads: int) -> Int64:
    """Return the numbers of the beads in the middle, five or all where there are fewer."""
    first = max((n_beads - INNER) // 2, 0)
    return np.arange(first, min(first + INNER, n_beads))


def group_motion(
    com: Float64, modes: np.ndarray, segments: Int64, lags: Int64, n_lags: int, basis: ModeBasis
) -> GroupMotion:
    """Return what a group of chains says.

    Args:
        com: (time, chain, 3), the motion of the whole system removed.
        modes: (time, chain, mode, 3).
        segments: (time,).
        lags: (lag,) in frames, for all but the modes' products; below the longest segment.
        n_lags: of the modes' products.
        basis: of the molecule.
    """
    n_chains, k = modes.shape[1:3]
    counts = _pairs(segments, max(n_lags, int(lags.max()) + 1))
    products = lagged_products(modes, segments, n_lags) / (counts[:n_lags, None] * 3.0 * n_chains)
    reach = int(lags.max()) + 1
    scale = np.sqrt(2.0 * basis.n_beads)
    inner, outer = [], []
    for bead in inner_beads(basis.n_beads):
        about = scale * np.einsum("tcmx,m->tcx", modes, basis.vectors[:k, bead])
        inner.append(mean_squared_displacements(about, segments, reach)[lags].mean(axis=1))
        outer.append(mean_squared_displacements(about + com, segments, reach)[lags].mean(axis=1))
    vector, radius = end_to_end(modes, basis.n_beads), squared_gyration(modes)
    ends = lagged_products(vector[:, :, None, :], segments, reach)[lags, 0] / (counts[lags] * n_chains)
    about_mean = radius[:, :, None, None]
    gyration = lagged_products(about_mean, segments, reach)[lags, 0] / (counts[lags] * n_chains)
    return GroupMotion(
        n_chains=n_chains,
        products=products,
        g1=np.mean(outer, axis=0),
        g2=np.mean(inner, axis=0),
        g3=mean_squared_displacements(com, segments, reach)[lags].mean(axis=1),
        ends=ends,
        gyration=gyration,
        sizes=np.array([float((vector**2).sum(axis=-1).mean()), float(radius.mean())]),
    )


def with_centre_made_good(both: Float64, share: Float64 | float) -> Float64:
    """Return g_1 where the motion of the system's centre, taken off that of chains, is made good: g_2 holds none of it.

    Args:
        both: (2 lag,) g_1 of chains about the system's centre, followed by g_2.
        share: (lag,) or one factor of squared displacements of centres, P/(P-1) for P independent chains.
    """
    g1, g2 = np.split(both, 2)
    return share * (g1 - g2) + g2


def fast_part(variances: Float64, nacf: Float64, basis: ModeBasis) -> Float64:
    """Return what modes that are not streamed add to g_1 and g_2, (lag,): Σ_p 12N v_p <u_p²> (1 - C_p).

    Args:
        variances: (fast mode,) per component.
        nacf: (lag, fast mode).
        basis: of the molecule; the fast modes are its last ones.
    """
    if not len(variances):
        return np.zeros(len(nacf))
    shares = (basis.vectors[-len(variances) :][:, inner_beads(basis.n_beads)] ** 2).mean(axis=1)
    result: Float64 = 12.0 * basis.n_beads * (1.0 - nacf) @ (variances * shares)
    return result


def _pairs(segments: Int64, n_lags: int) -> Float64:
    lengths = np.unique(segments, return_counts=True)[1]
    counts: Float64 = np.maximum(lengths[:, None] - np.arange(n_lags), 0).sum(axis=0).astype(np.float64)
    return counts
