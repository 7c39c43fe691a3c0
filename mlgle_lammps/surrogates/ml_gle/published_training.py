"""Training of the published networks (JCP 3.3, 4.4): Adam 1e-4, batches of 128, early stopping; modes as one batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from mlgle_lammps.surrogates.ml_gle import published
from mlgle_lammps.surrogates.ml_gle.best_weights import BestWeights
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames

_EVALUATION_BATCH = 1024


class PublishedTrainer:
    """Weights of all modes' published networks with their optimizer; lives through the online rounds."""

    def __init__(
        self, memory: int, n_modes: int, device: torch.device, seed: int, learning_rate: float, batch: int
    ) -> None:
        self._memory, self._batch = memory, batch
        self._generator = torch.Generator().manual_seed(seed)
        weights = published.initial_weights(memory, n_modes, self._generator)
        self.weights = {name: w.to(device).requires_grad_(True) for name, w in weights.items()}
        self._optimizer = torch.optim.Adam(list(self.weights.values()), lr=learning_rate, fused=True)
        self.n_updates = 0

    def losses(self, frames: TrainingFrames, index: torch.Tensor) -> torch.Tensor:
        """Return JCP eq. 21 of every sample, (network, sample)."""
        offsets = torch.arange(-self._memory, 0, device=index.device)[:, None] * frames.n_chains
        rotated, frame = published.rotate_history(frames.rows(index[None] + offsets))
        ratio = torch.as_tensor(frames.sigma / frames.sigma_increment, device=index.device).to(rotated.dtype)
        increment = (frames.rows(index) - frames.rows(index - frames.n_chains)) * ratio[:, None, None]
        target = (frame @ increment.unsqueeze(-1)).squeeze(-1)
        return published.loss(target, *published.evaluate(self.weights, rotated))

    def update(self, frames: TrainingFrames, index: torch.Tensor) -> None:
        """Make one gradient step on the targets ``index``."""
        per_network = self.losses(frames, index).mean(1)
        finite = torch.isfinite(per_network)
        self._optimizer.zero_grad(set_to_none=True)
        torch.where(finite, per_network, torch.zeros_like(per_network)).sum().backward()
        for weight in self.weights.values():
            if weight.grad is not None:
                weight.grad.nan_to_num_(0.0, 0.0, 0.0)
        self._optimizer.step()
        self.n_updates += 1

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
        return best

    def nll(self, frames: TrainingFrames, index: torch.Tensor) -> torch.Tensor:
        """Return the full Gaussian NLL of standardized increments, (network, sample), nats per 3D frame."""
        with torch.no_grad():
            losses = torch.cat([self.losses(frames, piece) for piece in index.split(_EVALUATION_BATCH)], dim=1)
        return 0.5 * losses + 1.5 * math.log(2 * math.pi)
