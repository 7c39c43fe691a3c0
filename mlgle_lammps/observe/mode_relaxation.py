"""Stress relaxation and viscosity from the modes' correlations: G(t) = (n_mol kT/V) Σ_p C_p(t)².

Exact for Rouse molecules. In a melt it leaves out the pairs' stress at short times and correlations between chains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.mode_basis import ModeBasis
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.statistics.replicas import Replicas

WINDOW = 5.0
"""A mode's C² is integrated over so many of its integral times; what an exponential leaves beyond is added."""
RESOLVED = 0.1
"""C after one frame below which a mode is not seen to relax, and its time is continued from slower ones."""
MOST_BEYOND = 0.15
"""Share of a mode's integral that may lie beyond the record, and is added as an exponential's."""


@dataclass(frozen=True)
class ModeCorrelations:
    """Autocovariances of the streamed modes in groups of chains.

    Attributes:
        by_group: (group, lag, mode) per component, length²; lags 0, 1, 2, ..
        n_chains: (group,) chains in each.
        dt: time between lags.
        effect: design effect of the melt: how much more the box average scatters than independent chains would.
    """

    by_group: Float64
    n_chains: Int64
    dt: float
    effect: float = 1.0

    @property
    def weights(self) -> Float64:
        """Share of each group in the chains."""
        result: Float64 = self.n_chains / self.n_chains.sum()
        return result

    def mean(self) -> Replicas:
        """Return the autocovariance (lag, mode) of all chains."""
        return Replicas.of_groups(self.by_group, self.n_chains, self.effect)

    def squared(self) -> Replicas:
        """Return the squared autocovariance (lag, mode), free of the bias that squaring noise brings.

        From products of different groups alone, which are independent: (A² - Σ w_g² A_g²)/(1 - Σ w_g²). With fewer
        than four groups the plain square.
        """
        everything = np.ones(len(self.by_group), dtype=bool)
        left_out = []
        for group in range(len(self.by_group) if len(self.by_group) > 1 else 0):
            others = everything.copy()
            others[group] = False
            left_out.append(self._squared(others))
        shape = self.by_group.shape[1:]
        return Replicas(self._squared(everything), np.array(left_out).reshape(-1, *shape), self.effect)

    def _squared(self, which: np.ndarray) -> Float64:
        weights = self.weights[which] / self.weights[which].sum()
        mean = np.einsum("g,glm->lm", weights, self.by_group[which])
        if np.count_nonzero(which) < 4:
            return mean**2
        own = np.einsum("g,glm->lm", weights**2, self.by_group[which] ** 2)
        result: Float64 = (mean**2 - own) / (1.0 - np.sum(weights**2))
        return result


@dataclass(frozen=True)
class Relaxation:
    """Σ_p C_p(t)², its integral, and how they were obtained.

    Attributes:
        times: (lag,).
        sum: (lag,) Σ_p C_p(t)² over all N - 1 modes.
        integral: ∫ Σ_p C_p² dt, a time.
        remaining: (lag,) ∫ from each time on, of which ``integral`` is the first.
        continued: modes whose times were continued from slower ones.
        beyond: largest share of a mode's integral that lies beyond where it ends, and was added.
        slowest: integral time 2 ∫ C_1² dt of mode 1, τ_1 of an exponential.
    """

    times: Float64
    sum: Replicas
    integral: Replicas
    remaining: Replicas
    continued: int
    beyond: float
    slowest: Replicas


def normalized_squares(correlations: ModeCorrelations) -> Replicas:
    """Return C_p(t)² of the streamed modes, (lag, mode)."""
    return correlations.squared().map(lambda squares: squares / np.maximum(squares[0], 1e-300))


