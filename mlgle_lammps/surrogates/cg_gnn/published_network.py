"""The published network (TMLR, section 3): encode, process, decode, on raw vectors; diagonal noise of accelerations.

Nodes hold the embedding, the weight and a history of displacements, edges the vector over a radius, its length over the
radius and a flag for bonds; edges join groups within the radius. The output is the mean and the width of
x_{t+1} - 2 x_t + x_{t-1}; the mean's output is added to -(x_t - x_{t-1}), so that before training x_{t+1} is x_t and
noise. What turns with the molecule is learned, not built in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mlgle_lammps.surrogates.cg_gnn.embedding import Embedding
from mlgle_lammps.surrogates.cg_gnn.layers import perceptron
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet


@dataclass(frozen=True)
class PublishedSize:
    """How large the network is; the defaults are the published values for single chains.

    Attributes:
        embedding: width of the embedding network.
        rounds: of message passing, in the embedding network and between groups.
        hidden: width of the dynamics network, two hidden layers.
        history: displacements that nodes see.
        radius: within which groups see each other, in units of length.
        floor: least width of the noise, of the accelerations' root mean square.
        embedded: whether the network sees the beads' types at all (an ablation).
    """

    embedding: int = 64
    rounds: int = 7
    hidden: int = 128
    history: int = 30
    radius: float = 200.0
    floor: float = 0.1
    embedded: bool = True


SMALL = PublishedSize(16, 3, 48, 4)
"""The published form at a size for a CPU."""


@dataclass
class Frozen:
    """What does not move, of a batch of molecules."""

    nodes: torch.Tensor
    bonded: torch.Tensor
    apart: torch.Tensor


def _relu_perceptron(n_in: int, n_hidden: int, n_out: int, *, zero: bool = False) -> nn.Sequential:
    return perceptron(n_in, n_hidden, n_out, n_layers=2, zero=zero, activation=nn.ReLU)


class Round(nn.Module):
    """One message passing on all ordered pairs, with residuals."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.edge = _relu_perceptron(3 * hidden, hidden, hidden)
        self.node = _relu_perceptron(2 * hidden, hidden, hidden)
        self.edge_norm, self.node_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor, there: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return nodes (batch, S, H) and edges (batch, S, S, H); ``there`` (batch, S, S, 1) says which edges exist."""
        shape = edges.shape
        both = [nodes.unsqueeze(2).expand(shape), nodes.unsqueeze(1).expand(shape)]
        edges = edges + self.edge_norm(self.edge(torch.cat([edges, *both], -1)))
        taken = (edges * there).sum(2)
        return nodes + self.node_norm(self.node(torch.cat([nodes, taken], -1))), edges


class PublishedNetwork(nn.Module):
    """See the module."""

    def __init__(self, n_types: int, size: PublishedSize, step: float = 1.0, acceleration: float = 1.0) -> None:
        """Make a network for displacements and accelerations of these root mean squares per component."""
        super().__init__()
        self.size = size
        hidden = size.hidden
        self.embedding = Embedding(n_types, size.embedding, size.rounds)
        self.encode_nodes = _relu_perceptron(size.embedding + 1 + 3 * size.history, hidden, hidden)
        self.encode_edges = _relu_perceptron(5, hidden, hidden)
        self.rounds = nn.ModuleList(Round(hidden) for _ in range(size.rounds))
        self.decode = _relu_perceptron(hidden, hidden, 6)
        self.inner_radius = perceptron(hidden, hidden, 1)
        self.scales = nn.Buffer(torch.tensor([step, acceleration]))

    def set_scales(self, step: float, acceleration: float) -> None:
        """Take root mean squares per component of displacements and of accelerations."""
        with torch.no_grad():
            self.scales.copy_(torch.tensor([step, acceleration]))

    @property
    def memory(self) -> int:
        """Frames that a step takes."""
        return self.size.history + 1

    def still(self, molecules: MoleculeSet, which: torch.Tensor) -> Frozen:
        """Return what does not move of molecules ``which`` (batch,) of a set."""
        embeddings = self.embedding(molecules)
        if not self.size.embedded:
            embeddings = embeddings * 0.0
        n = molecules.n_groups
        nodes = torch.cat([embeddings, molecules.weights.unsqueeze(-1) * n], -1)
        bonded = molecules.hops.new_zeros(molecules.n_molecules, n, n)
        one, other = molecules.pairs
        bonded[:, one, other] = bonded[:, other, one] = (molecules.hops == 1).to(bonded.dtype)
        apart = 1.0 - torch.eye(n, dtype=bonded.dtype, device=bonded.device)
        return Frozen(nodes[which], bonded[which].unsqueeze(-1), apart.unsqueeze(-1))

    def forward(self, history: torch.Tensor, still: Frozen) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return mean and width of the acceleration (batch, S, 3) and the latent state (batch, S, H).

        Args:
            history: (batch, frame, S, 3) places, the last is now.
            still: of these molecules.
        """
        steps = history.diff(dim=1).transpose(1, 2).flatten(2) / self.scales[0]
        now = history[:, -1]
        vectors = (now.unsqueeze(2) - now.unsqueeze(1)) / self.scales[0] / 10.0
        distances = (vectors.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        within = (distances * self.scales[0] * 10.0 < self.size.radius).to(distances.dtype)
        there = still.apart * torch.maximum(within, still.bonded)
        nodes = self.encode_nodes(torch.cat([still.nodes, steps], -1))
        edges = self.encode_edges(torch.cat([vectors, distances, still.bonded], -1))
        for step in self.rounds:
            nodes, edges = step(nodes, edges, there)
        mean, width = self.decode(nodes).chunk(2, -1)
        width = self.size.floor + torch.nn.functional.softplus(width)
        last = now - history[:, -2]
        return mean * self.scales[1] - last, width * self.scales[1], nodes

    def likelihood(self, history: torch.Tensor, after: torch.Tensor, still: Frozen) -> tuple[torch.Tensor, ...]:
        """Return the negative log-likelihood (batch,) per component of the places after, and the latent state."""
        mean, width, latent = self(history, still)
        acceleration = after - 2 * history[:, -1] + history[:, -2]
        loss = 0.5 * ((acceleration - mean) / width).square() + (width / self.scales[1]).log()
        return loss.mean((1, 2)), latent

    def step(self, history: torch.Tensor, still: Frozen, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the places after (batch, S, 3) and the latent state, by standard normal numbers."""
        mean, width, latent = self(history, still)
        return 2 * history[:, -1] - history[:, -2] + mean + width * normals, latent

    def rest_of_radius(self, latent: torch.Tensor) -> torch.Tensor:
        """Return what the fine-grained Rg² is above that of the groups, (batch,), in units of step²."""
        return self.inner_radius(latent.mean(1)).squeeze(-1)
