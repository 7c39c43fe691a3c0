"""The linear core: each normal mode of the super-bead graph as AR(1), in closed form, and the centre as MA(1).

A mode's decay a and its stationary variance C follow from its eigenvalue alone, by interpolation between those of the
training runs in log λ, so that chains of another length have them too. The estimates are symmetric in time, as
equilibrium is: a = Σ z_t·z_{t+1} / ½Σ(z_t² + z_{t+1}²), noise C (1 - a²). For a Rouse chain whose groups are its beads
they are those of the exact law. The centre's steps are d_t = θ_0 ε_t + θ_1 ε_{t-1}, of variance 1/N for N beads each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import CoarseRun

MOST_KNOTS = 64
_LEAST_DECAY, _MOST_DECAY = 1e-4, 1.0 - 1e-7


@dataclass(frozen=True)
class LinearCore:
    """What eigenvalues say of modes.

    Attributes:
        log_eigenvalues: (knot,) ascending.
        log_rates: (knot,) log(-log a).
        log_variances: (knot,) log C per component, of modes in units of length.
        bond: root mean squared distance of bonded groups.
        centre: variance of a step of the centre and covariance of two consecutive ones, per component, times N.
    """

    log_eigenvalues: Float64
    log_rates: Float64
    log_variances: Float64
    bond: float
    centre: tuple[float, float]

    def of(self, eigenvalues: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return decays a and variances C of modes with these eigenvalues, both of their shape."""
        where = eigenvalues.detach().cpu().double().log().numpy()
        values = [_interpolated(where, self.log_eigenvalues, own) for own in (self.log_rates, self.log_variances)]
        rates, variances = (torch.tensor(v, dtype=eigenvalues.dtype, device=eigenvalues.device).exp() for v in values)
        return (-rates).exp(), variances

    def centre_weights(self, n_beads: int) -> tuple[float, float]:
        """Return θ_0 and θ_1 of molecules of N beads."""
        total = float(np.sqrt(max(self.centre[0] + 2 * self.centre[1], 0.0)))
        difference = float(np.sqrt(max(self.centre[0] - 2 * self.centre[1], 0.0)))
        return (total + difference) / 2 / n_beads**0.5, (total - difference) / 2 / n_beads**0.5

    def diffusion(self, n_beads: int, dt: float) -> float:
        """Return D of the centre, per dimension."""
        return max(self.centre[0] + 2 * self.centre[1], 0.0) / (2 * n_beads * dt)

    def to_plain(self) -> dict[str, list[float] | float]:
        """Return JSON values."""
        return {
            "log_eigenvalues": self.log_eigenvalues.tolist(), "log_rates": self.log_rates.tolist(),
            "log_variances": self.log_variances.tolist(), "bond": self.bond, "centre": list(self.centre),
        }  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> LinearCore:
        """Return the core in JSON values; raise ValueError and the like where they are none."""
        names = ("log_eigenvalues", "log_rates", "log_variances")
        knots = [np.array(plain[name], dtype=np.float64) for name in names]
        if len({own.shape for own in knots}) != 1 or knots[0].ndim != 1 or not 1 <= len(knots[0]) <= MOST_KNOTS:
            raise ValueError("a linear core whose knots do not match")
        centre = np.array(plain["centre"], dtype=np.float64)
        bond = float(plain["bond"])  # type: ignore[arg-type]
        sane = all(np.isfinite(own).all() and np.abs(own).max() < 100 for own in knots)
        if not sane or centre.shape != (2,) or not np.isfinite(centre).all() or not 0 < bond < 1e9:
            raise ValueError("a linear core with numbers that are none")
        if np.any(np.diff(knots[0]) <= 0):
            raise ValueError("a linear core whose knots are in no order")
        return cls(knots[0], knots[1], knots[2], bond, (float(centre[0]), float(centre[1])))


def _interpolated(where: Float64, knots: Float64, values: Float64) -> Float64:
    """Return values between knots, and beyond the first along the first piece (slower modes than any learned)."""
    inside: Float64 = np.interp(where, knots, values)
    if len(knots) > 1:
        slope = (values[1] - values[0]) / (knots[1] - knots[0])
        inside = np.where(where < knots[0], values[0] + slope * (where - knots[0]), inside)
    return inside


def fit_linear_core(runs: Sequence[CoarseRun], dt: float) -> LinearCore:
    """Return the core of all runs at a step; every run's frames weigh the same.

    Args:
        runs: each with two steps at least.
        dt: the model's step.
    """
    eigenvalues, products, squares, weights = [], [], [], []
    centre, bonds = np.zeros(3), np.zeros(2)
    for run in runs:
        lag, grouping = run.lag(dt), run.molecule.grouping
        modes = grouping.modes @ run.positions.astype(np.float64)
        first = run.starts(lag)
        one, other = modes[first], modes[first + lag]
        count = one.shape[0] * one.shape[1] * 3
        eigenvalues.append(grouping.eigenvalues)
        products.append((one * other).sum(axis=(0, 1, 3)))
        squares.append(0.5 * (one**2 + other**2).sum(axis=(0, 1, 3)))
        weights.append(np.full(len(grouping.eigenvalues), count))
        ends = np.array(grouping.edges).T
        steps = np.diff(run.positions[:, :, ends], axis=2)[:, :, 0] if len(grouping.edges) else np.zeros(1)
        bonds += np.square(steps.astype(np.float64)).sum(), steps.size / 3
        centre += _centre_sums(run, lag)
    table = _binned(np.concatenate(eigenvalues), *(np.concatenate(own) for own in (products, squares, weights)))
    decays = np.clip(table[1] / table[2], _LEAST_DECAY, _MOST_DECAY)
    variance, covariance = centre[0] / centre[2], centre[1] / centre[2]
    covariance = float(np.clip(covariance, -variance / 2, variance / 2))
    return LinearCore(
        np.log(table[0]), np.log(-np.log(decays)), np.log(table[2] / table[3]),
        float(np.sqrt(bonds[0] / max(bonds[1], 1.0))), (float(variance), covariance),
    )  # fmt: skip


def _centre_sums(run: CoarseRun, lag: int) -> Float64:
    """Return N times the sums of d_t² and d_t·d_{t+1} over a run's steps, and how many components."""
    first = run.starts(lag, 1)
    before = run.centres[first] - run.centres[first - lag]
    after = run.centres[first + lag] - run.centres[first]
    n_beads = len(run.molecule.types)
    square = 0.5 * (np.square(before).sum() + np.square(after).sum())
    return np.array([n_beads * square, n_beads * (before * after).sum(), before.size])


def _binned(eigenvalues: Float64, *sums: Float64) -> Float64:
    """Return rows of eigenvalues and sums, equal eigenvalues joined, at most ``MOST_KNOTS`` columns, ascending."""
    order = np.argsort(eigenvalues)
    keys = np.log(eigenvalues[order])
    fresh = np.diff(keys, prepend=-np.inf) > 1e-6
    number = np.cumsum(fresh) - 1
    if number[-1] >= MOST_KNOTS:
        number = np.minimum(((keys - keys[0]) / (np.ptp(keys) + 1e-12) * MOST_KNOTS).astype(int), MOST_KNOTS - 1)
        number = np.unique(number, return_inverse=True)[1]
    weight = np.bincount(number, sums[-1][order])
    mean = np.exp(np.bincount(number, sums[-1][order] * keys) / weight)
    return np.stack([mean, *(np.bincount(number, own[order]) for own in sums)])
