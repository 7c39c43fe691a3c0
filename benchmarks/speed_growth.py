"""How costs grow: fitted exponents of time against chains, modes, memory and frames; and of memory.

A cost a·x^p is fitted to medians on log scales; p is given with its standard error. An exponent below 1 over a range
means that a fixed part still shows there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import stats
from speed_memory import SteadySource, memory_lines
from speed_records import Measurement, Settings, best_of

from mlgle_lammps.chains.molecule_sums import LocalModeSum
from mlgle_lammps.chains.spectrum import linear_spectrum
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.records import CHAINS, Frames, Species
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.stream.ring_buffer import RingBuffer
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel

BEADS = 100
Cost = Callable[[int], float]
"""Seconds at a size."""


def run(settings: Settings) -> list[Measurement]:
    """Measure the exponents, then memory."""
    torch.set_num_threads(1)
    lines: list[Measurement] = []
    for case, axis, sizes, cost in costs(settings.quick):
        lines += exponent(case, axis, sizes, cost, 1 if settings.quick else min(settings.repeats, 2))
    return lines + memory_lines(settings)


def costs(quick: bool) -> list[tuple[str, str, Sequence[int], Cost]]:
    """Return case, axis, sizes and cost of everything whose growth is measured; the base is 100 chains, k 12, m 128."""
    if quick:
        return [
            ("frame: moments and ring buffer", "chains", (20, 80), lambda n: frame_cost(n, 3, 8)),
            ("online GLE fit", "memory m", (8, 16), lambda m: fit_cost(20, 3, m)),
            ("training, an update", "modes", (2, 4), lambda k: update_cost(10, k, 8, 60)[1]),
            ("generation, a step", "trajectories", (20, 80), lambda n: generation_cost(n, 3, 8, 256)),
        ]
    many, modes, memories = (100, 1000, 10_000), (3, 6, 12, 24), (64, 128, 256, 512)
    return [
        ("frame: modes of 100-bead chains", "chains", many, mode_cost),
        ("frame: moments and ring buffer", "chains", many, lambda n: frame_cost(n, 12, 128)),
        ("frame: moments and ring buffer", "modes", modes, lambda k: frame_cost(1000, k, 128)),
        ("frame: moments and ring buffer", "memory m", memories, lambda m: frame_cost(1000, 12, m)),
        ("online GLE fit", "chains", many, lambda n: fit_cost(n, 12, 64)),
        ("online GLE fit", "modes", modes, lambda k: fit_cost(100, k, 128)),
        ("online GLE fit", "memory m", memories, lambda m: fit_cost(100, 12, m)),
        ("training, before the updates of a round", "chains", (30, 100, 300), lambda n: update_cost(n, 12, 128)[0]),
        ("training, before the updates of a round", "frames", (400, 800, 1600), lambda t: update_cost(n_frames=t)[0]),
        ("training, an update", "chains", (30, 100, 300), lambda n: update_cost(n, 12, 128)[1]),
        ("training, an update", "modes", modes, lambda k: update_cost(100, k, 128)[1]),
        ("training, an update", "memory m", (32, 128, 512), lambda m: update_cost(100, 12, m, 1600)[1]),
        ("training, an update", "frames", (400, 800, 1600), lambda t: update_cost(n_frames=t)[1]),
        ("generation, a step", "trajectories", (30, 300, 3000), lambda n: generation_cost(n, 12, 128)),
        ("generation, a step", "modes", modes, lambda k: generation_cost(300, k, 128)),
        ("generation, a step", "memory m", (32, 128, 512), lambda m: generation_cost(300, 12, m)),
    ]  # fmt: skip


def exponent(case: str, axis: str, sizes: Sequence[int], cost: Cost, repeats: int) -> list[Measurement]:
    """Return the times at all sizes, taken in turn, and the fitted exponent."""
    times = np.array([[cost(size) for size in sizes] for _ in range(repeats)])
    return [
        *(
            Measurement(f"{case}, {axis} {size}", "time", "ms", tuple(1e3 * times[:, i]))
            for i, size in enumerate(sizes)
        ),
        fitted(case, f"exponent of time against {axis}", sizes, np.median(times, axis=0)),
    ]  # fmt: skip


def fitted(case: str, quantity: str, sizes: Sequence[int], values: Sequence[float]) -> Measurement:
    """Return the slope of log value against log size."""
    fit = stats.linregress(np.log(sizes), np.log(values))
    error = f"± {fit.stderr:.2f}; " if len(sizes) > 2 else ""
    return Measurement(case, quantity, "", (float(fit.slope),), note=f"{error}sizes {', '.join(map(str, sizes))}")


# ---------------------------------------------------------------------- a frame's way


def some_frames(n_frames: int, n_chains: int, n_modes: int) -> list[Frames]:
    """Return frames of centres that walk and modes that are noise."""
    generator = np.random.default_rng(1)
    walk = 0.1 * generator.standard_normal((n_frames, n_chains, 3)).cumsum(axis=0)
    shape = (n_chains, n_modes, 3)
    return [Frames.single(t, 0, walk[t], generator.standard_normal(shape, dtype=np.float32)) for t in range(n_frames)]


def mode_cost(n_chains: int) -> float:
    """Return the seconds that one rank takes for the modes of all chains."""
    chains = np.arange(n_chains * BEADS).reshape(n_chains, BEADS)
    modes = LocalModeSum(chains, 12)
    positions = np.random.default_rng(1).standard_normal((n_chains * BEADS, 3))
    ids = np.random.default_rng(2).permutation(n_chains * BEADS)
    return best_of(lambda: modes(modes.slots(ids), positions), max(5, 20_000 // n_chains))


def frame_cost(n_chains: int, n_modes: int, memory: int) -> float:
    """Return the seconds per frame that has all lags behind it."""
    accumulator = MomentAccumulator(n_chains, n_modes, memory)
    ring = RingBuffer(2 * memory, [Species(CHAINS, n_chains, n_modes=n_modes)])
    few = some_frames(min(memory, 16), n_chains, n_modes)
    step = 0

    def add() -> None:
        nonlocal step
        frame = replace(few[step % len(few)], steps=np.array([step]))
        accumulator.add(frame)
        ring.append(frame)
        step += 1

    for _ in range(memory + 1):
        add()
    return best_of(add, max(8, 10_000 // n_chains))


def fit_cost(n_chains: int, n_modes: int, memory: int) -> float:
    """Return the seconds of one GLE fit."""
    accumulator = MomentAccumulator(n_chains, n_modes, memory)
    for frame in SteadySource(n_chains, n_modes, 2 * memory):
        accumulator.add(frame)
    return best_of(lambda: fit_gle(accumulator.moments(), 1.0, "default", linear_spectrum(BEADS)), 3)


# ---------------------------------------------------------------------- training and generation


def some_window(n_frames: int, n_chains: int, n_modes: int) -> Frames:
    """Return frames of modes that are AR(1) processes."""
    generator = np.random.default_rng(3)
    modes = generator.standard_normal((n_frames, n_chains, n_modes, 3), dtype=np.float32)
    a = np.exp(-((np.arange(n_modes, dtype=np.float32) + 1) ** 2) / 100)[:, None]
    for t in range(1, n_frames):
        modes[t] = a * modes[t - 1] + np.sqrt(1 - a * a) * modes[t]
    com = np.zeros((n_frames, n_chains, 3))
    return Frames.of_chains(np.arange(n_frames), np.zeros(n_frames, dtype=np.int64), com, modes)


def options_for(memory: int, n_frames: int) -> TrainOptions:
    """Return training options that use all frames, in the default proportion."""
    n_train = max(memory + 8, round(n_frames * 0.625))
    return TrainOptions(memory=memory, train_frames=n_train, val_frames=max(n_frames - n_train, 8))


def update_cost(
    n_chains: int = 100, n_modes: int = 12, memory: int = 128, n_frames: int = 1600, updates: int = 6
) -> tuple[float, float]:
    """Return the seconds of an online round without updates, and of one update."""
    window = some_window(n_frames, n_chains, n_modes)
    options = options_for(memory, n_frames)
    trainer = ModeTrainer(replace(options, updates_per_round=1))
    trainer.partial_fit(window)
    rounds = []
    for n in (0, updates):
        trainer._options = replace(options, updates_per_round=n)
        rounds.append(best_of(lambda: trainer.partial_fit(window), 2))
    return rounds[0], max(rounds[1] - rounds[0], 1e-6) / updates


def generation_cost(n_trajectories: int, n_modes: int, memory: int, n_steps: int = 1024) -> float:
    """Return the seconds of one step of all trajectories by the linear core."""
    n_frames = 2 * memory + 200
    window = some_window(n_frames, 20, n_modes)
    model = ModeTrainer(replace(options_for(memory, n_frames), networks=False)).finish(window)
    whole = MlGleModel(model, 0.1, 1.0, 1.0, "time", "length", window.modes[-memory:])

    def steps() -> None:
        for _ in MlGleMotion(whole, window.modes, 1, n_trajectories).advance(n_steps):
            pass

    return best_of(steps, 2) / n_steps
