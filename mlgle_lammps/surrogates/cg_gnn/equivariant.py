"""The network of preset `network`: forces along pairs of groups, noise by normal modes, on a linear core.

With z = U x the modes of the super-bead graph, a and C of the linear core, F the forces and h the latent state,

    z' = a z + (1 - a) [k(λ, h, z) z + m(λ, h, z) U F / λ] + A diag(s) ε,    A = U diag(g(h)) Uᵀ,
    s² = C (1 - a²) exp(v(λ, h, z)),    F_i = Σ_j w_ij (x_j - x_i),    w_ij = w_ji.

k, v and w are zero and m and g one before training: the linear core, with the forces of the pair core where that is
fitted. Weights see distances and embeddings alone, so
the law turns and moves with the molecule; forces of pairs cancel, so the centre has its own law. The noise of groups is
correlated along the bonds: it is drawn by mode, its size a function of λ, and of where in the molecule. Forces between
groups that are not bonded vanish at large distance, so that there the linear core alone is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mlgle_lammps.surrogates.cg_gnn.embedding import Embedding
from mlgle_lammps.surrogates.cg_gnn.layers import parted_pairs, perceptron
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet
from mlgle_lammps.surrogates.cg_gnn.pair_core import CENTRES, PairCore, bumps
from mlgle_lammps.surrogates.cg_gnn.pair_shares import make_up, n_features, n_springs, pair_features, slowness

_N_RADIAL = 12
_RADIAL_REACH = 5.0
_HOPS = (1.0, 2.0, 4.0)
_LIMIT = 1.5
_SOFTEST = 0.7
"""Of a mode's spring, what the molecule is made up of takes no more than this share away."""


@dataclass(frozen=True)
class EquivariantSize:
    """How large the network is.

    Attributes:
        embedding: width of the embedding.
        rounds: of message passing on the bond graph.
        hidden: width of the latent state.
        layers: of message passing between groups.
        embedded: whether the network sees the beads' types at all (an ablation).
        local_noise: whether noise differs along the molecule.
        noise_by_mode: whether it differs from mode to mode; else groups have equal independent noise (an ablation).
    """

    embedding: int = 8
    rounds: int = 2
    hidden: int = 24
    layers: int = 1
    embedded: bool = True
    local_noise: bool = True
    noise_by_mode: bool = True


@dataclass
class Still:
    """What does not move, of a batch of molecules; see `EquivariantNetwork.still`."""

    modes: torch.Tensor
    decays: torch.Tensor
    spreads: torch.Tensor
    log_eigenvalues: torch.Tensor
    variances: torch.Tensor
    nodes: torch.Tensor
    of_pairs: list[torch.Tensor]
    bonded: torch.Tensor
    sums: torch.Tensor
    differences: torch.Tensor
    pairs: torch.Tensor
    pulls: torch.Tensor
    springs: torch.Tensor


@dataclass
class Law:
    """The law of one step: mean (batch, S-1, 3) and noise A diag(s) ε of modes; latent state (batch, S, H)."""

    mean: torch.Tensor
    spreads: torch.Tensor
    local: torch.Tensor | None
    latent: torch.Tensor

    def draw(self, normals: torch.Tensor) -> torch.Tensor:
        """Return modes of the next step by standard normal numbers (batch, S-1, 3)."""
        noise = self.spreads.unsqueeze(-1) * normals
        return self.mean + (noise if self.local is None else self.local @ noise)

    def likelihood(self, modes: torch.Tensor) -> torch.Tensor:
        """Return the negative log-likelihood of modes (batch, S-1, 3), in nats per component, without ½ log 2π."""
        rest = modes - self.mean
        logarithm = self.spreads.log().sum(1)
        if self.local is not None:
            factor = torch.linalg.cholesky(self.local)
            rest = torch.cholesky_solve(rest, factor)
            logarithm = logarithm + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        square = (rest / self.spreads.unsqueeze(-1)).square().sum((1, 2))
        return (0.5 * square + 3 * logarithm) / (3 * modes.shape[1])


