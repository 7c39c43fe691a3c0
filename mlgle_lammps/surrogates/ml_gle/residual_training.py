"""Training of the equivariant networks on top of a linear core, all modes as one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.best_weights import BestWeights, clip_each
from mlgle_lammps.surrogates.ml_gle.captured import RepeatedStep, optimizer_tensors, take_step
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, predict
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames

_LOG_2PI = math.log(2 * math.pi)
_EVALUATION_BATCH = 4096
_REPRESENTATIVES = 20_000
_SAMPLES_PER_THREAD = 512


@dataclass(frozen=True)
class Samples:
    """Inputs and targets of some frames.

    Attributes:
        basis: (network, basis, d, sample).
        activity: (network, window, sample).
        target: y_t less the core's mean, in units of s, (network, d, sample).
    """

    basis: torch.Tensor
    activity: torch.Tensor
    target: torch.Tensor


class ResidualData:
    """Frames with what the core makes of them, from which batches are gathered."""

    def __init__(self, frames: TrainingFrames, core: LinearCore, architecture: equivariant.Architecture) -> None:
        self.frames, self.core, self.architecture = frames, core, architecture
        y = frames.y
        self._scale = torch.as_tensor(core.innovation_variance, device=y.device).sqrt().to(y.dtype)[:, None, None]
        self._core = predict(core, y).reshape(-1, frames.n_modes * y.shape[3])
        self._lags = torch.tensor(architecture.lags, device=y.device, dtype=torch.int64)
        squares = torch.zeros(y.shape[:3], dtype=torch.float64, device=y.device)
        squares[1:] = y.diff(dim=0).square().sum(-1)
        total = torch.cat([torch.zeros_like(squares[:1]), squares.cumsum(0)])
        means = []
        for w in architecture.windows:  # at t: frames t - w .. t - 1
            mean = torch.zeros_like(squares)
            mean[w:] = (total[w:-1] - total[: len(squares) - w]) / w
            means.append(mean)
        n_rows = len(self._core)
        stacked = torch.stack(means, -1) if means else squares.new_zeros(*squares.shape, 0)
        self._activity = stacked.to(y.dtype).reshape(n_rows, -1)

    def gather(self, index: torch.Tensor) -> Samples:
        """Return the samples at flat target indices."""
        frames, n = self.frames, len(index)
        last = index - frames.n_chains
        earlier = last[None] - self._lags[:, None] * frames.n_chains
        core = self._core.index_select(0, index).reshape(n, frames.n_modes, -1).permute(1, 2, 0)
        last_rows, earlier_rows = frames.rows(last).mT, frames.rows(earlier).mT
        basis = equivariant.make_basis(last_rows, earlier_rows, core)
        activity = self._activity.index_select(0, index).reshape(n, frames.n_modes, -1).permute(1, 2, 0)
        return Samples(basis, activity, (frames.rows(index).mT - core) / self._scale)

    def representatives(self, index: torch.Tensor) -> Samples:
        """Return at most 20,000 evenly spaced samples of ``index``."""
        return self.gather(index[:: max(1, -(-len(index) // _REPRESENTATIVES))])


def sample_nll(tensors: equivariant.Tensors, samples: Samples, learned_only: bool = False) -> torch.Tensor:
    """Return -log N(y_t | core + s r, s² exp(v)) + d log s, (network, sample), nats per frame of d components."""
    residual, log_variance = equivariant.evaluate(tensors, samples.basis, samples.activity, learned_only)
    square = (samples.target - residual).square().sum(1)
    half = samples.target.shape[1] / 2
    return 0.5 * square * torch.exp(-log_variance) + half * (log_variance + _LOG_2PI)


def core_nll(samples: Samples) -> torch.Tensor:
    """Return the same for the core alone, r = v = 0."""
    return 0.5 * samples.target.square().sum(1) + samples.target.shape[1] / 2 * _LOG_2PI


def over_targets(data: ResidualData, index: torch.Tensor, nll: Callable[[Samples], torch.Tensor]) -> torch.Tensor:
    """Return ``nll`` of all samples of ``index``, (network, sample)."""
    with torch.no_grad():
        return torch.cat([nll(data.gather(piece)) for piece in index.split(_EVALUATION_BATCH)], dim=1)


def drawn(train: torch.Tensor, n_updates: int, batch: int, generator: torch.Generator) -> torch.Tensor:
    """Return places in the training targets, (update, sample), drawn on the CPU."""
    return torch.randint(len(train), (n_updates, min(batch, len(train))), generator=generator)


class ResidualTrainer:
    """Weights of all modes' networks with their optimizer; lives through the online rounds.

    Evaluation and the final weights use a running mean of the weights, which takes the noise out of early stopping.
    The decay is strong: Adam's steps are at most the learning rate, so it bounds every weight by 1/weight_decay, and
    those that the data do not pull one way by less. Without it thousands of weights fit the noise within 100 updates.
    """

    def __init__(
        self, architecture: equivariant.Architecture, n_modes: int, device: torch.device, seed: int,
        learning_rate: float, weight_decay: float, batch: int, averaging: float = 0.98,
        weights: equivariant.Tensors | None = None,
    ) -> None:  # fmt: skip
        self.architecture = architecture
        self._generator = torch.Generator().manual_seed(seed)
        if weights is None:
            weights = equivariant.initial_weights(architecture, n_modes, self._generator)
        self.weights = {name: w.clone().to(device).requires_grad_(True) for name, w in weights.items()}
        self.mean = {name: w.detach().clone() for name, w in self.weights.items()}
        self.scales = {n: s.to(device) for n, s in equivariant.neutral_scales(architecture, n_modes).items()}
        self._optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        self._batch, self._averaging = batch, averaging
        self._step = RepeatedStep(self._gradient_step, self._changed)
        self.n_updates = 0

    def measure(self, data: ResidualData) -> None:
        """Set the scales of the invariants from the training targets."""
        self._step.release()  # it has captured the scales of before
        samples = data.representatives(data.frames.targets.train)
        equivariant.measure_scales(self.scales, samples.basis, samples.activity)

    def update(self, data: ResidualData, n_updates: int) -> None:
        """Make gradient steps on random batches of the training targets."""
        train = data.frames.targets.train
        for pick in train[drawn(train, n_updates, self._batch, self._generator).to(train.device)]:
            self.step(data, pick)

    def step(self, data: ResidualData, pick: torch.Tensor) -> None:
        """Make a gradient step on the targets ``pick``."""
        self._step(data, pick)
        self.n_updates += 1

    def _gradient_step(self, data: ResidualData, pick: torch.Tensor) -> None:
        """Step down the gradient at the targets ``pick``, without host synchronisation on a GPU."""
        self._optimizer.zero_grad(set_to_none=True)
        for piece in pick.split(self._at_once()):
            values = sample_nll(self.weights | self.scales, data.gather(piece), learned_only=True)
            (values.sum() / len(pick)).backward()
        clip_each(self.weights, 1.0)
        take_step(self._optimizer)
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.mean[name].lerp_(weight, 1 - self._averaging)

    def _changed(self) -> list[torch.Tensor]:
        return [*self.weights.values(), *self.mean.values(), *optimizer_tensors(self._optimizer)]

    def _at_once(self) -> int:
        """Return how many samples' gradients are taken at once: on a GPU all, on a CPU what leaves MD its cache."""
        on_cpu = next(iter(self.weights.values())).device.type == "cpu"
        return _SAMPLES_PER_THREAD * torch.get_num_threads() if on_cpu else self._batch

    def train(
        self, data: ResidualData, max_updates: int, every: int, patience: int, should_stop: Callable[[], bool],
        on_updates: Callable[[int], None] = lambda n: None,
    ) -> BestWeights:  # fmt: skip
        """Train until no mode's network improves on the ``stop`` targets; return the best weights of each mode."""
        best = BestWeights(self.mean, self.evaluate(data))
        for _ in range(0, max_updates, every):
            if should_stop() or best.exhausted(patience):
                break
            self.update(data, every)
            best.offer(self.mean, self.evaluate(data))
            on_updates(every)
        self.release()
        return best

    def release(self) -> None:
        """Let go of data and captured steps."""
        self._step.release()

    def evaluate(self, data: ResidualData) -> torch.Tensor:
        """Return the mean held-out value of each network, (network,)."""
        tensors = self.mean | self.scales
        return over_targets(data, data.frames.targets.stop, lambda s: sample_nll(tensors, s, True)).mean(1)
