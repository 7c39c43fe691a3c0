"""The slow end of memory brought to production's D: one number, which constrained runs know worst.

Memories that decay within a good part of a constrained run are seen with large errors, and for centres that do not
move, while production tells D, and with it the whole of friction, to a few per cent. The strengths of all memories that
are far slower than velocities are multiplied by one factor. 1/D is close to linear in it: the factor is read from a
line through what the model's own motion shows at some factors, each known as well as D is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.surrogates.nm_mb.calibration import decay_time, own_friction, rescaled, separated
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration
from mlgle_lammps.surrogates.nm_mb.model import NmMbModel
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations
from mlgle_lammps.surrogates.nm_mb.self_motion import Pieces, forgetting, moved, slope

logger = logging.getLogger("mlgle")

SLOW = 10.0
"""Times in which velocities forget, beyond which a memory is part of the slow end."""
ACCURACY = 0.03
"""Relative error of a D that motion is to show."""
WORST = 0.1
"""Relative error of production's D beyond which it says nothing."""
ROUNDS = 3
BOXES = 4
RANGE = (0.05, 4.0)
LONGEST = 120.0
"""Times in which velocities forget, up to which the MSD's slope is taken."""


def with_matched_tail(
    model: NmMbModel, found: Sequence[Configuration], pieces: Pieces, seed: int, should_stop: Callable[[], bool]
) -> NmMbModel:
    """Return the model with its slow memories multiplied so that centres diffuse as in production.

    Args:
        model: as it was fitted to constrained runs.
        found: the runs.
        pieces: of production.
        seed: of the motions.
        should_stop: asked between motions; True leaves the factor at the best so far.
    """
    forget, size = forgetting(pieces) * model.dt, len(model.last)
    last = min(LONGEST * forget, max(len(own) for own, _ in pieces) * model.dt / 3)
    time = 2 * last / (3 * size)  # whose inverse is the relative variance of D by one molecule for one unit of time
    used = [piece for piece in pieces if len(piece[0]) * model.dt > 2 * last]
    error = np.sqrt(time / (model.dt * sum(len(own) for own, _ in used)))
    slow = slow_memories(model, SLOW * forget)
    if last < 3 * SLOW * forget or error > WORST or not slow.any():
        return replace(model, notes=(*model.notes, "production is too short to set the slow end of memory by D"))
    wanted, strengths = _diffusion(used, model.dt, last), own_friction(model.kernel, found)
    integrals = [s * np.linalg.inv(part.matrix)[0, 0] for s, part in zip(strengths, _parts(model), strict=True)]
    guess = float(np.sum(slow * integrals)) / model.kT
    boxes, each = boxes_and_time(last, size)

    def times(factor: float) -> NmMbModel:
        return replace(model, kernel=rescaled(model.kernel, np.where(slow, factor, 1.0)))

    tried: list[tuple[float, float]] = []
    factor = 1.0
    for number in range(ROUNDS):
        if should_stop():
            break
        own = moved(times(factor), each, boxes, 1000 * seed + number)
        tried.append((factor, _diffusion(own, model.dt, last)))
        logger.info("slow end of memory times %.2f: D %.4g, in production %.4g", *tried[-1], wanted)
        factor = next_factor(tried, wanted, guess)
    note = f"the slow end of memory times {factor:.2f}, by production's D"
    if factor in RANGE and tried:
        note += f", which was not reached: at {tried[-1][0]:.2f} D is {tried[-1][1] / wanted:.2f} of it"
    return replace(times(factor), notes=(*model.notes, note))


def boxes_and_time(last: float, size: int) -> tuple[int, float]:
    """Return how many boxes of so many molecules move, and how long each, for D by the MSD up to a time."""
    whole = 2 * last / (3 * size) / ACCURACY**2
    boxes = int(np.clip(whole / (2.5 * last), 1, BOXES))
    return boxes, max(whole / boxes, 2.5 * last)


def _diffusion(pieces: Pieces, dt: float, last: float) -> float:
    """Return D by the slope from a quarter of a time to all of it, pieces by what they hold of it."""
    end = round(last / dt)
    return slope(pieces, dt, (last / 4, last), [len(com) - end for com, _ in pieces])


def slow_memories(model: NmMbModel, longer_than: float) -> NDArray[np.bool_]:
    """Return which memories decay within more than a time, (n,)."""
    return np.array([decay_time(part) > longer_than for part in _parts(model)])


def next_factor(tried: Sequence[tuple[float, float]], wanted: float, guess: float) -> float:
    """Return the factor f at which D is as wanted: 1/D = a + b f through what was tried, b near a guess.

    Args:
        tried: factors and the D that they gave.
        wanted: D.
        guess: of b; half of it is its error.
    """
    factors, inverse = np.array([f for f, _ in tried]), np.array([1 / D for _, D in tried])
    weight = 1 / (ACCURACY * inverse)
    rows = np.stack([np.ones(len(tried)), factors], axis=1) * weight[:, None]
    above, target = np.concatenate([rows, [[0.0, 2 / guess]]]), np.append(inverse * weight, 2.0)
    start, growth = np.linalg.lstsq(above, target)[0]
    return float(np.clip((1 / wanted - start) / max(growth, 0.1 * guess), *RANGE))


def _parts(model: NmMbModel) -> list[Relaxations]:
    return [part for group in model.kernel.groups for part in separated(group.relaxations)]
