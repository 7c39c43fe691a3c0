"""How one molecule moves, in production and in a model's own boxes: running friction and D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHAINS, Float64
from mlgle_lammps.statistics.centre_motion import (
    frames_to_forget,
    mean_squared_displacement,
    velocity_autocorrelation,
)
from mlgle_lammps.statistics.volterra import running_friction
from mlgle_lammps.surrogates.nm_mb.model import NmMbModel, NmMbMotion

Pieces = Sequence[tuple[np.ndarray, np.ndarray]]
"""Uninterrupted trajectories, each centres and momenta (time, M, 3)."""


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


def self_motion(pieces: Pieces, mass: float, dt: float, longest: float, diffusion: tuple[float, float]) -> SelfMotion:
    """Return G and D of pieces of trajectories.

    Args:
        pieces: each longer than the times below.
        mass: of a molecule.
        dt: time between frames.
        longest: lag of G.
        diffusion: times between which the MSD's slope is taken.
    """
    n_lags = round(longest / dt) + 1
    correlation = np.mean(
        [velocity_autocorrelation(p / mass - p.mean(1, keepdims=True) / mass, n_lags) for _, p in pieces], axis=0
    )
    friction = running_friction(correlation, mass, dt)
    times: Float64 = (np.arange(n_lags - 1, dtype=np.float64) + 0.5) * dt
    return SelfMotion(times, friction, slope(pieces, dt, diffusion))


def forgetting(pieces: Pieces) -> float:
    """Return the frames in which velocities forget, by the longest piece; raise UserError where it is one frame."""
    longest = max((momenta for _, momenta in pieces), key=len)
    if len(longest) < 2:
        raise UserError("production has no two frames in one piece: record it without interruption")
    return frames_to_forget(longest)


def slope(pieces: Pieces, dt: float, between: tuple[float, float], weights: Sequence[float] | None = None) -> float:
    """Return D by the growth of the mean squared displacement between two times, pieces alike where no weights are."""
    first, last = (round(time / dt) for time in between)
    msd = [mean_squared_displacement(com - com.mean(1, keepdims=True), last + 1) for com, _ in pieces]
    grown = np.average([own[last] - own[first] for own in msd], weights=weights)
    return float(grown / (6 * dt * (last - first)))


def moved(model: NmMbModel, time: float, boxes: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return centres and momenta of boxes that a model moves for a time each, after a tenth of it that is dropped."""
    size, n_frames = len(model.last), max(50, round(time / model.dt))
    motion = NmMbMotion(model, np.stack([model.last] * boxes), model.box, seed, boxes * size)
    for _ in motion.advance(n_frames // 10):
        pass
    kept = np.empty((2, n_frames, boxes * size, 3))
    start = 0
    for block in motion.advance(n_frames):
        end = start + len(block)
        channels = block.channels[CHAINS]
        kept[:, start:end] = channels["com"], channels["momenta"]
        start = end
    own = [slice(k * size, (k + 1) * size) for k in range(boxes)]
    return [(kept[0][:, which], kept[1][:, which]) for which in own]
