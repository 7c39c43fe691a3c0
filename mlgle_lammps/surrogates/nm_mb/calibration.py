"""Slow memory brought to what production shows: the running friction of one molecule's own velocity correlation.

Constrained runs tell the tail of the kernel with large errors, and for centres that do not move. Production tells
G(t) = ∫₀ᵗ of the whole memory of one molecule's velocity, mean forces included, and kT/D in the end. A model's own
motion has a G too; what it lacks is added to its memories as strengths that stay positive, the spatial form of each
untouched. Momentum, positivity and fluctuation-dissipation are those of the form and cannot be lost by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import lsq_linear

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.centre_motion import mean_squared_displacement, velocity_autocorrelation
from mlgle_lammps.statistics.volterra import running_friction
from mlgle_lammps.surrogates.nm_mb.couplings import Coupling
from mlgle_lammps.surrogates.nm_mb.memory import Memory
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations


@dataclass(frozen=True)
class SelfMotion:
    """How one molecule moves.

    Attributes:
        times: (lag,), of G.
        friction: (lag,) G(t) at the middles between frames.
        D: a sixth of the MSD's slope.
    """

    times: Float64
    friction: Float64
    D: float


def self_motion(
    pieces: Sequence[tuple[np.ndarray, np.ndarray]],
    mass: float,
    dt: float,
    longest: float,
    diffusion: tuple[float, float],
) -> SelfMotion:
    """Return G and D of pieces of trajectories, each centres and momenta (time, M, 3).

    Args:
        pieces: each longer than the times below.
        mass: of a molecule.
        dt: time between frames.
        longest: lag of G.
        diffusion: times between which the MSD's slope is taken.
    """
    n_lags, (first, last) = round(longest / dt) + 1, (round(time / dt) for time in diffusion)
    correlation = np.mean(
        [velocity_autocorrelation(p / mass - p.mean(1, keepdims=True) / mass, n_lags) for _, p in pieces], axis=0
    )
    msd = np.mean([mean_squared_displacement(c - c.mean(1, keepdims=True), last + 1) for c, _ in pieces], axis=0)
    friction = running_friction(correlation, mass, dt)
    times: Float64 = (np.arange(n_lags - 1, dtype=np.float64) + 0.5) * dt
    return SelfMotion(times, friction, float((msd[last] - msd[first]) / (6 * dt * (last - first))))


def separated(relaxations: Relaxations) -> list[Relaxations]:
    """Return features that are not coupled to one another as relaxations of their own, in the order of coupled ones."""
    found = []
    for feature in relaxations.coupled:
        linked = np.flatnonzero((np.abs(relaxations.matrix[feature]) + np.abs(relaxations.matrix[:, feature])) > 0)
        own = np.array([feature, *(k for k in linked if k != feature)])
        found.append(Relaxations(relaxations.matrix[np.ix_(own, own)], (0,)))
    return found


def factors(
    lacking: Float64, times: Float64, parts: Sequence[Relaxations], strengths: Float64, weights: Float64,
    slow: float, most: float = 3.0, hold: float = 0.1,
) -> Float64:  # fmt: skip
    """Return what each part's strength is multiplied by so that running frictions grow by what is lacking, (n,).

    Args:
        lacking: (lag,) of ∫₀ᵗ K.
        times: (lag,).
        parts: memories.
        strengths: (n,) of each now.
        weights: (lag,).
        slow: decay time above which strengths may change.
        most: largest factor; its inverse is the smallest.
        hold: weight of the distance of factors from 1, relative to the misfit of nothing changed.
    """
    grid = np.linspace(0, times[-1], 4000)
    integrals = []
    for part, strength in zip(parts, strengths, strict=True):
        decay = strength * part.decay(grid)[:, 0, 0]
        running = np.concatenate([[0.0], np.cumsum(0.5 * (decay[1:] + decay[:-1]) * np.diff(grid))])
        integrals.append(np.interp(times, grid, running))
    columns = np.stack(integrals, axis=1)
    free = np.array([decay_time(part) >= slow for part in parts])
    result = np.ones(len(parts))
    if not free.any():
        return result
    root = np.sqrt(weights)
    scale = np.sqrt(np.sum((root * lacking) ** 2)) * hold
    above = np.concatenate([root[:, None] * columns[:, free], scale * np.eye(int(free.sum()))])
    target = np.concatenate([root * lacking, np.zeros(int(free.sum()))])
    change = lsq_linear(above, target, bounds=(1 / most - 1, most - 1)).x
    result[free] += change
    return result


def decay_time(part: Relaxations) -> float:
    """Return the longest time in which a memory decays."""
    return float(1.0 / np.linalg.eigvals(part.matrix).real.min())


def rescaled(memory: Memory, factor: Float64) -> Memory:
    """Return a memory whose features' frictions are multiplied by positive numbers, group after group."""
    groups, start = [], 0
    for group in memory.groups:
        root = torch.as_tensor(np.sqrt(factor[start : start + group.relaxations.n]))
        start += group.relaxations.n
        if group.strengths is not None:
            groups.append(replace(group, strengths=group.strengths * root))
        else:
            groups.append(replace(group, coupling=scaled_coupling(group.coupling, root)))
    return replace(memory, groups=tuple(groups))


def scaled_coupling(coupling: object, root: torch.Tensor) -> Coupling:
    """Return a copy of a coupling whose W is multiplied by a number for each feature."""
    from mlgle_lammps.surrogates.nm_mb.couplings import (
        EnvironmentCoupling,
        ModulatedCoupling,
        RadialCoupling,
        coupling_from,
    )

    if not isinstance(coupling, EnvironmentCoupling | ModulatedCoupling | RadialCoupling):
        raise TypeError("a coupling of no known kind")
    made = coupling_from(coupling.plain())
    made.load_state_dict(coupling.state_dict())
    if isinstance(made, EnvironmentCoupling):
        per_output = root.repeat_interleave(made.n_encoders + 1)
        made.weights[-1].data *= per_output
        made.biases[-1].data *= per_output
    else:
        made.scale.data *= torch.cat([root, root])
    return made
