"""Single-chain scattering: from modes in the Gaussian form, and summed over beads.

Coherent S(q,t) = (1/N) Σ_nm <exp iq·(x_n(t) - x_m(0))>, incoherent the terms n = m alone; P(q) = S(q,0)/N.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgle_lammps.chains.mode_basis import ModeBasis
from mlgle_lammps.records import Float64, Int64

_PHASES_AT_ONCE = 2**22


def scattering_of_modes(
    q: Float64, variances: Float64, nacf: Float64, msd: Float64, basis: ModeBasis
) -> tuple[Float64, Float64]:
    """Return coherent and incoherent S(q,t) of Gaussian chains whose centre moves apart from the modes.

    <|x_n(t) - x_m(0)|²> = MSD_X(t) + Σ_p 6N v_p [u_p(n)² + u_p(m)² - 2 u_p(n) u_p(m) C_p(t)].

    Args:
        q: (q,) 1/length.
        variances: (mode,) v_p per component, all modes, length².
        nacf: (lag, mode) C_p(t).
        msd: (lag,) of centres of mass, three dimensions, length².
        basis: of the molecule.

    Returns:
        (q, lag) both; coherent per bead, N at q = 0, t = 0.
    """
    n_beads = basis.n_beads
    u = basis.vectors[: len(variances)]
    own = 6 * n_beads * variances @ u**2
    coherent, incoherent = (np.empty((len(q), len(msd))) for _ in range(2))
    static = own[:, None] + own[None, :]
    for lag in range(len(msd)):
        far = msd[lag] + static - 12 * n_beads * (u.T * (variances * nacf[lag])) @ u
        for i, value in enumerate(q):
            weights = np.exp(-(value**2) * far / 6)
            coherent[i, lag] = weights.sum() / n_beads
            incoherent[i, lag] = np.trace(weights) / n_beads
    return coherent, incoherent


def debye(q: Float64, gyration_sq: float) -> Float64:
    """Return Debye's P(q) = 2 (e^-x + x - 1)/x², x = q² Rg²; 1 at q = 0."""
    x = np.maximum(np.asarray(q) ** 2 * gyration_sq, 1e-4)
    result: Float64 = 2 * (np.exp(-x) + x - 1) / x**2
    return result


def directions_on_sphere(n: int) -> Float64:
    """Return n directions spread evenly over half a sphere, (n, 3): q and -q say the same."""
    z = (np.arange(n) + 0.5) / n
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(n)
    r = np.sqrt(1 - z**2)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


def scattering_of_beads(
    beads: np.ndarray, segments: Int64, q: Sequence[float], lags: Sequence[int], n_directions: int = 24
) -> tuple[Float64, Float64]:
    """Return coherent and incoherent single-chain S(q,t) of positions, chain by chain.

    Args:
        beads: (time, chain, bead, 3), unwrapped, length; the motion of the whole system removed.
        segments: (time,) non-decreasing; no pair crosses two.
        q: 1/length.
        lags: in frames.
        n_directions: of q, over which the mean is taken.

    Returns:
        (chain, q, lag) both; NaN at lags that no segment reaches.
    """
    n_time, n_chains, n_beads = beads.shape[:3]
    vectors = directions_on_sphere(n_directions)
    result = np.full((2, n_chains, len(q), len(lags)), np.nan)
    same = [segments[lag:] == segments[: n_time - lag] for lag in lags]
    at_once = max(1, _PHASES_AT_ONCE // (n_time * n_beads))
    for first in range(0, n_chains, at_once):
        block = beads[:, first : first + at_once].astype(np.float64)
        for i, value in enumerate(q):
            sums = np.zeros((2, block.shape[1], len(lags)))
            for vector in vectors:
                phase = np.exp(1j * value * (block @ vector))
                density = phase.sum(axis=2)
                for j, lag in enumerate(lags):
                    if same[j].any():
                        now, then = slice(lag, None), slice(n_time - lag)
                        pairs = (density[now] * density[then].conj()).real[same[j]]
                        sums[0, :, j] += pairs.mean(axis=0) / n_beads
                        own = np.einsum("tcn,tcn->tc", phase[now], phase[then].conj()).real[same[j]]
                        sums[1, :, j] += own.mean(axis=0) / n_beads
            for j in range(len(lags)):
                if same[j].any():
                    result[:, first : first + at_once, i, j] = sums[:, :, j] / n_directions
    return result[0], result[1]
