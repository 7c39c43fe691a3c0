"""Online training of the modes' dynamics by preset ``default``: a mutable estimator that yields frozen models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64, Frames, ModeReport
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import choose_core, estimable_order, fit_core
from mlgle_lammps.surrogates.ml_gle.best_weights import BestWeights
from mlgle_lammps.surrogates.ml_gle.calibration import Calibration, calibrate
from mlgle_lammps.surrogates.ml_gle.coupled_noise import CoupledNoise, find_coupling
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.judging import conserved, judge_networks
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore
from mlgle_lammps.surrogates.ml_gle.long_lived import reach_beyond
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.shared_training import SharedTrainer, residual_trainer
from mlgle_lammps.surrogates.ml_gle.training_frames import LEAST_TARGETS, TrainingFrames, prepare_frames

logger = logging.getLogger("mlgle")

_ONLINE_WIDTH = 0.2


@dataclass(frozen=True)
class TrainOptions:
    """How the modes' dynamics are learned.

    Attributes:
        memory: m, frames.
        train_frames: T_train.
        val_frames: T_val.
        device: torch device name; of several the one that leads.
        seed: of weights and batches.
        networks: False leaves the linear core alone.
        learning_rate: of the networks.
        weight_decay: of the networks (AdamW).
        batch: targets per update; every target serves all modes.
        updates_per_round: gradient steps of an online round.
        max_updates: of the final training.
        evaluate_every: updates between two evaluations on the stopping targets.
        patience: evaluations without improvement.
        keep_at: a network is kept where it betters the core's held-out likelihood by this many standard errors.
        beside: further devices, which train the networks of their share of the modes.
        coupled: whether the modes' noise is coupled as far as it goes together.
    """

    memory: int = 128
    train_frames: int = 1000
    val_frames: int = 600
    device: str = "cpu"
    seed: int = 1
    networks: bool = True
    learning_rate: float = 2e-3
    weight_decay: float = 10.0
    batch: int = 2048
    updates_per_round: int = 10
    max_updates: int = 600
    evaluate_every: int = 25
    patience: int = 6
    keep_at: float = 2.5
    beside: tuple[str, ...] = ()
    coupled: bool = True


class ModeTrainer:
    """Learn all modes' dynamics from a growing window; deterministic for equal frames, seed and threads.

    Args:
        options: how.
        on_round: hears of progress; a dictionary with "stage", "frames", "updates".
        should_stop: asked between updates; True ends training with the best weights so far.
    """

    def __init__(
        self,
        options: TrainOptions,
        on_round: Callable[[JsonObject], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self._options = options
        self._on_round = on_round or (lambda info: logger.debug("training: %s", info))
        self._should_stop = should_stop or (lambda: False)
        self._device = torch.device(options.device)
        self._devices = (self._device, *map(torch.device, options.beside))
        self._residual: ResidualTrainer | SharedTrainer | None = None

    def partial_fit(self, window: Frames) -> None:
        """Make one online round on the frames so far: refit the core, then a fixed number of network updates."""
        options = self._options
        frames = self._prepare(window)
        if options.networks and len(frames.targets.train) >= LEAST_TARGETS:
            core = _plain_core(frames, options.memory, frames.n_train)
            data = ResidualData(frames, core, equivariant.Architecture.within(options.memory))
            self._residual_trainer(data).update(data, options.updates_per_round)
        self._tell("round", frames)

    def finish(self, window: Frames) -> ModeModel:
        """Train to the end on the frames there are and return the model of all modes."""
        frames = self._prepare(window)
        if len(frames.targets.judge) == 0 or len(frames.targets.train) == 0:
            return self._unjudged(frames)
        return self._judged(frames)

    def _prepare(self, window: Frames) -> TrainingFrames:
        options = self._options
        return prepare_frames(
            window, options.memory, options.train_frames, options.val_frames, self._device, may_split_chains=False
        )

    def _tell(self, stage: str, frames: TrainingFrames) -> None:
        updates = self._residual.n_updates if self._residual else 0
        self._on_round({"stage": stage, "frames": len(frames.y), "updates": updates})

    def _residual_trainer(self, data: ResidualData) -> ResidualTrainer | SharedTrainer:
        if self._residual is None:
            options = self._options
            self._residual = residual_trainer(
                equivariant.Architecture.within(options.memory), data.frames.n_modes, self._devices, options.seed,
                options.learning_rate, options.weight_decay, options.batch,
            )  # fmt: skip
            self._residual.measure(data)
        return self._residual

    def _unjudged(self, frames: TrainingFrames) -> ModeModel:
        """Return the linear core alone where no frames are left to judge by."""
        memory, n_frames = self._options.memory, len(frames.y)
        note = (
            f"{n_frames} frames hold no validation window of memory {memory}: the order of the linear core "
            "was not chosen by likelihood and no network was trained"
        )
        core = _plain_core(frames, memory, n_frames)
        return self._model(frames, core, None, _unjudged_reports(core), [note])

    def _judged(self, frames: TrainingFrames) -> ModeModel:
        """Return the core of best held-out likelihood, with the networks that better it and hold when generating."""
        options = self._options
        y, n_train = frames.y.cpu().numpy(), frames.n_train
        choice = choose_core(y, frames.segments, n_train, options.memory)
        max_order = estimable_order(frames.segments[:n_train], options.memory)
        train_core = fit_core(y[:n_train], frames.segments[:n_train], choice.orders, choice.widths, max_order)
        whole_core = fit_core(y, frames.segments, choice.orders, choice.widths, max_order)
        final_core, widths, notes = reach_beyond(whole_core, choice.widths, y, frames.segments, n_train, options.memory)
        self._tell("core", frames)
        architecture = equivariant.Architecture.within(options.memory)
        data = ResidualData(frames, train_core, architecture)
        best = self._train_residual(data) if options.networks else None
        tensors = best.weights() | self._residual.scales if best and self._residual else None
        gain, gain_se, core_value, kept = judge_networks(data, tensors, options.keep_at)
        calibration = None
        if kept and tensors is not None:
            tensors = conserved(ResidualData(frames, whole_core, architecture), tensors, kept)
            calibration = calibrate(final_core, Networks(tuple(kept), architecture, tensors), frames.y, options.seed)
            notes += calibration.notes
            self._tell("calibrated", frames)
        networks = calibration.networks if calibration else None
        core_value = core_value + _increment_offset(frames, train_core)
        reports = _reports(final_core, widths, networks, core_value, (gain, gain_se), calibration)
        if best is not None and bool(best.broken.any()):
            lost = [j + 1 for j in torch.nonzero(best.broken).flatten().tolist()]
            notes.append(f"training was not finite for modes {lost}; their last finite weights were judged")
        coupling = find_coupling(frames.y, frames.segments, whole_core) if options.coupled else None
        return self._model(frames, final_core, networks, reports, notes, coupling)

    def _train_residual(self, data: ResidualData) -> BestWeights:
        options = self._options
        trainer = self._residual_trainer(data)
        trainer.measure(data)
        with Progress("learn", options.max_updates, "updates at most") as progress:
            best = trainer.train(
                data, options.max_updates, options.evaluate_every, options.patience, self._should_stop, progress.advance
            )
        self._tell("networks", data.frames)
        return best

    def _model(
        self,
        frames: TrainingFrames,
        core: LinearCore,
        networks: Networks | None,
        reports: tuple[ModeReport, ...],
        notes: list[str],
        coupling: CoupledNoise | None = None,
    ) -> ModeModel:
        self._tell("done", frames)
        sigmas = frames.sigma, frames.sigma_increment
        memory = max(self._options.memory, *core.orders)
        return ModeModel(memory, *sigmas, core, networks, reports, tuple(notes), coupling)


def _number(value: float) -> float | None:
    """Return a JSON number, None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def _plain_core(frames: TrainingFrames, memory: int, n_frames: int) -> LinearCore:
    """Return the smoothed core of the greatest estimable order, without a choice by likelihood."""
    segments = frames.segments[:n_frames]
    order = estimable_order(segments, memory)
    n_modes = frames.n_modes
    y = frames.y[:n_frames].cpu().numpy()
    return fit_core(y, segments, (order,) * n_modes, (_ONLINE_WIDTH,) * n_modes, order)


