"""How memory decays: features that follow Ornstein-Uhlenbeck equations, and the choice of them from a kernel.

A feature ζ obeys ζ̇ = -Ξᵀ V - Λζ + ξ with <ξ ξᵀ> = β⁻¹(Λ + Λᵀ)δ, so that <ζ ζᵀ> = β⁻¹ and the memory is Ξ e^{-Λt} Ξᵀ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm
from scipy.optimize import nnls

from mlgle_lammps.records import Float64


@dataclass(frozen=True)
class Relaxations:
    """Features of one site or pair.

    Attributes:
        matrix: Λ (D, D), Λ + Λᵀ without a negative eigenvalue, 1/time.
        coupled: (n,) of the D features, those that momenta feel.
    """

    matrix: Float64
    coupled: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number D of features."""
        return len(self.matrix)

    @property
    def n(self) -> int:
        """Number n of features that momenta feel."""
        return len(self.coupled)

    def coupled_first(self) -> Relaxations:
        """Return the same with coupled features before the others."""
        order = [*self.coupled, *(k for k in range(self.size) if k not in self.coupled)]
        return Relaxations(self.matrix[np.ix_(order, order)], tuple(range(self.n)))

    def decay(self, times: Float64) -> Float64:
        """Return e^{-Λt} between coupled features, (time, n, n)."""
        where = np.ix_(self.coupled, self.coupled)
        return np.array([expm(-self.matrix * t)[where] for t in times])

    def propagator(self, dt: float) -> tuple[Float64, Float64]:
        """Return E = e^{-Λdt} and a root of I - E Eᵀ, the covariance of exact noise in units of kT; both (D, D)."""
        step = expm(-self.matrix * dt)
        values, vectors = np.linalg.eigh(np.eye(self.size) - step @ step.T)
        return step, vectors * np.sqrt(np.maximum(values, 0.0))


def exponential(rate: float) -> Relaxations:
    """Return the feature whose memory is e^{-rate t}."""
    return Relaxations(np.array([[rate]]), (0,))


def oscillator(frequency: float, damping: float) -> Relaxations:
    """Return the features whose memory x solves x'' + g x' + w² x = 0 with x(0) = 1 and x'(0) = 0.

    Args:
        frequency: w, 1/time.
        damping: g, 1/time; overdamped above 2 w.
    """
    return Relaxations(np.array([[0.0, frequency], [-frequency, damping]]), (0,))


def beside(parts: list[Relaxations]) -> Relaxations:
    """Return the features of all parts, uncoupled from one another."""
    size = sum(part.size for part in parts)
    matrix, coupled, start = np.zeros((size, size)), [], 0
    for part in parts:
        matrix[start : start + part.size, start : start + part.size] = part.matrix
        coupled += [start + where for where in part.coupled]
        start += part.size
    return Relaxations(matrix, tuple(coupled))


def general(lower: torch.Tensor, antisymmetric: torch.Tensor) -> torch.Tensor:
    """Return Λ = L Lᵀ + Lᵃ of the letter, (n, n); Lᵃ from the part of its argument below the diagonal."""
    root = torch.tril(lower)
    below = torch.tril(antisymmetric, -1)
    return root @ root.T + below - below.T


def dictionary(shortest: float, longest: float, per_decade: int = 4) -> list[Relaxations]:
    """Return memories to choose from: damped oscillations about the shortest time, decays up to the longest.

    Args:
        shortest: time within which memory starts to decay.
        longest: last time that the kernel is known at.
        per_decade: of decay times.
    """
    found = []
    for period in np.geomspace(shortest, 40 * shortest, 3 * per_decade):
        found += [oscillator(1.0 / period, ratio / period) for ratio in (0.7, 1.2, 2.0)]
    count = max(2, math.ceil(per_decade * math.log10(longest / shortest)) + 1)
    return found + [exponential(1.0 / time) for time in np.geomspace(2 * shortest, longest, count)]


def choose(columns: Float64, kernel: Float64, weights: Float64, most: int) -> tuple[list[int], Float64]:
    """Return which few memories add up, with positive strengths, to nearest a kernel, and these strengths.

    Args:
        columns: (L, memory) values of the memories to choose from.
        kernel: (L,).
        weights: (L,) of the squared misfit.
        most: memories to keep.
    """
    root = np.sqrt(weights)
    chosen = np.arange(columns.shape[1])
    while True:
        strengths, _ = nnls(root[:, None] * columns[:, chosen], root * kernel)
        chosen, strengths = chosen[strengths > 0], strengths[strengths > 0]
        if len(chosen) <= most:
            return [int(k) for k in chosen], strengths
        chosen = chosen[_without_the_least(root[:, None] * columns[:, chosen], root * kernel)]


def _without_the_least(columns: Float64, curve: Float64) -> list[int]:
    """Return all columns but the one that is missed least."""
    count = columns.shape[1]
    losses = [nnls(np.delete(columns, k, axis=1), curve)[1] for k in range(count)]
    return [k for k in range(count) if k != int(np.argmin(losses))]
