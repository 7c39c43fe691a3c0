"""Storage and loss moduli from G(t) as a sum of exponentials that are not negative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.replicas import Replicas

PER_DECADE = 10
FREQUENCIES_PER_DECADE = 8


@dataclass(frozen=True)
class Moduli:
    """G'(ω) and G''(ω).

    Attributes:
        frequencies: (ω,) 1/time.
        storage: (ω,) G'.
        loss: (ω,) G''.
        times: (exponential,) relaxation times.
        strengths: (exponential,) their shares of G(0).
    """

    frequencies: Float64
    storage: Replicas
    loss: Replicas
    times: Float64
    strengths: Float64


def moduli_of(times: Float64, G: Replicas, shortest: float, longest: float) -> Moduli:
    """Return the moduli of a relaxation G(t) = Σ_i g_i e^(-t/τ_i), g_i ≥ 0, fitted with weights 1/se.

    G' = Σ g_i (ωτ_i)²/(1 + (ωτ_i)²) and G'' = Σ g_i ωτ_i/(1 + (ωτ_i)²).

    Args:
        times: (lag,) of G.
        G: its values.
        shortest: relaxation time allowed.
        longest: relaxation time allowed.

    Limit: one exponential, whose moduli cross at ω = 1/τ.
    """
    n = max(int(PER_DECADE * np.log10(longest / shortest)) + 1, 2)
    tau = np.geomspace(shortest, longest, n)
    error = np.where(np.isfinite(G.se), G.se, 0.0)
    floor = 1e-3 * np.abs(G.value) + 1e-5 * np.abs(G.value).max()
    weight = 1.0 / np.maximum(error, floor)
    design = np.exp(-times[:, None] / tau) * weight[:, None]
    strengths = G.map(lambda own: optimize.nnls(design, own * weight)[0])
    decades = np.log10(longest / shortest) + 1
    frequencies = np.geomspace(0.3 / longest, 3.0 / shortest, int(FREQUENCIES_PER_DECADE * decades) + 1)
    x = frequencies[:, None] * tau
    storage, loss = x**2 / (1 + x**2), x / (1 + x**2)
    return Moduli(
        frequencies, strengths.map(lambda g: storage @ g), strengths.map(lambda g: loss @ g), tau, strengths.value
    )
