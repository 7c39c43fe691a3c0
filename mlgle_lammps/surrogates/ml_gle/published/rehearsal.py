"""How long learning and generating will take with the published networks."""

from __future__ import annotations

import numpy as np
import torch

from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.published import network
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedOptions, PublishedTrainer
from mlgle_lammps.surrogates.ml_gle.stand_ins import joined_up, made_up_frames, seconds_of, seconds_of_step

_UPDATES = 3
_CHAINS = 100
_TRAJECTORIES = 30
"""That are generated at most; a step takes nearly as long for each as among many."""


def stand_in(n_modes: int, memory: int, n_trajectories: int) -> MlGleModel:
    """Return a model of made-up modes with untrained networks, whose steps are too small to lead anywhere."""
    sigma, generator = np.ones(n_modes), torch.Generator().manual_seed(1)
    weights = network.initial_weights(memory, n_modes, generator)
    return joined_up(PublishedModes(memory, sigma, 1e-4 * sigma, weights), n_trajectories)


def seconds(n_chains: int, n_modes: int, options: LearnOptions, device: torch.device) -> tuple[float, float, float]:
    """Return seconds of the final training at most, and twice those of a step of one trajectory."""
    training = PublishedOptions(memory=options.memory)
    frames = made_up_frames(min(n_chains, _CHAINS), n_modes, options.memory, device)
    trainer = PublishedTrainer(options.memory, n_modes, device, 1, training.learning_rate, training.batch)

    def work() -> None:
        trainer.round(frames, _UPDATES)
        trainer.weights["b1"].sum().item()  # waits for a GPU

    update = seconds_of(work) / _UPDATES
    targets = max(1, options.train_frames - options.memory) * n_chains
    step = seconds_of_step(stand_in(n_modes, options.memory, min(options.ensemble, _TRAJECTORIES)), options)
    return training.epochs * update * targets / training.batch, step, step
