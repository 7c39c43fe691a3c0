"""The embedding network: message passing on the static bond graph; a group's embedding is the mean of its beads'."""

from __future__ import annotations

import torch
from torch import nn

from mlgle_lammps.surrogates.cg_gnn.layers import meaned_onto, perceptron
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet


class Embedding(nn.Module):
    """Types of beads along bonds into embeddings of groups.

    h⁰ = a learned vector of the type; h^{l+1} = h^l + MLP(h^l, mean of the bonded beads' h^l).
    """

    def __init__(self, n_types: int, width: int, n_rounds: int) -> None:
        super().__init__()
        self.width = width
        self.of_types = nn.Embedding(n_types, width)
        self.rounds = nn.ModuleList(perceptron(2 * width, width, width) for _ in range(n_rounds))

    def forward(self, molecules: MoleculeSet) -> torch.Tensor:
        """Return (molecule, S, width)."""
        beads = self.of_types(molecules.bead_types)
        source, target = molecules.bonds
        for step in self.rounds:
            near = meaned_onto(beads[source], target, len(beads))
            beads = beads + step(torch.cat([beads, near], 1))
        groups = meaned_onto(beads, molecules.group_of, molecules.n_molecules * molecules.n_groups)
        return groups.reshape(molecules.n_molecules, molecules.n_groups, self.width)