def _reports(
    core: LinearCore,
    widths: tuple[float, ...],
    networks: Networks | None,
    core_nll: Float64,
    gains: tuple[Float64, Float64],
    calibration: Calibration | None,
) -> tuple[ModeReport, ...]:
    """Return what is known of each mode; ``gains`` are the networks' in NLL over the core, with standard errors."""
    reports, with_network = [], networks.modes if networks else ()
    for j, order in enumerate(core.orders):
        has_network, value = j in with_network, core_nll[j]
        details = {
            "order": int(order), "smoothing": float(widths[j]), "network": has_network,
            "network_gain": _number(gains[0][j]), "network_gain_se": _number(gains[1][j]),
        }  # fmt: skip
        if calibration and has_network:
            details["calibrated_variance_ratio"] = calibration.variance_ratio[j]
            details["calibrated_rate_ratio"] = calibration.rate_ratio[j]
        model, nll = (f"AR({order})+network", value - gains[0][j]) if has_network else (f"AR({order})", value)
        reports.append(ModeReport(j + 1, model, float(nll), float(value), details))
    return tuple(reports)


def _unjudged_reports(core: LinearCore) -> tuple[ModeReport, ...]:
    nan = float("nan")
    return tuple(
        ModeReport(j + 1, f"AR({order})", nan, nan, {"order": int(order), "network": False})
        for j, order in enumerate(core.orders)
    )


def _increment_offset(frames: TrainingFrames, core: LinearCore) -> Float64:
    """Return what turns NLL in units of s into NLL of standardized increments: d log(s σ_z/σ_Δz), per mode."""
    scale = np.sqrt(core.innovation_variance) * frames.sigma / frames.sigma_increment
    return frames.y.shape[3] * np.log(scale)
