"""Made-up frames and models, and the time that a little work on them takes: what a rehearsal is made of."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.records import Frames
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.batch import BLOCK
from mlgle_lammps.surrogates.ml_gle.dynamics import ModeDynamics
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames, prepare_frames

ORDERS = (128, 128, 96, 64, 32, 24, 24, 16, 12, 12, 12, 12)
"""Of the linear cores of modes 1 to 12, as chosen for a Kremer-Grest melt of 50 × 20 beads; the last for more modes."""
_FRAMES_BEYOND = 64
_BLOCKS = 3


def stand_in_core(n_modes: int, memory: int) -> LinearCore:
    """Return a core of unit variance whose mode p lives 170/p² frames."""
    orders = tuple(min(ORDERS[min(mode, len(ORDERS) - 1)], memory) for mode in range(n_modes))
    reflection = np.zeros((n_modes, memory))
    reflection[:, 0] = np.exp(-1 / np.maximum(1, 170 / np.arange(1, n_modes + 1) ** 2))
    reflection[:, 1:] = 0.3 / np.arange(2, memory + 1)
    return core_from_reflection(reflection, orders, np.ones(n_modes))


def stand_in(n_modes: int, memory: int, n_trajectories: int, networks: bool = True) -> MlGleModel:
    """Return a model of made-up modes, with small untrained networks on all of them or on none."""
    batch = None
    if networks:
        generator, architecture = torch.Generator().manual_seed(1), equivariant.Architecture.within(memory)
        weights = equivariant.initial_weights(architecture, n_modes, generator)
        weights["w3"] = 0.05 * torch.randn(weights["w3"].shape, generator=generator)
        tensors = weights | equivariant.neutral_scales(architecture, n_modes)
        batch = Networks(tuple(range(n_modes)), architecture, tensors)
    sigma = np.ones(n_modes)
    return joined_up(ModeModel(memory, sigma, 0.01 * sigma, stand_in_core(n_modes, memory), batch), n_trajectories)


def joined_up(dynamics: ModeDynamics, n_trajectories: int) -> MlGleModel:
    """Return the model of some dynamics with a made-up history of as many chains as trajectories."""
    shape = (dynamics.memory, n_trajectories, dynamics.n_modes, 3)
    history = np.random.default_rng(1).standard_normal(shape)
    return MlGleModel(dynamics, 0.1, 0.7, 1.0, "frame", "sigma", 0.1 * history.astype(np.float32))


def made_up_frames(n_chains: int, n_modes: int, memory: int, device: torch.device) -> TrainingFrames:
    """Return frames of white noise, somewhat more than the memory."""
    n_frames = memory + _FRAMES_BEYOND
    modes = np.random.default_rng(1).standard_normal((n_frames, n_chains, n_modes, 3), dtype=np.float32)
    steps, zeros = np.arange(n_frames), np.zeros(n_frames, dtype=np.int64)
    window = Frames.of_chains(steps, zeros, np.zeros((n_frames, n_chains, 3)), modes)
    return prepare_frames(window, memory, n_frames - 4, 4, device, may_split_chains=False)


def seconds_of(work: Callable[[], object]) -> float:
    """Return wall seconds of the second run of two; on a GPU ``work`` waits for it."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds_of_step(model: MlGleModel, options: LearnOptions) -> float:
    """Return wall seconds that a step of one trajectory among those of the model's history takes."""
    n_trajectories = model.history.shape[1]

    def work(n_blocks: int) -> None:
        motion = MlGleMotion(
            model, model.history, 1, n_trajectories, device=options.device, threads=options.threads
        )  # fmt: skip
        for _ in motion.advance(n_blocks * BLOCK):
            pass

    few, many = seconds_of(lambda: work(1)), seconds_of(lambda: work(1 + _BLOCKS))
    return max(many - few, 0.1 * many) / (_BLOCKS * BLOCK) / n_trajectories
