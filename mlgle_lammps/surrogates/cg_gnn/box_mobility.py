"""How far nodes go in a step, by what is about them: one-step likelihood, a small message-passing network.

The mean square of a node's step, per component, is exp(α_a + v_a(h_i)); α of each kind of node a in closed form, h the
sum of messages from all nodes within a cutoff, each of the neighbour's letters and of bumps along the distance, and v a
perceptron, zero before training. Only distances come in, so turning, moving or mirroring change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mlgle_lammps.records import Int64
from mlgle_lammps.surrogates.cg_gnn.box_nodes import Box, BoxRun, Letters
from mlgle_lammps.surrogates.cg_gnn.layers import perceptron
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within

CENTRES = (0.9, 1.2, 1.7, 2.4)
WIDTHS = (0.15, 0.25, 0.35, 0.5)
"""Of the bumps, in units of the contact distance."""
REACH = 3.5
"""Distance, in the same units, beyond which nodes do not see each other; half the smallest box at most."""
LIMIT = 2.0
"""|v| at most."""


@dataclass(frozen=True)
class MobilitySize:
    """How large the network is: width, and how many updates of weights it gets."""

    hidden: int = 24
    updates: int = 400
    frames: int = 150
    batch: int = 1024
    rate: float = 3e-3
    decay: float = 1e-2


class Mobility(nn.Module):
    """v of all nodes: densities of letters about each node, in shells, then perceptrons, one for each kind of node.

    Attributes:
        letters: of the nodes.
        contact: distance that shells are in units of.
        reach: distance beyond which nodes do not see each other.
        hidden: width.
        middle: (letter · shell,) mean of what is seen.
        spread: its standard deviation.
        offsets: (kind,) α.
    """

    middle: torch.Tensor
    spread: torch.Tensor
    offsets: torch.Tensor

    def __init__(self, letters: Letters, contact: float, reach: float, hidden: int) -> None:
        super().__init__()
        self.letters, self.contact, self.reach, self.hidden = letters, contact, reach, hidden
        n = letters.count * len(CENTRES)
        self.register_buffer("middle", torch.zeros(n))
        self.register_buffer("spread", torch.ones(n))
        self.register_buffer("offsets", torch.zeros(len(letters.kinds)))
        self.heads = nn.ModuleList(
            perceptron(n + letters.count, hidden, 1, zero=True) for _ in letters.kinds
        )  # fmt: skip

    def surroundings(self, positions: torch.Tensor, shares: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return the letters about each node, by shells, (box, node, letter · shell).

        Args:
            positions: (box, node, 3).
            shares: (node, letter).
            box: (3,) edges.
        """
        n_boxes, n_nodes, _ = positions.shape
        near = pairs_within(positions, box, min(self.reach, 0.5 * float(box.min())))
        centres, widths = positions.new_tensor(CENTRES), positions.new_tensor(WIDTHS)
        bumps = torch.exp(-0.5 * ((near.distance.unsqueeze(-1) / self.contact - centres) / widths).square())
        all_shares = shares.repeat(n_boxes, 1)
        found = positions.new_zeros(n_boxes * n_nodes, shares.shape[1], len(CENTRES))
        found.index_add_(0, near.first, all_shares[near.second].unsqueeze(-1) * bumps.unsqueeze(1))
        found.index_add_(0, near.second, all_shares[near.first].unsqueeze(-1) * bumps.unsqueeze(1))
        return found.reshape(n_boxes, n_nodes, -1)

    def forward(self, surroundings: torch.Tensor, shares: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Return log s² (.., node) of surroundings (.., node, letter · shell)."""
        seen = (surroundings - self.middle) / self.spread
        seen = torch.cat([seen, shares.expand(*seen.shape[:-1], -1)], -1)
        own = torch.cat([head(seen) for head in self.heads], -1)
        chosen = own.gather(-1, kinds.expand(own.shape[:-1]).unsqueeze(-1)).squeeze(-1)
        return self.offsets[kinds] + LIMIT * torch.tanh(chosen / LIMIT)


@dataclass
class _Examples:
    """Nodes of all runs: surroundings, letters, kinds, and mean squares of steps per component."""

    seen: torch.Tensor
    shares: torch.Tensor
    kinds: torch.Tensor
    squares: torch.Tensor
    runs: torch.Tensor


def fit_mobility(
    runs: Sequence[BoxRun], letters: Letters, contact: float, dt: float, seed: int, size: MobilitySize,
) -> Mobility:  # fmt: skip
    """Return the network trained by the likelihood of steps' squares, nodes of each kind and run weighing the same.

    Args:
        runs: to learn from.
        letters: of the nodes.
        contact: distance.
        dt: the model's step.
        seed: of weights and batches.
        size: of the network, and how long it learns.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reach = min(REACH * contact, 0.5 * min(float(run.box.edges.min()) for run in runs))
        network = Mobility(letters, contact, reach, size.hidden)
    examples = _examples(network, runs, dt, size.frames)
    n_kinds = len(letters.kinds)
    with torch.no_grad():
        network.middle.copy_(examples.seen.mean(0))
        network.spread.copy_(examples.seen.std(0).clamp(min=1e-3))
        for kind in range(n_kinds):
            own = examples.squares[examples.kinds == kind]
            if len(own):
                network.offsets[kind] = own.mean().log()
    cells = examples.runs * n_kinds + examples.kinds
    weight = 1.0 / torch.bincount(cells).clamp(min=1)[cells].double()
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(network.parameters(), lr=size.rate, weight_decay=size.decay)
    for update in range(size.updates):
        for group in adam.param_groups:
            group["lr"] = size.rate * 0.5 * (1 + np.cos(np.pi * update / size.updates))
        chosen = torch.multinomial(weight, size.batch, replacement=True, generator=generator)
        log_square = network(examples.seen[chosen], examples.shares[chosen], examples.kinds[chosen])
        loss = 1.5 * (log_square + examples.squares[chosen] * torch.exp(-log_square)).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    return network.requires_grad_(False).eval()


def _examples(network: Mobility, runs: Sequence[BoxRun], dt: float, n_frames: int) -> _Examples:
    parts: list[tuple[torch.Tensor, ...]] = []
    for number, run in enumerate(runs):
        lag = run.lag(dt)
        first = np.arange(len(run.positions) - lag)
        first = first[run.segments[first] == run.segments[first + lag]]
        first = first[:: max(1, len(first) // n_frames)]
        shares, kinds, box = node_tensors(run.box, network.letters)
        points = torch.tensor(run.positions[first], dtype=torch.float32)
        moved = torch.tensor(run.positions[first + lag], dtype=torch.float32) - points
        for ends in (points, points + moved):  # equilibrium does not know which way time runs
            seen = torch.cat([network.surroundings(part, shares, box) for part in ends.split(16)])
            n = len(ends)
            parts.append((
                seen.flatten(0, 1), shares.repeat(n, 1), kinds.repeat(n), moved.square().mean(-1).flatten(),
                torch.full((n * len(kinds),), number),
            ))  # fmt: skip
    return _Examples(*(torch.cat(own) for own in zip(*parts, strict=True)))


def node_tensors(
    box: Box, letters: Letters, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return letters (node, letter) and kinds (node,) of the nodes, and the box's edges (3,)."""
    kinds: Int64 = box.kinds(letters)
    return (
        torch.tensor(box.shares(letters), dtype=dtype, device=device), torch.tensor(kinds, device=device),
        torch.tensor(box.edges, dtype=dtype, device=device),
    )  # fmt: skip
