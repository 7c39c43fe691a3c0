"""From constrained runs and production to a model: potential, memory, and what the melt's motion says of its tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHAINS, Float64, Frames, System
from mlgle_lammps.store.constrained_file import ConstrainedSet
from mlgle_lammps.surrogates.nm_mb import NAME
from mlgle_lammps.surrogates.nm_mb.calibration import calibrate, own_friction
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration, configuration_of, decay_of
from mlgle_lammps.surrogates.nm_mb.model import NEEDS, NmMbModel
from mlgle_lammps.surrogates.nm_mb.potential import ManyBodyPotential, PairPotential, Potential
from mlgle_lammps.surrogates.nm_mb.potential_fit import (
    ForceSamples,
    explained,
    fit_many_body_potential,
    fit_pair_potential,
    samples_of_constrained,
    samples_of_production,
)
from mlgle_lammps.surrogates.nm_mb.presets import PRESETS, MemorySettings, fit_memory
from mlgle_lammps.surrogates.nm_mb.self_motion import Pieces
from mlgle_lammps.surrogates.nm_mb.tail import with_matched_tail
from mlgle_lammps.surrogates.recorded import require_channels


@dataclass(frozen=True)
class TrainSettings:
    """How a model is made.

    Attributes:
        preset: which memory.
        memory: of its fit.
        potential: "pair" or "many-body".
        potential_reach: cutoff of U as a share of the shortest edge.
        force_window: Δ of production's force samples over the time in which memory starts to decay.
        potential_updates: of a many-body potential.
        rounds: of bringing "gle" to production.
        calibration_time: of a round's motion, in times in which velocities forget.
        seed: of everything drawn.
    """

    preset: str = "default"
    memory: MemorySettings = field(default_factory=MemorySettings)
    potential: str = "pair"
    potential_reach: float = 0.48
    force_window: float = 3.0
    potential_updates: int = 400
    rounds: int = 2
    calibration_time: float = 180.0
    seed: int = 1


SWING = 0.18
"""Most of (K(0)/M)^½ times a short step. The velocities' autocorrelation is then 0.0025 off (rms, on the star melt's
memory with fixed couplings, where a step's map is known exactly), 0.0009 at 0.11, 0.006 at 0.26; kT is exact."""

MOST_APART = 0.2
"""Of the constrained runs' temperatures, the largest less the smallest over their mean."""

MOST_SHORT = 10
"""Short steps in a long one, after which couplings and forces are renewed."""


def train(
    constrained: ConstrainedSet, frames: Frames, system: System, settings: TrainSettings | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> NmMbModel:  # fmt: skip
    """Return the model of a melt of equal molecules.

    Args:
        constrained: runs in which centres are held.
        frames: of production, with centres and momenta; what is judged later should not be among them.
        system: of the frames.
        settings: of training.
        should_stop: asked between updates; True ends each part with what it has.

    Raises:
        UserError: no such preset; molecules of different mass, or other ones than were held; channels missing; runs
            that are not alike, or too short for their memory; no piece of production that is long enough.
    """
    how = settings or TrainSettings()
    if how.preset not in PRESETS:
        raise UserError(f"`preset` {how.preset}: {NAME} has no such preset; there are: {', '.join(PRESETS)}")
    require_channels(frames, NEEDS, NAME)
    first = constrained.runs[0]
    if np.ptp(first.masses) > 1e-6 * first.masses.mean():
        raise UserError(f"{NAME} is for molecules of one mass; the ones that were held weigh {_range(first.masses)}")
    if frames.com.shape[1] != len(first.masses):
        raise UserError(
            f"{frames.com.shape[1]} molecules in production, {len(first.masses)} were held: not the same melt"
        )
    if any(not np.allclose(run.box, first.box) for run in constrained.runs):
        raise UserError(f"{NAME} is for a box that does not change; the constrained runs have different ones")
    kT = _one_temperature(constrained)
    found = [configuration_of(run) for run in constrained.runs]
    if any(not np.array_equal(one.times, found[0].times) or one.duration != found[0].duration for one in found):
        raise UserError("the constrained runs have different lags or lengths: make all with the same options")
    pieces = pieces_of(frames)
    shortest = decay_of(found)
    potential = fit_potential(found, pieces, system.dt, shortest, how, should_stop)
    fit = replace(how.memory.fit, seed=how.seed)
    memory = fit_memory(how.preset, found, replace(how.memory, shortest=shortest, fit=fit), should_stop)
    swing = (own_friction(memory, found).sum() / float(first.masses[0])) ** 0.5
    inner, renew = short_steps(system.dt * swing)
    notes = [f"the mean forces: {explained(potential.forces, found):.0%} of their reproducible variance explained"]
    model = NmMbModel(
        memory, potential, kT, float(first.masses[0]), first.box, system.dt, inner, renew, system.time_unit,
        system.length_unit, frames.com[-1].copy(), how.preset, tuple(notes),
    )  # fmt: skip
    if how.preset == "gle" and not should_stop():
        return calibrate(model, found, pieces, how.rounds, how.calibration_time, how.seed)
    if how.preset == "default" and not should_stop():
        return with_matched_tail(model, found, pieces, how.seed, should_stop)
    return model


def _one_temperature(constrained: ConstrainedSet) -> float:
    """Return kT, the mean over the runs, each of which has constant energy and so a temperature of its own."""
    each = np.array([run.kT for run in constrained.runs])
    if np.ptp(each) > MOST_APART * each.mean():
        raise UserError(f"the constrained runs have kT from {each.min():.4g} to {each.max():.4g}: keep them apart")
    return float(each.mean())


def short_steps(swing: float) -> tuple[int, int]:
    """Return short steps of a frame, and how many make a long one, for (K(0)/M)^½ times a frame's time."""
    least = max(1, int(np.ceil(swing / SWING)))
    long_ones = -(-least // MOST_SHORT)
    renew = -(-least // long_ones)
    return long_ones * renew, renew


def pieces_of(frames: Frames) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return centres and momenta of each uninterrupted piece."""
    own = frames.channels[CHAINS]
    starts = np.flatnonzero(np.diff(frames.segments)) + 1
    return list(zip(np.split(own["com"], starts), np.split(own["momenta"], starts), strict=True))


def fit_potential(
    found: Sequence[Configuration], pieces: Pieces, dt: float, shortest: float, how: TrainSettings,
    should_stop: Callable[[], bool],
) -> Potential:  # fmt: skip
    """Return U from constrained mean forces and from production."""
    box = found[0].box
    samples = samples_of_constrained(found)
    window = max(dt, how.force_window * shortest)
    for centres, momenta in pieces:
        if len(centres) > 2 * round(window / dt) + 1:
            samples = samples.joined(samples_of_production(centres, momenta, dt, window, 5 * window))
    cutoff = how.potential_reach * float(box.min())
    pairs = fit_pair_potential(samples, box, cutoff)
    if how.potential == "pair":
        return pairs

    def many_body(rest: ForceSamples, short: PairPotential) -> ManyBodyPotential:
        return fit_many_body_potential(rest, box, short, how.potential_updates, seed=how.seed, should_stop=should_stop)

    if isinstance(pairs, PairPotential):
        return many_body(samples, pairs)
    assert isinstance(pairs.short, PairPotential)
    rest = replace(samples, forces=samples.forces - pairs.waves.forces(samples.centres, box).detach())
    pairs.short = many_body(rest, pairs.short)
    return pairs


def _range(masses: Float64) -> str:
    return f"{masses.min():.4g} to {masses.max():.4g}"
