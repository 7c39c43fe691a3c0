"""From constrained runs and production to a model: potential, memory, and what the melt's motion says of its tail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHAINS, Float64, Frames, System
from mlgle_lammps.store.constrained_file import ConstrainedSet
from mlgle_lammps.surrogates.nm_mb import NAME
from mlgle_lammps.surrogates.nm_mb.calibration import SelfMotion, factors, rescaled, self_motion, separated
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration, configuration_of, decay_of
from mlgle_lammps.surrogates.nm_mb.integrator import CentreMotion, MotionSettings
from mlgle_lammps.surrogates.nm_mb.kernel_fit import products_of
from mlgle_lammps.surrogates.nm_mb.memory import Memory
from mlgle_lammps.surrogates.nm_mb.model import NEEDS, NmMbModel
from mlgle_lammps.surrogates.nm_mb.potential import Potential
from mlgle_lammps.surrogates.nm_mb.potential_fit import (
    explained,
    fit_many_body_potential,
    fit_pair_potential,
    samples_of_constrained,
    samples_of_production,
)
from mlgle_lammps.surrogates.nm_mb.presets import PRESETS, MemorySettings, fit_memory
from mlgle_lammps.surrogates.recorded import require_channels

logger = logging.getLogger("mlgle")

Pieces = Sequence[tuple[np.ndarray, np.ndarray]]


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
        rounds: of calibration; the presets in ``CALIBRATED`` alone.
        calibration_time: of a round's motion.
        seed: of everything drawn.
    """

    preset: str = "default"
    memory: MemorySettings = field(default_factory=MemorySettings)
    potential: str = "pair"
    potential_reach: float = 0.48
    force_window: float = 3.0
    potential_updates: int = 400
    rounds: int = 2
    calibration_time: float = 300.0
    seed: int = 1


CALIBRATED = ("gle",)
"""Presets whose slow memory is brought to what production shows; all memory of "gle"."""

SWING = 0.18
"""Most of (K(0)/M)^½ times a short step. The velocities' autocorrelation is then 0.0025 off (rms, on the star melt's
memory with fixed couplings, where a step's map is known exactly), 0.0009 at 0.11, 0.006 at 0.26; kT is exact."""


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
        UserError: no such preset; molecules of different mass, or other ones than were held; channels missing; no piece
            of production that is long enough.
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
    found = [configuration_of(run) for run in constrained.runs]
    pieces = pieces_of(frames)
    shortest = decay_of(found)
    potential = fit_potential(found, pieces, system.dt, shortest, how, should_stop)
    memory = fit_memory(how.preset, found, replace(how.memory, shortest=shortest), should_stop)
    swing = (own_friction(memory, found).sum() / float(first.masses[0])) ** 0.5
    inner = max(1, int(np.ceil(system.dt * swing / SWING)))
    renew = max(k for k in range(1, 11) if inner % k == 0)
    notes = [f"the mean forces: {explained(potential.forces, found):.0%} of their reproducible variance explained"]
    model = NmMbModel(
        memory, potential, first.kT, float(first.masses[0]), first.box, system.dt, inner, renew, system.time_unit,
        system.length_unit, frames.com[-1].copy(), how.preset, tuple(notes),
    )  # fmt: skip
    if how.preset in CALIBRATED and not should_stop():
        model = calibrate(model, found, pieces, how)
    return model


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
    pair = fit_pair_potential(samples, box, cutoff)
    if how.potential == "pair":
        return pair
    return fit_many_body_potential(samples, box, pair, how.potential_updates, seed=how.seed, should_stop=should_stop)


def calibrate(model: NmMbModel, found: Sequence[Configuration], pieces: Pieces, how: TrainSettings) -> NmMbModel:
    """Return the model with its slow memories as strong as production asks; see ``calibration``."""
    forget = velocity_time(pieces, model.mass, model.dt)
    last = min(120 * forget, max(len(own) for own, _ in pieces) * model.dt / 1.5, how.calibration_time / 1.5)
    if last < 5 * forget:
        raise UserError(f"the tail of memory needs a piece of production longer than {7.5 * forget:.3g}")
    longest, diffusion = min(30 * forget, last / 2), (last / 4, last)
    long_enough = [piece for piece in pieces if len(piece[0]) * model.dt > 1.4 * last]
    wanted = self_motion(long_enough, model.mass, model.dt, longest, diffusion)
    for number in range(how.rounds):
        own = self_motion([move(model, how, number)], model.mass, model.dt, longest, diffusion)
        model = corrected(model, found, wanted, own)
        logger.info("calibration round %d: D %.4g, wanted %.4g", number + 1, own.D, wanted.D)
    return model


def velocity_time(pieces: Pieces, mass: float, dt: float) -> float:
    """Return the time in which velocities of molecules fall to 1/e."""
    momenta = pieces[0][1]
    products = np.array(
        [np.mean(momenta[lag:] * momenta[: len(momenta) - lag]) for lag in range(min(200, len(momenta)))]
    )
    below = products < products[0] / np.e
    return float(dt * (np.argmax(below) if below.any() else len(products)))


def move(model: NmMbModel, how: TrainSettings, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and momenta of a motion of the model in its own box."""
    generator = torch.Generator().manual_seed(1000 * how.seed + number)
    start = torch.as_tensor(model.last)[None]
    drawn = torch.randn(start.shape, generator=generator, dtype=torch.float64)
    momenta = (model.kT * model.mass) ** 0.5 * (drawn - drawn.mean(1, keepdim=True))
    motion = CentreMotion(
        model.kernel, model.potential.forces, start, momenta, torch.full((len(model.last),), model.mass).double(),
        torch.as_tensor(model.box), MotionSettings(model.dt / model.inner, model.kT, model.renew), generator,
    )  # fmt: skip
    n_frames = max(50, round(how.calibration_time / model.dt))
    kept = np.empty((2, n_frames, len(model.last), 3))
    motion.advance(n_frames // 10 * model.inner // model.renew)
    for k in range(n_frames):
        motion.advance(model.inner // model.renew)
        kept[:, k] = motion.centres[0].numpy(), motion.momenta[0].numpy()
    return kept[0], kept[1]


def corrected(model: NmMbModel, found: Sequence[Configuration], wanted: SelfMotion, own: SelfMotion) -> NmMbModel:
    """Return the model with strengths changed by what its running friction lacks, and its D says of the end."""
    parts = [part for group in model.kernel.groups for part in separated(group.relaxations)]
    strengths = own_friction(model.kernel, found)
    end = model.kT / wanted.D - model.kT / own.D
    times = np.append(wanted.times, 3 * wanted.times[-1])
    lacking = np.append(wanted.friction - own.friction, end)
    weights = np.append(1 / (wanted.times + wanted.times[0]), 1.0)
    weights[:-1] /= weights[:-1].sum()
    slow = 0.0 if model.preset == "gle" else 8 * model.dt * model.inner / max(model.inner, 1)
    change = factors(lacking, times, parts, strengths, weights, slow)
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


def _range(masses: Float64) -> str:
    return f"{masses.min():.4g} to {masses.max():.4g}"
