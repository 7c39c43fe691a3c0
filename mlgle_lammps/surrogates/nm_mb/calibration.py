"""All memory brought to what production shows: the running friction of one molecule's own velocity correlation.

Production tells G(t) = ∫₀ᵗ of the whole memory of one molecule's velocity, mean forces included, and kT/D in the end. A
model's own motion has a G too; what it lacks is added to its memories as strengths that stay positive.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import lsq_linear

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration
from mlgle_lammps.surrogates.nm_mb.couplings import Coupling
from mlgle_lammps.surrogates.nm_mb.kernel_fit import products_of
from mlgle_lammps.surrogates.nm_mb.memory import Memory
from mlgle_lammps.surrogates.nm_mb.model import NmMbModel
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations
from mlgle_lammps.surrogates.nm_mb.self_motion import Pieces, SelfMotion, forgetting, moved, self_motion

logger = logging.getLogger("mlgle")


def calibrate(
    model: NmMbModel, found: Sequence[Configuration], pieces: Pieces, rounds: int, time: float, seed: int
) -> NmMbModel:
    """Return the model with its memories as strong as production asks.

    Args:
        model: to begin with.
        found: constrained runs.
        pieces: of production.
        rounds: of motion and correction.
        time: of a round's motion, in times in which velocities forget; 8 at least.
        seed: of the motions.

    Raises:
        UserError: no piece of production that is long enough.
    """
    forget = forgetting(pieces) * model.dt
    time *= forget
    last = min(max(len(own) for own, _ in pieces) * model.dt / 1.5, time / 1.5)
    if last < 5 * forget:
        raise UserError(f"the tail of memory needs a piece of production longer than {7.5 * forget:.3g}")
    longest, diffusion = min(30 * forget, last / 2), (last / 4, last)
    long_enough = [piece for piece in pieces if len(piece[0]) * model.dt > 1.4 * last]
    wanted = self_motion(long_enough, model.mass, model.dt, longest, diffusion)
    for number in range(rounds):
        own = self_motion(moved(model, time, 1, 1000 * seed + number), model.mass, model.dt, longest, diffusion)
        model = corrected(model, found, wanted, own)
        logger.info("calibration round %d: D %.4g, wanted %.4g", number + 1, own.D, wanted.D)
    return model


def corrected(model: NmMbModel, found: Sequence[Configuration], wanted: SelfMotion, own: SelfMotion) -> NmMbModel:
    """Return the model with strengths changed by what its running friction lacks, and its D says of the end."""
    parts = [part for group in model.kernel.groups for part in separated(group.relaxations)]
    strengths = own_friction(model.kernel, found)
    end = model.kT / wanted.D - model.kT / own.D
    times = np.append(wanted.times, 3 * wanted.times[-1])
    lacking = np.append(wanted.friction - own.friction, end)
    weights = np.append(1 / (wanted.times + wanted.times[0]), 1.0)
    weights[:-1] /= weights[:-1].sum()
    change = factors(lacking, times, parts, strengths, weights)
    note = "calibrated: " + ", ".join(f"{value:.2f}" for value in change)
    return replace(model, kernel=rescaled(model.kernel, change), notes=(*model.notes, note))


def own_friction(memory: Memory, found: Sequence[Configuration]) -> Float64:
    """Return the mean own friction of each memory at t = 0, (n,)."""
    if memory.groups[0].strengths is not None:
        return memory.groups[0].strengths.square().numpy()
    with torch.no_grad():
        each = [products_of(memory, one).diagonal(dim1=-2, dim2=-1).mean(-1).numpy() for one in found[:3]]
    result: Float64 = np.mean(each, axis=0)
    return result


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
    most: float = 3.0, hold: float = 0.1,
) -> Float64:  # fmt: skip
    """Return what each part's strength is multiplied by so that running frictions grow by what is lacking, (n,).

    Args:
        lacking: (lag,) of ∫₀ᵗ K.
        times: (lag,).
        parts: memories.
        strengths: (n,) of each now.
        weights: (lag,).
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
    root = np.sqrt(weights)
    scale = np.sqrt(np.sum((root * lacking) ** 2)) * hold
    above = np.concatenate([root[:, None] * columns, scale * np.eye(len(parts))])
    target = np.concatenate([root * lacking, np.zeros(len(parts))])
    result: Float64 = 1.0 + lsq_linear(above, target, bounds=(1 / most - 1, most - 1)).x
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
