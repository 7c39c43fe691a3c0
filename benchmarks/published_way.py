"""The published way of training and generating (JCP 3.1-3.4, 4.4, Algorithm 1), one mode at a time: a yardstick.

Plain PyTorch as the paper describes it: windows of m frames cut and rotated beforehand, a DataLoader with batches of
128, Adam 1e-4, and generation step by step with the history rotated position by position and then shifted.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BATCH = 128
VALIDATION_BATCH = 256
LEARNING_RATE = 1e-4


class PublishedNetwork(nn.Module):
    """3m -> 256 -> 256 -> 12 -> μ (3), L (3) and log D (3)."""

    def __init__(self, memory: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3 * memory, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        self.latent = nn.Linear(256, 12)
        self.mean, self.covariance = nn.Linear(12, 3), nn.Linear(12, 6)

    def forward(self, history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return μ, the entries of L, and log D, each (sample, 3), of rotated histories (sample, 3m)."""
        latent = self.latent(self.body(history))
        covariance = self.covariance(latent)
        return self.mean(latent), covariance[:, :3], covariance[:, 3:]


def frames_of(history: torch.Tensor) -> torch.Tensor:
    """Return R by Gram-Schmidt on the last three points, (sample, 3, 3), of histories (sample, m, 3)."""
    first = nn.functional.normalize(history[:, -1], dim=-1)
    second = history[:, -2] - (history[:, -2] * first).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(second, dim=-1)
    third = torch.linalg.cross(first, second)
    third = torch.where((history[:, -3] * third).sum(-1, keepdim=True) < 0, -third, third)
    return torch.stack([first, second, third], dim=1)


def rotate(history: torch.Tensor, frames: torch.Tensor, each_position: bool) -> torch.Tensor:
    """Return rotated histories, (sample, m, 3), position by position or all in one product."""
    if each_position:
        turned = [torch.einsum("sxy,sy->sx", frames, history[:, i]) for i in range(history.shape[1])]
        return torch.stack(turned, dim=1)
    return history @ frames.transpose(1, 2)


def nll(target: torch.Tensor, mean: torch.Tensor, lower: torch.Tensor, log_d: torch.Tensor) -> torch.Tensor:
    """Return the mean negative log-likelihood, nats per frame: half of JCP eq. 21 plus its constant."""
    difference = target - mean
    first = difference[:, 0]
    second = difference[:, 1] - lower[:, 0] * first
    third = difference[:, 2] - lower[:, 1] * first - lower[:, 2] * second
    white = torch.stack([first, second, third], dim=-1)
    loss = log_d.sum(-1) + (white.square() * torch.exp(-log_d)).sum(-1)
    return 0.5 * loss.mean() + 1.5 * math.log(2 * math.pi)


def windows(y: torch.Tensor, targets: range, memory: int, ratio: float) -> TensorDataset:
    """Return rotated histories (sample, 3m) and rotated standardized increments (sample, 3).

    Args:
        y: one mode, (time, chain, 3), standardized.
        targets: frames to be predicted.
        memory: m.
        ratio: σ_z/σ_Δz.
    """
    histories = torch.cat([y[t - memory : t].transpose(0, 1) for t in targets])
    increments = torch.cat([y[t] - y[t - 1] for t in targets]) * ratio
    frames = frames_of(histories)
    inputs = rotate(histories, frames, each_position=False).flatten(1)
    return TensorDataset(inputs, torch.einsum("sxy,sy->sx", frames, increments))


@dataclass(frozen=True)
class Epoch:
    """Where training stands.

    Attributes:
        seconds: of training since its beginning, validation included.
        updates: gradient steps.
        value: validation NLL, nats per frame.
    """

    seconds: float
    updates: int
    value: float


class Training:
    """A network with its optimizer and its shuffled batches.

    Attributes:
        network: being trained.
        updates_per_epoch: batches of the training windows.
        n_updates: gradient steps made.
    """

    def __init__(self, network: PublishedNetwork, windows: TensorDataset) -> None:
        self.network, self.n_updates = network, 0
        self._optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        self._loader = DataLoader(windows, batch_size=BATCH, shuffle=True)
        self.updates_per_epoch = len(self._loader)
        self._batches = self._without_end()

    def update(self, n_updates: int) -> None:
        """Make gradient steps, epoch after epoch."""
        self.network.train()
        for inputs, targets in itertools.islice(self._batches, n_updates):
            self._optimizer.zero_grad()
            nll(targets, *self.network(inputs)).backward()
            self._optimizer.step()
            self.n_updates += 1

    def _without_end(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from self._loader


def train(
    network: PublishedNetwork, training: TensorDataset, validation: TensorDataset, epochs: int
) -> Iterator[Epoch]:
    """Train in shuffled epochs and yield the validation NLL after each."""
    run = Training(network, training)
    start = time.perf_counter()
    for _ in range(epochs):
        run.update(run.updates_per_epoch)
        yield Epoch(time.perf_counter() - start, run.n_updates, validate(network, validation))


def validate(network: PublishedNetwork, validation: TensorDataset) -> float:
    """Return the NLL of all validation windows."""
    network.eval()
    total = 0.0
    with torch.no_grad():
        for inputs, targets in DataLoader(validation, batch_size=VALIDATION_BATCH):
            total += float(nll(targets, *network(inputs))) * len(inputs)
    return total / len(validation)


def generate(
    network: PublishedNetwork, history: torch.Tensor, n_steps: int, ratio: float, each_position: bool
) -> torch.Tensor:
    """Return generated steps of one mode, (step, trajectory, 3): Algorithm 1.

    Args:
        network: of the mode.
        history: (trajectory, m, 3), standardized.
        n_steps: steps.
        ratio: σ_Δz/σ_z.
        each_position: rotate the history position by position.
    """
    steps = []
    with torch.no_grad():
        for _ in range(n_steps):
            frames = frames_of(history)
            mean, lower, log_d = network(rotate(history, frames, each_position).flatten(1))
            white = torch.randn_like(mean) * torch.exp(0.5 * log_d)
            second = white[:, 1] + lower[:, 0] * white[:, 0]
            third = white[:, 2] + lower[:, 1] * white[:, 0] + lower[:, 2] * white[:, 1]
            increment = mean + torch.stack([white[:, 0], second, third], dim=-1)
            new = history[:, -1] + ratio * torch.einsum("sxy,sx->sy", frames, increment)
            history = torch.cat([history[:, 1:], new.unsqueeze(1)], dim=1)
            steps.append(new)
    return torch.stack(steps)