def relaxation_of_modes(correlations: ModeCorrelations, basis: ModeBasis) -> Relaxation:
    """Return the relaxation of all modes from those that were streamed.

    Modes that are not streamed, or relax within a frame, are exponentials whose times continue those of the fastest
    modes that are seen as 1/λ_p, as Rouse modes' do.

    Args:
        correlations: of modes 1..k.
        basis: of the molecule.

    Limit: Rouse chains, Σ_p e^(-2t/τ_p) and Σ_p τ_p/2.
    """
    squares, dt = normalized_squares(correlations), correlations.dt
    n_lags, k = squares.value.shape
    seen = squares.value[1] > RESOLVED**2 if n_lags > 1 else np.zeros(k, dtype=bool)
    n_seen = k if seen.all() else int(np.argmin(seen))
    windows = [_window(squares.value[:, p]) for p in range(n_seen)]
    times: Float64 = dt * np.arange(n_lags, dtype=np.float64)

    def integrals(own: Float64) -> Float64:
        return np.array([_whole(_integral(own[: windows[p] + 1, p]), windows[p])[0] * dt for p in range(n_seen)])

    def fast_times(own: Float64) -> Float64:
        if not n_seen:
            return np.zeros(0)
        slow = slice(max(n_seen - 3, 0), n_seen)
        scale = np.exp(np.mean(np.log(2 * np.maximum(integrals(own)[slow], 1e-300) * basis.eigenvalues[slow])))
        result: Float64 = scale / basis.eigenvalues[n_seen:]
        return result

    def total(own: Float64) -> Float64:
        fast = np.exp(-2 * times[:, None] / np.maximum(fast_times(own), 1e-300))
        result: Float64 = own[:, :n_seen].sum(axis=1) + fast.sum(axis=1)
        return result

    def remaining(own: Float64) -> Float64:
        slow = np.sum([_remaining(own[:, p], windows[p]) for p in range(n_seen)], axis=0) * dt
        tau = np.maximum(fast_times(own), 1e-300)
        result: Float64 = slow + np.sum(tau / 2 * np.exp(-2 * times[:, None] / tau), axis=1)
        return result

    shares = [_whole(_integral(squares.value[: M + 1, p]), M)[1] for p, M in enumerate(windows)]
    return Relaxation(
        times=times,
        sum=squares.map(total),
        integral=squares.map(lambda own: integrals(own).sum() + fast_times(own).sum() / 2),
        remaining=squares.map(remaining),
        continued=basis.n_modes - n_seen,
        beyond=max(shares, default=1.0),
        slowest=squares.map(lambda own: 2 * integrals(own)[0] if n_seen else np.nan),
    )


def _window(squares: Float64) -> int:
    """Return the lag up to which C² is integrated: the first that is WINDOW times the integral up to it."""
    steps = 0.5 * (squares[1:] + squares[:-1])
    reached = np.flatnonzero(np.arange(1, len(squares)) >= WINDOW * np.maximum(np.cumsum(steps), 0.5 / WINDOW))
    return int(reached[0]) + 1 if len(reached) else len(squares) - 1


def _whole(integral: float, window: int) -> tuple[float, float]:
    """Return an integral up to ``window`` with what an exponential leaves beyond, and the share of that."""
    time = max(integral, 1e-12)
    for _ in range(50):
        time = min(max(integral, 1e-12) / -np.expm1(-window / time), 1e3 * window)
    return time, float(np.exp(-window / time))


def _remaining(squares: Float64, window: int) -> Float64:
    """Return (lag,) the whole integral less that up to each lag; beyond the window as an exponential."""
    done = np.concatenate([[0.0], np.cumsum(_steps(squares[: window + 1]))])
    time = _whole(float(done[-1]), window)[0]
    beyond = (time - done[-1]) * np.exp(-np.arange(1, len(squares) - window) / time)
    result: Float64 = np.concatenate([time - done, beyond])
    return result


def _integral(values: Float64) -> float:
    """Integrate over lags."""
    return float(_steps(values).sum())


def _steps(values: Float64) -> Float64:
    """Return the integral over each step; between two positive values as an exponential, which is exact for one."""
    a, b = values[:-1], values[1:]
    steps = 0.5 * (a + b)
    ratio = np.divide(b, a, out=np.ones_like(a), where=a > 0)
    steep = (a > 0) & (b > 0) & (np.abs(ratio - 1) > 1e-4)
    steps[steep] = (a - b)[steep] / -np.log(ratio[steep])
    return steps
