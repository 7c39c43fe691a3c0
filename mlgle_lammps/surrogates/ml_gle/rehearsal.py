"""How long learning and generating will take, by doing a little of both on this machine with made-up frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.options.learn import TRAINED_CHAINS, LearnOptions
from mlgle_lammps.records import Frames
from mlgle_lammps.resources.compute import resolve_device
from mlgle_lammps.resources.progress import format_seconds
from mlgle_lammps.surrogates.ml_gle import equivariant, published
from mlgle_lammps.surrogates.ml_gle.batch import BLOCK
from mlgle_lammps.surrogates.ml_gle.calibration import MOST_TRAJECTORY_STEPS
from mlgle_lammps.surrogates.ml_gle.integrator import generate
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, core_from_reflection
from mlgle_lammps.surrogates.ml_gle.published_training import PublishedTrainer
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.surrogate import ModeModel, Networks, Surrogate
from mlgle_lammps.surrogates.ml_gle.trainer import TrainOptions
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames, prepare_frames

ORDERS = (128, 128, 96, 64, 32, 24, 24, 16, 12, 12, 12, 12)
"""Of the linear cores of modes 1 to 12, as chosen for a Kremer-Grest melt of 50 × 20 beads; the last for more modes."""
_FRAMES_BEYOND = 64
_UPDATES = 3
_BLOCKS = 3
_CHAINS = 100
_TRAJECTORIES = {"default": 300, "paper": 30}
"""That are generated at most; a step of the published networks takes nearly as long for each as among many."""


@dataclass(frozen=True)
class Rehearsal:
    """Seconds that will be taken.

    Attributes:
        learning: of the final training, at most.
        generating: with linear cores alone, and with networks on all modes (the same twice with ``paper``).
    """

    learning: float
    generating: tuple[float, float]


def stand_in_core(n_modes: int, memory: int) -> LinearCore:
    """Return a core of unit variance whose mode p lives 170/p² frames."""
    orders = tuple(min(ORDERS[min(mode, len(ORDERS) - 1)], memory) for mode in range(n_modes))
    reflection = np.zeros((n_modes, memory))
    reflection[:, 0] = np.exp(-1 / np.maximum(1, 170 / np.arange(1, n_modes + 1) ** 2))
    reflection[:, 1:] = 0.3 / np.arange(2, memory + 1)
    return core_from_reflection(reflection, orders, np.ones(n_modes))


def stand_in(
    n_modes: int, memory: int, n_trajectories: int, preset: str = "default", networks: bool = True
) -> Surrogate:
    """Return a surrogate of made-up modes, with small untrained networks on all of them or on none."""
    generator, batch = torch.Generator().manual_seed(1), None
    every = tuple(range(n_modes))
    if preset == "paper":
        batch = Networks(every, None, published.initial_weights(memory, n_modes, generator))
    elif networks:
        architecture = equivariant.Architecture.within(memory)
        weights = equivariant.initial_weights(architecture, n_modes, generator)
        weights["w3"] = 0.05 * torch.randn(weights["w3"].shape, generator=generator)
        batch = Networks(every, architecture, weights | equivariant.neutral_scales(architecture, n_modes))
    sigma = np.ones(n_modes)
    model = ModeModel(preset, memory, sigma, 0.01 * sigma, stand_in_core(n_modes, memory), batch)
    history = np.random.default_rng(1).standard_normal((memory, n_trajectories, n_modes, 3))
    return Surrogate(model, 0.1, 0.7, 1.0, "frame", "sigma", 0.1 * history.astype(np.float32))


def rehearse(n_chains: int, n_modes: int, options: LearnOptions) -> Rehearsal:
    """Return how long it will take with these options: a few updates and a few steps are timed and multiplied."""
    training = TrainOptions(preset=options.preset, memory=options.memory)
    trained = min(n_chains, TRAINED_CHAINS)
    device = resolve_device(options.device)
    update = _seconds_of_update(min(trained, _CHAINS), n_modes, training, device)
    trajectories = min(options.ensemble, _TRAJECTORIES[options.preset])

    def per_trajectory(networks: bool) -> float:
        surrogate = stand_in(n_modes, options.memory, trajectories, options.preset, networks)
        return _seconds_of_step(surrogate, options) / trajectories

    full = per_trajectory(True)
    if options.preset == "paper":
        least = full
        targets = max(1, options.train_frames - options.memory) * trained
        learning = training.paper_epochs * update * targets / training.paper_batch
    else:
        least = min(full, per_trajectory(False))
        learning = training.max_updates * update + MOST_TRAJECTORY_STEPS * (least + full)
    generated = options.generate_steps * options.ensemble
    return Rehearsal(learning, (generated * least, generated * full))


def rehearsal_line(rehearsal: Rehearsal, options: LearnOptions) -> str:
    """Return it for people."""
    learning = f"learning at the end: {format_seconds(rehearsal.learning)} at most on this machine"
    if not options.generate_steps:
        return learning
    low, high = (format_seconds(seconds) for seconds in rehearsal.generating)
    networks = high if options.preset == "paper" else f"{low} with linear cores alone to {high} with all networks"
    return f"{learning}; generating: {networks}"


def _seconds_of(work: Callable[[], object]) -> float:
    """Return wall seconds of the second run of two; on a GPU ``work`` waits for it."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _seconds_of_update(n_chains: int, n_modes: int, options: TrainOptions, device: torch.device) -> float:
    frames = _made_up_frames(n_chains, n_modes, options.memory, device)
    if options.preset == "paper":
        rate, batch = options.paper_learning_rate, options.paper_batch
        published_trainer = PublishedTrainer(options.memory, n_modes, device, 1, rate, batch)
        return _seconds_of(lambda: published_trainer.round(frames, _UPDATES)) / _UPDATES
    architecture = equivariant.Architecture.within(options.memory)
    data = ResidualData(frames, stand_in_core(n_modes, options.memory), architecture)
    trainer = ResidualTrainer(
        architecture, n_modes, device, 1, options.learning_rate, options.weight_decay, options.batch
    )
    trainer.measure(data)

    def work() -> None:
        trainer.update(data, _UPDATES)
        trainer.mean["b1"].sum().item()  # waits for a GPU

    return _seconds_of(work) / _UPDATES


def _made_up_frames(n_chains: int, n_modes: int, memory: int, device: torch.device) -> TrainingFrames:
    n_frames = memory + _FRAMES_BEYOND
    modes = np.random.default_rng(1).standard_normal((n_frames, n_chains, n_modes, 3), dtype=np.float32)
    steps, zeros = np.arange(n_frames), np.zeros(n_frames, dtype=np.int64)
    window = Frames.of_chains(steps, zeros, np.zeros((n_frames, n_chains, 3)), modes)
    return prepare_frames(window, memory, n_frames - 4, 4, device, may_split_chains=False)


def _seconds_of_step(surrogate: Surrogate, options: LearnOptions) -> float:
    n_trajectories = surrogate.history.shape[1]

    def work(n_blocks: int) -> None:
        n_steps = n_blocks * BLOCK
        for _ in generate(surrogate, n_steps, n_trajectories, 1, device=options.device, threads=options.threads):
            pass

    few, many = _seconds_of(lambda: work(1)), _seconds_of(lambda: work(1 + _BLOCKS))
    return max(many - few, 0.1 * many) / (_BLOCKS * BLOCK)
