"""Early stopping of a batch of networks, each by its own held-out likelihood; and their common gradient step."""

from __future__ import annotations

import torch


class BestWeights:
    """The best weights so far of every network of a batch.

    Attributes:
        best: lowest held-out value of each network, (network,).
        stale: evaluations since, (network,).
        broken: networks that were not finite at an evaluation.
    """

    def __init__(self, weights: dict[str, torch.Tensor], value: torch.Tensor) -> None:
        self.best = torch.where(torch.isfinite(value), value, torch.inf)
        self.stale = torch.zeros(len(value), dtype=torch.int64)
        self.broken = ~torch.isfinite(value)
        self._kept = {name: w.detach().clone() for name, w in weights.items()}

    def offer(self, weights: dict[str, torch.Tensor], value: torch.Tensor) -> None:
        """Keep the weights of those networks whose held-out value, (network,), is better than before."""
        finite = torch.isfinite(value)
        better = finite & (value < self.best)
        self.broken |= ~finite
        self.best = torch.where(better, value, self.best)
        self.stale = torch.where(better.cpu(), 0, self.stale + 1)
        for name, weight in weights.items():
            choose = better.view(-1, *[1] * (weight.ndim - 1))
            self._kept[name] = torch.where(choose, weight.detach(), self._kept[name])

    def exhausted(self, patience: int) -> bool:
        """Tell whether no network has improved for ``patience`` evaluations."""
        return bool((self.stale >= patience).all())

    def weights(self) -> dict[str, torch.Tensor]:
        """Return copies of the best weights."""
        return {name: w.clone() for name, w in self._kept.items()}


def clip_each(weights: dict[str, torch.Tensor], limit: float) -> None:
    """Clip every network's gradient to norm ``limit``; one that is not finite becomes zero (in place)."""
    gradients = [w.grad for w in weights.values() if w.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
    scale = (limit / norm.clamp_min(limit)).nan_to_num(0.0)
    for gradient in gradients:
        shape = (-1, *[1] * (gradient.ndim - 1))
        finite = torch.isfinite(norm).view(shape)
        gradient.copy_(torch.where(finite, gradient * scale.view(shape), torch.zeros_like(gradient)))
