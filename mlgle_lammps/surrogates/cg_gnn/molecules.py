"""What is known of molecules before anything moves: types, bonds, groups; and the same as tensors, several at once.

All molecules of one set have the same number of groups S, so that they move side by side; their bonds may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.chains.laplacian import Edges
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Float64, System
from mlgle_lammps.surrogates.cg_gnn.grouping import Grouping, group_beads

UNKNOWN_TYPE = "bead"
"""Stands for the types of beads of a recording that does not name them."""


@dataclass(frozen=True)
class Molecule:
    """One kind of molecule.

    Attributes:
        types: of its beads.
        edges: its bonds.
        grouping: its groups.
    """

    types: tuple[str, ...]
    edges: Edges
    grouping: Grouping

    @classmethod
    def of(cls, system: System, beads_per_group: int, method: str) -> Molecule:
        """Return the main molecules of a system; raise UserError where they cannot be grouped so."""
        if system.n_beads is None:
            raise UserError("cg-gnn needs the number of beads of a molecule, and the recording does not say it")
        edges = system.bonds
        types = system.types or (UNKNOWN_TYPE,) * system.n_beads
        return cls(tuple(types), edges, group_beads(system.n_beads, edges, beads_per_group, method))

    @property
    def n_groups(self) -> int:
        """S."""
        return self.grouping.n_groups

    def composition(self, types: Sequence[str]) -> list[float]:
        """Return the share of each type."""
        return [self.types.count(kind) / len(self.types) for kind in types]

    def require_known(self, types: Sequence[str]) -> None:
        """Raise UserError naming bead types that are not among ``types``."""
        if unknown := sorted(set(self.types) - set(types)):
            raise UserError(
                f"bead types {', '.join(unknown)[:200]} were in none of the runs that the model was trained on; "
                f"it knows {', '.join(types)[:200]}: train again with runs that have them"
            )


@dataclass
class MoleculeSet:
    """Molecules of S groups as tensors, M of them with N beads in all, P = S (S - 1)/2 pairs of groups.

    Attributes:
        bead_types: (N,) place of each bead's type.
        bonds: (2, bonds), both directions.
        group_of: (N,) group of each bead, counted through all molecules.
        modes: (M, S-1, S) u_p.
        eigenvalues: (M, S-1) λ_p.
        weights: (M, S) share of the beads in each group.
        pairs: (2, P) i < j.
        hops: (M, P) bonds between the two groups on the shortest path.
    """

    bead_types: torch.Tensor
    bonds: torch.Tensor
    group_of: torch.Tensor
    modes: torch.Tensor
    eigenvalues: torch.Tensor
    weights: torch.Tensor
    pairs: torch.Tensor
    hops: torch.Tensor

    @classmethod
    def of(
        cls, molecules: Sequence[Molecule], types: Sequence[str], device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> MoleculeSet:  # fmt: skip
        """Return molecules as tensors; raise UserError for types that are not there, ValueError for unequal S."""
        place = {kind: number for number, kind in enumerate(types)}
        n_groups = molecules[0].n_groups
        bead_types: list[int] = []
        bonds: list[tuple[int, int]] = []
        group_of: list[int] = []
        for number, molecule in enumerate(molecules):
            molecule.require_known(types)
            if molecule.n_groups != n_groups:
                raise ValueError("molecules of different numbers of groups in one set")
            first = len(bead_types)
            bead_types += [place[kind] for kind in molecule.types]
            bonds += [(first + a, first + b) for a, b in molecule.edges]
            group_of += [number * n_groups + group for group in molecule.grouping.groups]
        ends = torch.tensor(bonds, dtype=torch.long, device=device).reshape(-1, 2).T
        pairs = torch.triu_indices(n_groups, n_groups, 1, device=device)
        one, other = pairs.cpu().numpy()
        groupings = [molecule.grouping for molecule in molecules]

        def real(values: Sequence[Float64]) -> torch.Tensor:
            return torch.tensor(np.stack(values), dtype=dtype, device=device)

        return cls(
            torch.tensor(bead_types, device=device),
            torch.cat([ends, ends.flip(0)], 1),
            torch.tensor(group_of, device=device),
            real([own.modes for own in groupings]),
            real([own.eigenvalues for own in groupings]),
            real([own.sizes / len(own.groups) for own in groupings]),
            pairs,
            real([own.hops()[one, other] for own in groupings]),
        )

    @property
    def n_molecules(self) -> int:
        """M."""
        return len(self.modes)

    @property
    def n_groups(self) -> int:
        """S."""
        return self.modes.shape[-1]

    def to_modes(self, positions: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Return modes (batch, S-1, 3) of positions (batch, S, 3) of molecules ``which`` (batch,)."""
        return self.modes[which] @ positions

    def to_positions(self, modes: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Return positions about the centre of mass (batch, S, 3) of modes (batch, S-1, 3)."""
        positions = self.modes[which].mT @ modes
        return positions - (self.weights[which].unsqueeze(-1) * positions).sum(1, keepdim=True)

    def square_radius(self, positions: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Return Rg² of the groups' centres, weighted by beads, (batch,)."""
        weights = self.weights[which].unsqueeze(-1)
        centred = positions - (weights * positions).sum(-2, keepdim=True)
        return (weights * centred.square()).sum((-2, -1))