class EquivariantNetwork(nn.Module):
    """See the module."""

    def __init__(self, n_types: int, size: EquivariantSize, core: LinearCore) -> None:
        super().__init__()
        self.size, self.core = size, core
        hidden, width = size.hidden, size.embedding
        self.embedding = Embedding(n_types, width, size.rounds)
        self.of_nodes = perceptron(width + 1, hidden, hidden)
        still = 2 * width + len(_HOPS) + 1
        self.of_pairs = nn.ModuleList(nn.Linear(still, hidden) for _ in range(size.layers + 1))
        self.radial = nn.ModuleList(nn.Linear(_N_RADIAL, hidden, bias=False) for _ in range(size.layers + 1))
        self.nodes_to_pairs = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(size.layers + 1))
        self.messages = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(size.layers))
        self.updates = nn.ModuleList(perceptron(2 * hidden, hidden, hidden) for _ in range(size.layers))
        self.weights = perceptron(hidden, hidden, 1, zero=True)
        self.by_mode = perceptron(hidden + 2, hidden, 3, zero=True)
        self.local = perceptron(hidden, hidden, 1, zero=True)
        self.inner_radius = perceptron(hidden, hidden, 1, zero=True)
        self.inner_scale = nn.Parameter(torch.zeros(()))
        self.pair_core = nn.Parameter(torch.zeros(n_features(n_types), len(CENTRES)))
        self.spring_core = nn.Parameter(torch.zeros(n_springs(n_types), 2))
        self.n_types = n_types
        self.radii = nn.Buffer(torch.linspace(0.0, _RADIAL_REACH, _N_RADIAL))

    def take(self, found: PairCore) -> None:
        """Take what the closed form gives."""
        with torch.no_grad():
            self.pair_core.copy_(found.pairs)
            self.spring_core.copy_(found.springs)

    def still(self, molecules: MoleculeSet, which: torch.Tensor) -> Still:
        """Return what does not move of molecules ``which`` (batch,) of a set."""
        embeddings = self.embedding(molecules)
        if not self.size.embedded:
            embeddings = embeddings * 0.0
        one, other = molecules.pairs
        first, second = embeddings[:, one], embeddings[:, other]
        hops = molecules.hops.unsqueeze(-1)
        along = [torch.exp(-(hops - 1.0) / reach) for reach in _HOPS]
        features = torch.cat([first + second, first * second, *along, (hops == 1).to(hops.dtype)], -1)
        nodes = self.of_nodes(torch.cat([embeddings, molecules.weights.unsqueeze(-1) * molecules.n_groups], -1))
        decays, variances = self.core.of(molecules.eigenvalues)
        spreads = (variances * (1 - decays.square())).sqrt()
        if not self.size.noise_by_mode:
            spreads = spreads.square().mean(1, keepdim=True).sqrt().expand_as(spreads)
        pulls = pair_features(molecules, self.n_types) @ self.pair_core
        shares = make_up(molecules, self.n_types) @ self.spring_core
        springs = (slowness(molecules.eigenvalues) * shares.unsqueeze(1)).sum(-1).clamp(-2.0, _SOFTEST)
        sums, differences = parted_pairs(molecules.pairs, molecules.n_groups, hops.dtype)
        return Still(
            molecules.modes[which], decays[which], spreads[which], molecules.eigenvalues.log()[which],
            variances[which], nodes[which], [layer(features)[which] for layer in self.of_pairs],
            (molecules.hops[which] == 1).to(hops.dtype), sums, differences, molecules.pairs,
            pulls[which], springs[which],
        )  # fmt: skip

    def forward(self, modes: torch.Tensor, still: Still) -> Law:
        """Return the law of the step after modes (batch, S-1, 3)."""
        positions = still.modes.mT @ modes
        apart = still.differences.T @ positions
        distances = (apart.square().sum(-1) / self.core.bond**2 + 1e-8).sqrt()
        radial = torch.exp(-3.0 * (distances.unsqueeze(-1) - self.radii).square())
        near = torch.exp(-(distances / _RADIAL_REACH).square()).unsqueeze(-1)
        nodes = still.nodes
        for number, (message, update) in enumerate(zip(self.messages, self.updates, strict=True)):
            pairs = torch.nn.functional.silu(self._pairs(number, radial, nodes, still))
            taken = message(still.sums @ (pairs * near))
            nodes = nodes + update(torch.cat([nodes, taken], -1))
        pairs = torch.nn.functional.silu(self._pairs(len(self.messages), radial, nodes, still))
        weights = self.weights(pairs).squeeze(-1)
        reach = torch.maximum(still.bonded, near.squeeze(-1))
        weights = _LIMIT * torch.tanh(weights / _LIMIT) * reach + (still.pulls * bumps(distances)).sum(-1)
        forces = -still.differences @ (weights.unsqueeze(-1) * apart)
        return self._law(modes, still.modes @ forces, nodes, still)

    def _pairs(self, number: int, radial: torch.Tensor, nodes: torch.Tensor, still: Still) -> torch.Tensor:
        both = still.sums.T @ self.nodes_to_pairs[number](nodes)
        return still.of_pairs[number] + self.radial[number](radial) + both

    def _law(self, modes: torch.Tensor, forces: torch.Tensor, nodes: torch.Tensor, still: Still) -> Law:
        pooled = nodes.mean(1, keepdim=True).expand(-1, modes.shape[1], -1)
        amplitude = (modes.square().sum(-1) / (3 * still.variances) + 1e-3).log() / 2
        by_mode = self.by_mode(torch.cat([pooled, still.log_eigenvalues.unsqueeze(-1), amplitude.unsqueeze(-1)], -1))
        change, mobility, noise = (_LIMIT * torch.tanh(by_mode / _LIMIT)).unbind(-1)
        along = (mobility - still.log_eigenvalues).exp().unsqueeze(-1) * forces
        pull = (still.springs + change).unsqueeze(-1) * modes + along
        mean = still.decays.unsqueeze(-1) * modes + (1 - still.decays).unsqueeze(-1) * pull
        if not self.size.noise_by_mode:
            noise = noise.mean(1, keepdim=True).expand_as(noise)
        local = None
        if self.size.local_noise:
            sizes = torch.exp(torch.tanh(self.local(nodes)))
            local = still.modes @ (sizes * still.modes.mT)
        return Law(mean, still.spreads * (noise / 2).exp(), local, nodes)

    def inner(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the groups' own Rg² (batch, S), which adds to that of their centres."""
        return (self.inner_scale + self.inner_radius(latent).squeeze(-1)).exp()
