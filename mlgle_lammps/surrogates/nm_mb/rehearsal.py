"""How long learning and generating will take, by doing a little of both on this machine with a made-up melt."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.records import Float64, Int64, System
from mlgle_lammps.resources.compute import resolve_device
from mlgle_lammps.resources.held_needs import held_lags
from mlgle_lammps.resources.progress import format_seconds
from mlgle_lammps.surrogates.nm_mb import tail
from mlgle_lammps.surrogates.nm_mb.constrained_data import Configuration
from mlgle_lammps.surrogates.nm_mb.held_out import SHARE
from mlgle_lammps.surrogates.nm_mb.model import NmMbModel
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within
from mlgle_lammps.surrogates.nm_mb.potential import PairPotential
from mlgle_lammps.surrogates.nm_mb.presets import MemorySettings, fit_memory
from mlgle_lammps.surrogates.nm_mb.trainer import SWING, TrainSettings

SHORT_STEPS = 4
"""In a frame, as stars have; what a melt needs is known when its forces are."""
FORGET = 7
"""Frames in which velocities forget, where nobody says how far apart frames are."""
UPDATES = 4
FRAMES = 10


@dataclass(frozen=True)
class Rehearsal:
    """Seconds that will be taken.

    Attributes:
        fitting: of the memory, to constrained runs.
        matching: of the motions by which memory is brought to production; 0 where the preset has none.
        generating: of the frames that are asked for.
    """

    fitting: float
    matching: float
    generating: float


def rehearse(system: System, options: LearnOptions) -> Rehearsal:
    """Return how long it will take with these options: a few updates and a few frames are timed and multiplied."""
    found = made_up(system, held_lags(system, options))
    settings = TrainSettings(options.preset)
    model, beginning, update = _learned(found, options.preset, settings.memory)
    learned = options.configurations - options.configurations // SHARE
    batch = 1 if options.preset == "paper" else min(settings.memory.fit.batch, learned)
    fitting = beginning * learned + (0.0 if options.preset == "gle" else update * batch * settings.memory.fit.updates)
    boxes, frames = options.ensemble, options.generate_steps
    generating = frames * _seconds_of_frame(model, boxes, options.device) if frames else 0.0
    matching, size = 0.0, system.n_chains
    if options.preset == "default":
        boxes, each = tail.boxes_and_time(min(tail.LONGEST * FORGET, options.production_frames / 3), size)
        matching = 1.1 * tail.ROUNDS * each * _seconds_of_frame(model, boxes, "cpu")
    elif options.preset == "gle":
        matching = 1.1 * settings.rounds * settings.calibration_time * FORGET * _seconds_of_frame(model, 1, "cpu")
    return Rehearsal(fitting, matching, generating)


def rehearsal_line(rehearsal: Rehearsal, options: LearnOptions) -> str:
    """Return it for people."""
    parts = f"couplings {format_seconds(rehearsal.fitting)}"
    if rehearsal.matching:
        parts += f", motions that bring it to production {format_seconds(rehearsal.matching)}"
    line = f"learning {format_seconds(rehearsal.fitting + rehearsal.matching)} on this machine ({parts})"
    if options.generate_steps:
        line += f"; generating {options.generate_steps} frames: {format_seconds(rehearsal.generating)}"
    return f"{line}, where a frame takes {SHORT_STEPS} short steps"


def made_up(system: System, lags: Int64) -> Configuration:
    """Return centres at random in the system's box and a memory of unit strength that swings and decays in time 1."""
    n, rng = system.n_chains, np.random.default_rng(1)
    box = np.array((system.box or (n ** (1 / 3),) * 3)[:3])
    centres = torch.as_tensor(rng.uniform(0, 1, (1, n, 3)) * box)
    edges = torch.as_tensor(box)
    times = 0.25 * lags.astype(np.float64)
    curve = 0.9 * np.exp(-times) * np.cos(times) + 0.06 * np.exp(-times / 20) + 0.04 * np.exp(-times / 100)
    own = np.broadcast_to(curve[:, None, None, None] * np.eye(3), (2, len(times), n, 3, 3)).astype(np.float32)
    known = np.stack(np.triu_indices(n, 1), axis=1)
    pair = np.zeros((2, len(times), len(known), 3, 3), dtype=np.float32)
    pair += (-curve / n)[:, None, None, None] * np.eye(3)
    motions = np.broadcast_to(0.5 * curve[:, None], (2, len(times), 18)).astype(np.float64)
    still: Float64 = np.zeros((2, n, 3))
    return Configuration(
        centres, edges, pairs_within(centres, edges, float(box.max())), times, 5 * times[-1], pair, own, known,
        still[0], still, motions,
    )  # fmt: skip


def _learned(found: Configuration, preset: str, how: MemorySettings) -> tuple[NmMbModel, float, float]:
    """Return a model after few updates on one configuration, and the seconds before the first and of an update."""
    how = replace(how, shortest=1.0)
    seconds = []
    for updates in (1, 1, 1 + UPDATES):  # the first one warms up
        started = time.perf_counter()
        memory = fit_memory(preset, [found], replace(how, fit=replace(how.fit, updates=updates, batch=1)))
        seconds.append(time.perf_counter() - started)
    box = found.box.numpy()
    swing = float(found.own[0, 0, 0, 0, 0]) ** 0.5  # of the memory's strength, for a mass of 1
    dt = SHORT_STEPS * SWING / swing
    model = NmMbModel(
        memory, PairPotential(0.48 * float(box.min())), 1.0, 1.0, box, dt, SHORT_STEPS, SHORT_STEPS, "frame", "length",
        found.centres[0].numpy(), preset,
    )  # fmt: skip
    update = max(seconds[2] - seconds[1], 0.1 * seconds[2]) / UPDATES
    return model, max(seconds[1] - update, 0.0), update


@torch.no_grad()
def _seconds_of_frame(model: NmMbModel, boxes: int, device: str) -> float:
    """Return wall seconds in which all of so many boxes move on by a frame."""
    where = resolve_device(device)
    motion = model.start_box(1, molecules=len(model.last), boxes=boxes, device=str(where))
    for count in (2, FRAMES):  # the first ones warm up
        started = time.perf_counter()
        for _ in motion.advance(count):
            pass
        seconds = time.perf_counter() - started
    return seconds / FRAMES
