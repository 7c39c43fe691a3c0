"""An estimate and what becomes of it when one unit is left out: errors of whatever is computed from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.errors import student_estimate


@dataclass(frozen=True)
class Replicas:
    """A number or an array with its jackknife replicas.

    Attributes:
        value: from all units.
        left_out: (unit, ...) without each unit in turn.
        effect: design effect: variance of the whole over that of independent units.
        degrees: of freedom of the error; None for one fewer than units.
    """

    value: Float64
    left_out: Float64
    effect: float = 1.0
    degrees: int | None = None

    @classmethod
    def of_groups(cls, values: Float64, weights: ArrayLike, effect: float = 1.0) -> Replicas:
        """Return the weighted mean over groups of units, and that without each group; no replicas of a single group.

        Args:
            values: (group, ...).
            weights: (group,), such as the units in each.
            effect: design effect.
        """
        share = np.asarray(weights, dtype=np.float64)
        share = (share / share.sum()).reshape(-1, *[1] * (values.ndim - 1))
        weighted = share * values
        total = weighted.sum(axis=0)
        left_out = (total - weighted) / np.maximum(1 - share, 1e-12) if len(values) > 1 else weighted[:0]
        return cls(total, left_out, effect)

    @property
    def dof(self) -> int:
        """Degrees of freedom of the error."""
        return len(self.left_out) - 1 if self.degrees is None else self.degrees

    @property
    def covariance(self) -> Float64:
        """Covariance of the entries, flattened, (entry, entry)."""
        n = len(self.left_out)
        off = (self.left_out - self.left_out.mean(axis=0)).reshape(n, -1)
        result: Float64 = self.effect * (n - 1) / n * off.T @ off
        return result

    @property
    def se(self) -> Float64:
        """Standard error of each entry."""
        n = len(self.left_out)
        if n < 2:
            return np.full(np.shape(self.value), np.nan)
        off = self.left_out - self.left_out.mean(axis=0)
        result: Float64 = np.sqrt(self.effect * (n - 1) / n * np.sum(off**2, axis=0))
        return result

    def map(self, function: Callable[[Float64], Float64 | float]) -> Replicas:
        """Return what a function makes of it, replica by replica."""
        left_out = np.array([function(own) for own in self.left_out])
        return Replicas(np.asarray(function(self.value)), left_out, self.effect, self.degrees)

    def estimate(self, method: str) -> Estimate:
        """Return a single number with Student's 95% interval."""
        return student_estimate(float(self.value), float(self.se), self.dof, method)


def stacked(parts: Sequence[Replicas], effect: float | None = None) -> Replicas:
    """Return estimates from the same units as one, each flattened, one after the other.

    Args:
        parts: with equally many replicas.
        effect: design effect; None for that of the first.
    """
    rows = [part.left_out.reshape(len(part.left_out), -1) for part in parts]
    return Replicas(
        np.concatenate([np.ravel(part.value) for part in parts]), np.concatenate(rows, axis=1),
        parts[0].effect if effect is None else effect,
    )  # fmt: skip


def combined(function: Callable[[Float64, Float64], Float64 | float], one: Replicas, other: Replicas) -> Replicas:
    """Return what a function makes of two independent estimates, their errors added in squares.

    Each estimate's replicas are moved to where the jackknife over all units gives its own variance.
    """
    n = len(one.left_out) + len(other.left_out)
    rows = [function(own, other.value) for own in _spread(one, n)]
    rows += [function(one.value, own) for own in _spread(other, n)]
    return Replicas(np.asarray(function(one.value, other.value)), np.array(rows), 1.0, min(one.dof, other.dof))


def _spread(found: Replicas, n: int) -> Float64:
    """Return replicas about the value, scaled for a jackknife of n units in all."""
    own = len(found.left_out)
    scale = np.sqrt(found.effect * (own - 1) / own * n / (n - 1))
    result: Float64 = found.value + scale * (found.left_out - found.left_out.mean(axis=0))
    return result
