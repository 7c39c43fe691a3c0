"""Online training of the modes' dynamics: a mutable estimator that yields frozen models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlgle_lammps.records import Float64, Frames, ModeReport
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import choose_core, estimable_order, fit_core, relaxation_lags
from mlgle_lammps.surrogates.ml_gle.best_weights import BestWeights
from mlgle_lammps.surrogates.ml_gle.calibration import calibrate
from mlgle_lammps.surrogates.ml_gle.judging import conserved, judge_networks
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore
from mlgle_lammps.surrogates.ml_gle.published_training import PublishedTrainer
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.surrogate import ModeModel, Networks
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames, prepare_frames

logger = logging.getLogger("mlgle")

_ONLINE_WIDTH = 0.2
_LEAST_TARGETS = 256
_LONG_LIVED = 4


@dataclass(frozen=True)
class TrainOptions:
    """How the modes' dynamics are learned.

    Attributes:
        preset: "default" or "paper".
        memory: m, frames.
        train_frames: T_train.
        val_frames: T_val.
        device: torch device name.
        seed: of weights and batches.
        networks: False leaves ``default`` with its linear core alone.
        learning_rate: of ``default``'s networks.
        weight_decay: of ``default``'s networks (AdamW).
        batch: targets per update of ``default``; every target serves all modes.
        updates_per_round: gradient steps of an online round.
        max_updates: of ``default``'s final training.
        evaluate_every: updates between two evaluations on the stopping targets.
        patience: evaluations without improvement (``default``) or epochs (``paper``).
        keep_at: a network is kept where it betters the core's held-out likelihood by this many standard errors.
        paper_learning_rate: JCP 4.4.
        paper_batch: JCP 4.4.
        paper_epochs: at most.
    """

    preset: str = "default"
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
    paper_learning_rate: float = 1e-4
    paper_batch: int = 128
    paper_epochs: int = 100


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
        on_round: Callable[[dict[str, Any]], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self._options = options
        self._on_round = on_round or (lambda info: logger.debug("training: %s", info))
        self._should_stop = should_stop or (lambda: False)
        self._device = torch.device(options.device)
        self._residual: ResidualTrainer | None = None
        self._published: PublishedTrainer | None = None

    def partial_fit(self, window: Frames) -> None:
        """Make one online round on the frames so far: refit the core, then a fixed number of network updates."""
        options = self._options
        frames = self._prepare(window)
        if options.preset == "paper":
            if len(frames.targets.train) >= _LEAST_TARGETS:
                self._paper_trainer(frames).round(frames, options.updates_per_round)
        elif options.networks and len(frames.targets.train) >= _LEAST_TARGETS:
            core = _plain_core(frames, options.memory, frames.n_train)
            data = ResidualData(frames, core, equivariant.Architecture.within(options.memory))
            self._residual_trainer(data).update(data, options.updates_per_round)
        self._tell("round", frames)

    def finish(self, window: Frames) -> ModeModel:
        """Train to the end on the frames there are and return the model of all modes."""
        frames = self._prepare(window)
        if self._options.preset == "paper":
            return self._finish_paper(frames)
        return self._finish_default(frames)

    def _prepare(self, window: Frames) -> TrainingFrames:
        options = self._options
        return prepare_frames(
            window, options.memory, options.train_frames, options.val_frames, self._device, options.preset == "paper"
        )

    def _tell(self, stage: str, frames: TrainingFrames) -> None:
        trainer = self._published or self._residual
        self._on_round({"stage": stage, "frames": len(frames.y), "updates": trainer.n_updates if trainer else 0})

    def _residual_trainer(self, data: ResidualData) -> ResidualTrainer:
        if self._residual is None:
            options = self._options
            self._residual = ResidualTrainer(
                equivariant.Architecture.within(options.memory), data.frames.n_modes, self._device, options.seed,
                options.learning_rate, options.weight_decay, options.batch,
            )  # fmt: skip
            self._residual.measure(data)
        return self._residual

    def _paper_trainer(self, frames: TrainingFrames) -> PublishedTrainer:
        if self._published is None:
            options = self._options
            self._published = PublishedTrainer(
                options.memory, frames.n_modes, self._device, options.seed,
                options.paper_learning_rate, options.paper_batch,
            )  # fmt: skip
        return self._published

    def _finish_default(self, frames: TrainingFrames) -> ModeModel:
        options, notes = self._options, []
        y = frames.y.cpu().numpy()
        if len(frames.targets.judge) == 0 or len(frames.targets.train) == 0:
            notes.append(
                f"{len(y)} frames hold no validation window of memory {options.memory}: the order of the linear core "
                "was not chosen by likelihood and no network was trained"
            )
            core = _plain_core(frames, options.memory, len(y))
            return self._model(frames, core, None, _unjudged_reports(core), notes)
        choice = choose_core(y, frames.segments, frames.n_train, options.memory)
        max_order = estimable_order(frames.segments[: frames.n_train], options.memory)
        segments = frames.segments[: frames.n_train]
        train_core = fit_core(y[: frames.n_train], segments, choice.orders, choice.widths, max_order)
        final_core = fit_core(y, frames.segments, choice.orders, choice.widths, max_order)
        notes += _notes_on_memory(final_core, options.memory)
        self._tell("core", frames)
        architecture = equivariant.Architecture.within(options.memory)
        data = ResidualData(frames, train_core, architecture)
        best = self._train_residual(data) if options.networks else None
        tensors = best.weights() | self._residual.scales if best and self._residual else None
        gain, gain_se, core_value, kept = judge_networks(data, tensors, options.keep_at)
        networks, calibration = None, None
        if kept and tensors is not None:
            tensors = conserved(ResidualData(frames, final_core, architecture), tensors, kept)
            calibration = calibrate(final_core, Networks(tuple(kept), architecture, tensors), frames.y, options.seed)
            networks, kept = calibration.networks, list(calibration.networks.modes) if calibration.networks else []
            notes += calibration.notes
            self._tell("calibrated", frames)
        offset = _increment_offset(frames, train_core)
        reports = []
        for j, order in enumerate(final_core.orders):
            has_network = j in kept
            value = core_value[j] + offset[j]
            details = {
                "order": int(order), "smoothing": float(choice.widths[j]), "network": has_network,
                "network_gain": _number(gain[j]), "network_gain_se": _number(gain_se[j]),
            }  # fmt: skip
            if calibration and has_network:
                details["calibrated_variance_ratio"] = calibration.variance_ratio[j]
                details["calibrated_rate_ratio"] = calibration.rate_ratio[j]
            reports.append(
                ModeReport(
                    j + 1, f"AR({order})" + ("+network" if has_network else ""),
                    float(value - gain[j] if has_network else value), float(value), details,
                )
            )  # fmt: skip
        if best is not None and bool(best.broken.any()):
            lost = [j + 1 for j in torch.nonzero(best.broken).flatten().tolist()]
            notes.append(f"training was not finite for modes {lost}; their last finite weights were judged")
        return self._model(frames, final_core, networks, tuple(reports), notes)

    def _train_residual(self, data: ResidualData) -> BestWeights:
        options = self._options
        trainer = self._residual_trainer(data)
        trainer.measure(data)
        best = trainer.train(data, options.max_updates, options.evaluate_every, options.patience, self._should_stop)
        self._tell("networks", data.frames)
        return best

    def _finish_paper(self, frames: TrainingFrames) -> ModeModel:
        options, notes = self._options, []
        core = _plain_core(frames, options.memory, len(frames.y))
        trainer = self._paper_trainer(frames)
        if len(frames.targets.train) == 0:
            raise ValueError(f"no window of memory {options.memory} among {len(frames.y)} frames")
        judge = frames.targets.judge
        if len(judge) == 0:
            notes.append("no validation windows: the published networks were trained without early stopping")

        def on_epoch(epoch: int, value: torch.Tensor) -> None:
            logger.debug("published networks: epoch %d, validation %s", epoch, value.tolist())
            self._tell(f"epoch {epoch}", frames)

        best = trainer.train(frames, options.paper_epochs, options.patience, self._should_stop, on_epoch)
        if bool(best.broken.any()):
            lost = [j + 1 for j in torch.nonzero(best.broken).flatten().tolist()]
            notes.append(f"the published loss was not finite for modes {lost}; their last finite best weights are used")
        trainer.weights = best.weights()
        values = trainer.nll(frames, judge if len(judge) else frames.targets.train).mean(1).tolist()
        reports = tuple(
            ModeReport(j + 1, "published MLP", float(v), float("nan"), {"network": True}) for j, v in enumerate(values)
        )
        tensors = {name: w.cpu() for name, w in best.weights().items()}
        networks = Networks(tuple(range(frames.n_modes)), None, tensors)
        return self._model(frames, core, networks, reports, notes)

    def _model(
        self,
        frames: TrainingFrames,
        core: LinearCore,
        networks: Networks | None,
        reports: tuple[ModeReport, ...],
        notes: list[str],
    ) -> ModeModel:
        self._tell("done", frames)
        return ModeModel(
            self._options.preset, self._options.memory, frames.sigma, frames.sigma_increment, core, networks,
            reports, tuple(notes),
        )  # fmt: skip


def _number(value: float) -> float | None:
    """Return a JSON number, None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def _notes_on_memory(core: LinearCore, memory: int) -> list[str]:
    """Return a line where modes live so long beyond the memory that their relaxation times come out short.

    Measured on Kremer-Grest melts with shortened memory: -1% at four times the memory, -4% at 5, -6% at 9, -10% at
    11, -13% at 17, -20% at 30; exactly exponential (Rouse) modes have no such bias.
    """
    lags = relaxation_lags(core, _LONG_LIVED * memory + 1)
    slow = [j + 1 for j in np.flatnonzero(lags > _LONG_LIVED * memory)]
    if not slow:
        return []
    which = f"mode {slow[0]} lives" if len(slow) == 1 else f"modes {slow[0]} to {slow[-1]} live"
    return [
        f"{which} more than {_LONG_LIVED} times the memory of {memory} frames: relaxation times of such modes come out "
        "some per cent short (4% at five times, 10% at eleven); raise --memory for better ones"
    ]


def _plain_core(frames: TrainingFrames, memory: int, n_frames: int) -> LinearCore:
    """Return the smoothed core of the greatest estimable order, without a choice by likelihood."""
    segments = frames.segments[:n_frames]
    order = estimable_order(segments, memory)
    n_modes = frames.n_modes
    y = frames.y[:n_frames].cpu().numpy()
    return fit_core(y, segments, (order,) * n_modes, (_ONLINE_WIDTH,) * n_modes, order)


def _unjudged_reports(core: LinearCore) -> tuple[ModeReport, ...]:
    nan = float("nan")
    return tuple(
        ModeReport(j + 1, f"AR({order})", nan, nan, {"order": int(order), "network": False})
        for j, order in enumerate(core.orders)
    )


def _increment_offset(frames: TrainingFrames, core: LinearCore) -> Float64:
    """Return what turns NLL in units of s into NLL of standardized increments: 3 log(s σ_z/σ_Δz), per mode."""
    scale = np.sqrt(core.innovation_variance) * frames.sigma / frames.sigma_increment
    return 3 * np.log(scale)
