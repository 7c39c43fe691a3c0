"""Training of the published networks (JCP 3.3, 4.4): Adam 1e-4, batches of 128, early stopping; modes as one batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Frames, ModeReport
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.surrogates.ml_gle.best_weights import BestWeights
from mlgle_lammps.surrogates.ml_gle.captured import RepeatedStep, optimizer_tensors, take_step
from mlgle_lammps.surrogates.ml_gle.published import network
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.training_frames import LEAST_TARGETS, TrainingFrames, prepare_frames

logger = logging.getLogger("mlgle")

_EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class PublishedOptions:
    """How the modes' dynamics are learned.

    Attributes:
        memory: m, frames.
        train_frames: T_train.
        val_frames: T_val.
        device: torch device name.
        seed: of weights and batches.
        updates_per_round: gradient steps of an online round.
        patience: epochs without improvement.
        learning_rate: JCP 4.4.
        batch: JCP 4.4.
        epochs: at most.
    """

    memory: int = 128
    train_frames: int = 1000
    val_frames: int = 600
    device: str = "cpu"
    seed: int = 1
    updates_per_round: int = 10
    patience: int = 6
    learning_rate: float = 1e-4
    batch: int = 128
    epochs: int = 100


class PublishedModeTrainer:
    """Learn all modes' dynamics from a growing window; deterministic for equal frames, seed and threads.

    Args:
        options: how.
        on_round: hears of progress; a dictionary with "stage", "frames", "updates".
        should_stop: asked between updates; True ends training with the best weights so far.
    """

    def __init__(
        self,
        options: PublishedOptions,
        on_round: Callable[[JsonObject], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self._options = options
        self._on_round = on_round or (lambda info: logger.debug("training: %s", info))
        self._should_stop = should_stop or (lambda: False)
        self._networks: PublishedTrainer | None = None

    def partial_fit(self, window: Frames) -> None:
        """Make one online round on the frames so far: a fixed number of network updates."""
        frames = self._prepare(window)
        if len(frames.targets.train) >= LEAST_TARGETS:
            self._trainer(frames).round(frames, self._options.updates_per_round)
        self._tell("round", frames)

    def finish(self, window: Frames) -> PublishedModes:
        """Train to the end on the frames there are and return the model of all modes.

        Raises:
            UserError: the frames hold no window to train on.
        """
        options, frames, notes = self._options, self._prepare(window), []
        if len(frames.targets.train) == 0:
            raise UserError(
                f"{len(frames.y)} frames of {frames.n_chains} chains hold no window of memory {options.memory} to "
                "train the published networks on: record more frames or lower `memory`"
            )
        trainer, judge = self._trainer(frames), frames.targets.judge
        if len(judge) == 0:
            notes.append("no validation windows: the published networks were trained without early stopping")

        def on_epoch(epoch: int, value: torch.Tensor) -> None:
            progress.advance()
            logger.debug("published networks: epoch %d, validation %s", epoch, value.tolist())
            self._tell(f"epoch {epoch}", frames)

        with Progress("learn", options.epochs, "epochs at most") as progress:
            best = trainer.train(frames, options.epochs, options.patience, self._should_stop, on_epoch)
        if bool(best.broken.any()):
            lost = [j + 1 for j in torch.nonzero(best.broken).flatten().tolist()]
            notes.append(f"the published loss was not finite for modes {lost}; their last finite best weights are used")
        trainer.weights = best.weights()
        values = trainer.nll(frames, judge if len(judge) else frames.targets.train).mean(1).tolist()
        reports = tuple(
            ModeReport(j + 1, "published MLP", float(v), float("nan"), {"network": True}) for j, v in enumerate(values)
        )
        tensors = {name: w.cpu() for name, w in best.weights().items()}
        self._tell("done", frames)
        return PublishedModes(options.memory, frames.sigma, frames.sigma_increment, tensors, reports, tuple(notes))

    def _prepare(self, window: Frames) -> TrainingFrames:
        options = self._options
        device = torch.device(options.device)
        return prepare_frames(
            window, options.memory, options.train_frames, options.val_frames, device, may_split_chains=True
        )

    def _trainer(self, frames: TrainingFrames) -> PublishedTrainer:
        if self._networks is None:
            options = self._options
            self._networks = PublishedTrainer(
                options.memory, frames.n_modes, torch.device(options.device), options.seed, options.learning_rate,
                options.batch,
            )  # fmt: skip
        return self._networks

    def _tell(self, stage: str, frames: TrainingFrames) -> None:
        updates = self._networks.n_updates if self._networks else 0
        self._on_round({"stage": stage, "frames": len(frames.y), "updates": updates})


class PublishedTrainer:
    """Weights of all modes' published networks with their optimizer; lives through the online rounds."""

    def __init__(
        self, memory: int, n_modes: int, device: torch.device, seed: int, learning_rate: float, batch: int
    ) -> None:
        self._memory, self._batch = memory, batch
        self._generator = torch.Generator().manual_seed(seed)
        weights = network.initial_weights(memory, n_modes, self._generator)
        self.weights = {name: w.to(device).requires_grad_(True) for name, w in weights.items()}
        self._optimizer = torch.optim.Adam(list(self.weights.values()), lr=learning_rate, fused=True)
        self._step = RepeatedStep(self._gradient_step, self._changed)
        self.n_updates = 0

    def losses(self, frames: TrainingFrames, index: torch.Tensor) -> torch.Tensor:
        """Return JCP eq. 21 of every sample, (network, sample)."""
        offsets = torch.arange(-self._memory, 0, device=index.device)[:, None] * frames.n_chains
        rotated, frame = network.rotate_history(frames.rows(index[None] + offsets))
        ratio = frames.increment_ratio[:, None, None]
        increment = (frames.rows(index) - frames.rows(index - frames.n_chains)) * ratio
        target = (frame @ increment.unsqueeze(-1)).squeeze(-1)
        return network.loss(target, *network.evaluate(self.weights, rotated))

    def update(self, frames: TrainingFrames, index: torch.Tensor) -> None:
        """Make one gradient step on the targets ``index``."""
        self._step(frames, index)
        self.n_updates += 1

    def _gradient_step(self, frames: TrainingFrames, index: torch.Tensor) -> None:
        """Step down the gradient, without host synchronisation on a GPU."""
        per_network = self.losses(frames, index).mean(1)
        finite = torch.isfinite(per_network)
        self._optimizer.zero_grad(set_to_none=True)
        torch.where(finite, per_network, torch.zeros_like(per_network)).sum().backward()
        for weight in self.weights.values():
            if weight.grad is not None:
                weight.grad.nan_to_num_(0.0, 0.0, 0.0)
        take_step(self._optimizer)

    def _changed(self) -> list[torch.Tensor]:
        return [*self.weights.values(), *optimizer_tensors(self._optimizer)]

    def round(self, frames: TrainingFrames, n_updates: int) -> None:
        """Make ``n_updates`` gradient steps on random batches."""
        train = frames.targets.train
        size = (n_updates, min(self._batch, len(train)))
        for pick in train[torch.randint(len(train), size, generator=self._generator).to(train.device)]:
            self.update(frames, pick)

    def train(
        self, frames: TrainingFrames, max_epochs: int, patience: int, should_stop: Callable[[], bool],
        on_epoch: Callable[[int, torch.Tensor], None],
    ) -> BestWeights:  # fmt: skip
        """Train in shuffled epochs until no mode's validation loss improves; return the best weights of each mode."""
        train = frames.targets.train
        validation = torch.unique(torch.cat([frames.targets.stop, frames.targets.judge]))
        best = BestWeights(self.weights, self.nll(frames, validation if len(validation) else train).mean(1))
        for epoch in range(max_epochs):
            order = torch.randperm(len(train), generator=self._generator).to(train.device)
            for piece in order.split(self._batch):
                if should_stop():
                    break
                self.update(frames, train[piece])
            value = self.nll(frames, validation if len(validation) else train).mean(1)
            best.offer(self.weights, value)
            on_epoch(epoch + 1, value)
            if should_stop() or best.exhausted(patience):
                break
        self._step.release()
        return best

    def nll(self, frames: TrainingFrames, index: torch.Tensor) -> torch.Tensor:
        """Return the full Gaussian NLL of standardized increments, (network, sample), nats per 3D frame."""
        with torch.no_grad():
            losses = torch.cat([self.losses(frames, piece) for piece in index.split(_EVALUATION_BATCH)], dim=1)
        return 0.5 * losses + 1.5 * math.log(2 * math.pi)
