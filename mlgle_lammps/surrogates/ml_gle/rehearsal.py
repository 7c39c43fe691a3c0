"""How long learning and generating will take, by doing a little of both on this machine with made-up frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mlgle_lammps.options.learn import TRAINED_CHAINS, LearnOptions
from mlgle_lammps.resources.compute import resolve_device
from mlgle_lammps.resources.progress import format_seconds
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.calibration import MOST_TRAJECTORY_STEPS
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.mode_trainer import TrainOptions
from mlgle_lammps.surrogates.ml_gle.published import rehearsal as published
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.stand_ins import (
    made_up_frames,
    seconds_of,
    seconds_of_step,
    stand_in,
    stand_in_core,
)

_UPDATES = 3
_CHAINS = 100
_TRAJECTORIES = 300
"""That are generated at most."""


@dataclass(frozen=True)
class Rehearsal:
    """Seconds that will be taken.

    Attributes:
        learning: of the final training, at most.
        generating: with linear cores alone, and with networks on all modes; the same twice where all modes have one.
    """

    learning: float
    generating: tuple[float, float]


def rehearse(n_chains: int, n_modes: int, options: LearnOptions) -> Rehearsal:
    """Return how long it will take with these options: a few updates and a few steps are timed and multiplied."""
    trained, device = min(n_chains, TRAINED_CHAINS), resolve_device(options.device)
    learning, least, full = _OF_PRESET[options.preset](trained, n_modes, options, device)
    generated = options.generate_steps * options.ensemble
    return Rehearsal(learning, (generated * least, generated * full))


def rehearsal_line(rehearsal: Rehearsal, options: LearnOptions) -> str:
    """Return it for people."""
    learning = f"learning at the end: {format_seconds(rehearsal.learning)} at most on this machine"
    if not options.generate_steps:
        return learning
    least, full = rehearsal.generating
    low, high = format_seconds(least), format_seconds(full)
    networks = high if least == full else f"{low} with linear cores alone to {high} with all networks"
    return f"{learning}; generating: {networks}"


def _seconds(
    n_chains: int, n_modes: int, options: LearnOptions, device: torch.device
) -> tuple[float, float, float]:  # fmt: skip
    """Return seconds of the final training at most, and of a step of one trajectory without and with networks."""
    training = TrainOptions(memory=options.memory)
    update = _seconds_of_update(min(n_chains, _CHAINS), n_modes, training, device)
    trajectories = min(options.ensemble, _TRAJECTORIES)
    full, cores = (
        seconds_of_step(stand_in(n_modes, options.memory, trajectories, networks), options)
        for networks in (True, False)
    )
    least = min(full, cores)
    return training.max_updates * update + MOST_TRAJECTORY_STEPS * (least + full), least, full


_OF_PRESET = {ModeModel.preset: _seconds, PublishedModes.preset: published.seconds}


def _seconds_of_update(n_chains: int, n_modes: int, options: TrainOptions, device: torch.device) -> float:
    frames = made_up_frames(n_chains, n_modes, options.memory, device)
    architecture = equivariant.Architecture.within(options.memory)
    data = ResidualData(frames, stand_in_core(n_modes, options.memory), architecture)
    trainer = ResidualTrainer(
        architecture, n_modes, device, 1, options.learning_rate, options.weight_decay, options.batch
    )
    trainer.measure(data)

    def work() -> None:
        trainer.update(data, _UPDATES)
        trainer.mean["b1"].sum().item()  # waits for a GPU

    return seconds_of(work) / _UPDATES
