"""How memory decays: features that follow Ornstein-Uhlenbeck equations, and the choice of them from a kernel.

A feature ζ obeys ζ̇ = -Ξᵀ V - Λζ + ξ with <ξ ξᵀ> = β⁻¹(Λ + Λᵀ)δ, so that <ζ ζᵀ> = β⁻¹ and the memory is Ξ e^{-Λt} Ξᵀ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm
from scipy.optimize import nnls
from scipy.sparse.csgraph import connected_components

from mlgle_lammps.records import Float64, Int64


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
        found = np.zeros((len(times), self.n, self.n))
        for part in _apart(self.matrix):
            own = [k for k, feature in enumerate(self.coupled) if feature in part]
            where = [int(np.flatnonzero(part == self.coupled[k])[0]) for k in own]
            found[np.ix_(range(len(times)), own, own)] = _exponentials(self.matrix[np.ix_(part, part)], times)[
                np.ix_(range(len(times)), where, where)
            ]
        return found

    def propagator(self, dt: float) -> tuple[Float64, Float64]:
        """Return E = e^{-Λdt} and a root of I - E Eᵀ, the covariance of exact noise in units of kT; both (D, D)."""
        step = expm(-self.matrix * dt)
        values, vectors = np.linalg.eigh(np.eye(self.size) - step @ step.T)
        return step, vectors * np.sqrt(np.maximum(values, 0.0))


def _apart(matrix: Float64) -> list[Int64]:
    """Return the features in groups that are not coupled to one another."""
    count, labels = connected_components(np.abs(matrix) > 0, directed=False)
    return [np.flatnonzero(labels == number) for number in range(count)]


def _exponentials(matrix: Float64, times: Float64) -> Float64:
    """Return e^{-Λt}, (time, n, n), by eigenvectors where these are well apart."""
    values, vectors = np.linalg.eig(matrix)
    if np.linalg.cond(vectors) > 1e6:
        return np.array([expm(-matrix * t) for t in times])
    decays = np.exp(-np.multiply.outer(times, values))
    result: Float64 = np.einsum("ik,tk,kj->tij", vectors, decays, np.linalg.inv(vectors)).real
    return result


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


def returning(fast: float, slow: float) -> Relaxations:
    """Return the features whose memory falls at a fast rate below zero and comes back at a slow one: its integral is 0.

    Forces of an elastic surrounding are like that: at long times they have pulled as much as they pushed.

    Args:
        fast: rate, 1/time.
        slow: rate, below a quarter of ``fast``.
    """
    frequency = (slow * (fast - slow)) ** 0.5
    return Relaxations(np.array([[fast, frequency], [-frequency, 0.0]]), (0,))


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


def dictionary(shortest: float, per_decade: int = 12) -> list[Relaxations]:
    """Return memories to choose from: oscillations about the time in which memory decays, and those that swing back."""
    periods = np.geomspace(0.5 * shortest, 6 * shortest, per_decade)
    found = [oscillator(1 / period, ratio / period) for period in periods for ratio in (0.4, 0.8, 1.4, 2.5)]
    pairs = [(fast, slow) for fast in (0.7, 1.5) for slow in (4.0, 12.0, 30.0)]
    return found + [returning(1 / (fast * shortest), 1 / (slow * shortest)) for fast, slow in pairs]


def choose(
    columns: Float64, kernel: Float64, weights: Float64, most: int, keep: Sequence[int] = ()
) -> tuple[list[int], Float64]:
    """Return which memories add up, with positive strengths, to nearest a kernel, and these strengths.

    Args:
        columns: (L, memory) values of the memories to choose from.
        kernel: (L,).
        weights: (L,) of the squared misfit.
        most: memories to take beside those of ``keep``.
        keep: memories that may always have a strength, and are returned where they have one.
    """
    root = np.sqrt(weights)
    chosen = list(range(columns.shape[1]))
    while True:
        strengths, _ = nnls(root[:, None] * columns[:, chosen], root * kernel)
        there = [(k, float(s)) for k, s in zip(chosen, strengths, strict=True) if s > 0]
        free = [k for k, _ in there if k not in keep]
        if len(free) <= most:
            return [k for k, _ in there], np.array([s for _, s in there])
        losses = [_missed(columns, kernel, root, [*(m for m in free if m != k), *keep]) for k in free]
        least = free[int(np.argmin(losses))]
        chosen = [*(k for k in free if k != least), *keep]


def _missed(columns: Float64, kernel: Float64, root: Float64, chosen: list[int]) -> float:
    """Return the misfit of some of the memories."""
    return float(nnls(root[:, None] * columns[:, chosen], root * kernel)[1])
