"""The trainer of ML-GLE: the modes' dynamics by the preset, joined at the end with the GLE fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Protocol

import numpy as np

from mlgle_lammps.chains.laplacian import groups_of, modes_taken
from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.errors import RunFailure
from mlgle_lammps.options.learn import TRAINED_CHAINS, LearnOptions
from mlgle_lammps.records import Frames, GleFit, System
from mlgle_lammps.resources.compute import resolve_devices
from mlgle_lammps.statistics.centre_tie import centre_tie
from mlgle_lammps.surrogates.ml_gle import NAME
from mlgle_lammps.surrogates.ml_gle.fast_modes import find_fast
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.pooled import PooledTrainer
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedModeTrainer, PublishedOptions
from mlgle_lammps.surrogates.ml_gle.tie import find_tie
from mlgle_lammps.surrogates.recorded import require_channels, uninterrupted_end


class DynamicsTrainer(Protocol):
    """What learns the modes' dynamics."""

    def partial_fit(self, window: Frames) -> None:
        """Make one online round on the frames so far."""
        ...

    def finish(self, window: Frames) -> ModeModel | PublishedModes:
        """Train to the end on the frames there are."""
        ...


def _default(
    options: LearnOptions, devices: tuple[str, ...], system: System, should_stop: Callable[[], bool]
) -> DynamicsTrainer:
    how = TrainOptions(
        options.memory, options.train_frames, options.val_frames, devices[0], options.seed, beside=devices[1:]
    )
    own = system.species[0]
    groups = groups_of(np.array(own.eigenvalues[: modes_taken(options.modes, own)]))
    if any(len(group) > 1 for group in groups):
        return PooledTrainer(how, groups, should_stop=should_stop)
    return ModeTrainer(how, should_stop=should_stop)


def _published(
    options: LearnOptions, devices: tuple[str, ...], system: System, should_stop: Callable[[], bool]
) -> DynamicsTrainer:
    how = PublishedOptions(options.memory, options.train_frames, options.val_frames, devices[0], options.seed)
    return PublishedModeTrainer(how, should_stop=should_stop)


_OF_PRESET = {ModeModel.preset: _default, PublishedModes.preset: _published}


class MlGleTrainer:
    """Learn all modes' dynamics from a growing window, α and β from the fit (a Trainer).

    Args:
        options: preset, memory, frames, device and seed.
        system: of the frames, whose columns are those of its free directions.
        fit: returns the last GLE fit; asked when training is finished.
        should_stop: asked between updates; True ends training with the best weights so far.
    """

    needs: ClassVar[tuple[str, ...]] = ("com", "modes")

    def __init__(
        self,
        options: LearnOptions,
        system: System,
        fit: Callable[[], GleFit | None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._memory, self._system, self._fit = options.memory, system, fit
        self._dynamics = _OF_PRESET[options.preset](
            options, tuple(map(str, resolve_devices(options.device))), system, should_stop
        )

    def partial_fit(self, window: Frames) -> None:
        """Make one online round on the frames so far.

        Raises:
            UserError: frames without centres of mass or modes.
        """
        require_channels(window, self.needs, NAME)
        self._dynamics.partial_fit(some_chains(window))

    def finish(self, window: Frames) -> MlGleModel:
        """Train to the end on the frames there are and return the model.

        Raises:
            UserError: frames without centres of mass or modes, or without one uninterrupted history.
            RunFailure: there is no fit.
        """
        require_channels(window, self.needs, NAME)
        uninterrupted_end(window, self._memory)  # before training, which would be in vain
        learned_from = some_chains(window)
        dynamics = self._dynamics.finish(learned_from)
        if (n := learned_from.modes.shape[1]) < (n_chains := window.modes.shape[1]):
            note = f"the modes' dynamics were learned from {n} of {n_chains} chains, D from all"
            dynamics = replace(dynamics, notes=(note, *dynamics.notes))
        history = uninterrupted_end(window, dynamics.memory).modes[-dynamics.memory :].copy()
        fit, system = self._fit(), self._system
        if fit is None:
            raise RunFailure(f"{system.source}: no GLE could be fitted, and without one nothing can be generated")
        tie = find_tie(fit, centre_tie(window), spectrum_of(system)) if dynamics.core is not None else None
        fast = find_fast(fit, dynamics.core, dynamics.sigma)
        return MlGleModel(
            dynamics, alpha=float(np.sqrt(max(fit.alpha_sq, 0.0))), beta_sq=fit.beta_sq, dt=system.dt,
            time_unit=system.time_unit, length_unit=system.length_unit, history=history, directions=system.directions,
            tie=tie, fast=fast,
        )  # fmt: skip


def some_chains(window: Frames) -> Frames:
    """Return the frames of at most ``TRAINED_CHAINS`` evenly spaced chains, as a view.

    Training cannot use more: its updates see some 10^6 targets in all, and a thousand chains hold that many. Its memory
    and time then stop growing with the chains.
    """
    stride = -(-window.modes.shape[1] // TRAINED_CHAINS)
    return window.molecules(slice(None, None, stride))
